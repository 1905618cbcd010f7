"""Each middleware around a small application."""

from __future__ import annotations

import gzip
import ipaddress
import json
from typing import Any

import anyio
import httpx2
import pytest
import structlog
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.types import ASGIApp

from app import composition
from app.observability import correlation
from app.settings import Settings
from app.web.application import Api
from app.web.client_address import ClientAddress
from app.web.middleware.compression import CompressionMiddleware
from app.web.middleware.correlation import CorrelationMiddleware
from app.web.middleware.drain import Drain, DrainMiddleware
from app.web.middleware.limits import RequestTimeoutMiddleware
from app.web.problems import ProblemMiddleware

pytestmark = pytest.mark.anyio


async def ask(app: ASGIApp, method: str = "GET", path: str = "/x", **options: Any) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://api") as client:
        return await client.request(method, path, **options)


@pytest.mark.parametrize(
    ("given", "kept"), [("abc-1", True), ("x" * 129, False), ("a b", False), ("é", False), ("", False)]
)
async def test_a_harmless_correlation_id_is_kept(given: str, kept: bool) -> None:
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append((correlation.current(), structlog.contextvars.get_contextvars()))
        await PlainTextResponse("")(scope, receive, send)

    answer = await ask(CorrelationMiddleware(app), headers=[(b"x-request-id", given.encode())])
    assert (answer.headers["x-request-id"] == given) is kept
    assert seen == [(answer.headers["x-request-id"], {"correlation_id": answer.headers["x-request-id"]})]
    assert correlation.current() is None


async def chunks(count: int):
    for _ in range(count):
        yield b"x" * 100


@pytest.mark.parametrize(("content", "status"), [(b"x" * 1100, 400), (b"x" * 1101, 413), (11, 400), (12, 413)])
async def test_body_limit_declared_and_chunked(production: dict[str, str], content: bytes | int, status: int) -> None:
    app = api({**production, "BODY_LIMIT": "1100"}).app
    body = chunks(content) if isinstance(content, int) else content
    answer = await ask(app, "POST", "/v1/auth/login", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_timeout() -> None:
    async def slow(scope, receive, send) -> None:
        await anyio.sleep(5)

    answer = await ask(ProblemMiddleware(RequestTimeoutMiddleware(slow, seconds=0.05)))
    assert (answer.status_code, answer.json()["detail"]) == (503, "the request took longer than 0.05 s")
    assert answer.headers["connection"] == "close"


async def test_a_timeout_of_the_application_itself_is_no_request_timeout() -> None:
    async def app(scope, receive, send) -> None:
        raise TimeoutError

    assert (await ask(ProblemMiddleware(RequestTimeoutMiddleware(app, seconds=5)))).status_code == 500


async def test_an_unforeseen_error_tells_nothing() -> None:
    async def app(scope, receive, send) -> None:
        raise RuntimeError("password=hunter22")

    answer = await ask(ProblemMiddleware(app), path="/some/path")
    assert answer.json() == {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "instance": "/some/path",
    }


async def test_an_error_in_the_middle_of_an_answer_cuts_it() -> None:
    async def broken():
        yield b"half"
        raise RuntimeError

    transport = httpx2.ASGITransport(app=ProblemMiddleware(StreamingResponse(broken())))
    async with httpx2.AsyncClient(transport=transport, base_url="http://api") as client:
        with pytest.raises(RuntimeError):
            await client.get("/")


async def test_close_only_while_draining() -> None:
    drain = Drain()
    app = DrainMiddleware(PlainTextResponse("", headers={"Connection": "keep-alive"}), drain=drain)
    before = await ask(app)
    drain.begin()
    after = await ask(app)
    assert before.headers["connection"] == "keep-alive"
    assert after.headers.get_list("connection") == ["close"]


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("198.51.100.1", "203.0.113.1", "198.51.100.1"),
        ("10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "1.1.1.1, 203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "203.0.113.1, 10.0.0.2", "203.0.113.1"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "203.0.113.1, rubbish", "10.0.0.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("::ffff:10.0.0.1", "203.0.113.1", "203.0.113.1"),
        ("::ffff:198.51.100.1", "203.0.113.1", "198.51.100.1"),
        ("10.0.0.1", "::ffff:203.0.113.1", "203.0.113.1"),
        ("10.0.0.1", "203.0.113.1, ::FFFF:10.0.0.2", "203.0.113.1"),
        ("10.0.0.1", "203.0.113.1:61234", "203.0.113.1"),
        ("10.0.0.1", "203.0.113.1:61234, 10.0.0.2:443", "203.0.113.1"),
        ("10.0.0.1", "[2001:db8::1]:61234", "2001:db8::1"),
        ("10.0.0.1", "[::ffff:203.0.113.1]:61234", "203.0.113.1"),
        ("10.0.0.1", "[2001:DB8:0::1]", "2001:db8::1"),
        ("10.0.0.1", "2001:db8::1%eth0", "2001:db8::1"),
        ("10.0.0.1", "fe80::1%25", "fe80::1"),
        ("10.0.0.1", "[]:1", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.1:", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.1:port", "10.0.0.1"),
        ("10.0.0.1", "203.0.113.1%1", "10.0.0.1"),
        ("10.0.0.1", "010.0.0.7", "10.0.0.1"),
        # A translator or a tunnel leads to a trusted address from wherever its sender stands: that is no proxy of ours.
        ("64:ff9b::10.0.0.1", "203.0.113.1", "64:ff9b::a00:1"),
        ("2002:a00:1::1", "203.0.113.1", "2002:a00:1::1"),
        (None, "203.0.113.1", "unknown"),
    ],
)
def test_client_address(peer: str | None, forwarded: str, expected: str) -> None:
    found = ClientAddress([ipaddress.ip_network("10.0.0.0/8")])
    scope = {"client": (peer, 1) if peer else None, "headers": [(b"x-forwarded-for", forwarded.encode())]}
    assert found.of(scope) == expected


def api(production: dict[str, str], **changes: str) -> Api:
    return composition.api(Settings.load({**production, "ENABLE_RATE_LIMIT": "false", **changes}))


async def test_security_headers_on_every_answer(production: dict[str, str]) -> None:
    for answer in (await ask(api(production).app, path="/health/live"), await ask(api(production).app, path="/nope")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["strict-transport-security"].startswith("max-age=31536000")
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers


async def test_unknown_paths_and_methods_are_problems(production: dict[str, str]) -> None:
    missing = await ask(api(production).app, path="/nope")
    slash = await ask(api(production).app, "POST", "/v1/auth/login/")
    method = await ask(api(production).app, "DELETE", "/v1/auth/login")
    assert [a.status_code for a in (missing, slash, method)] == [404, 404, 405]
    assert {a.headers["content-type"] for a in (missing, slash, method)} == {"application/problem+json"}
    assert method.headers["allow"] == "POST"


@pytest.mark.flips("cors_origin")
async def test_cors_lists_origins(production: dict[str, str]) -> None:
    app = api(production, CORS_ORIGIN="https://shop.example.org").app
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,idempotency-key"}
    allowed = await ask(app, "OPTIONS", "/v1/deliveries", headers={"Origin": "https://shop.example.org", **asked})
    refused = await ask(app, "OPTIONS", "/v1/deliveries", headers={"Origin": "https://evil.example.org", **asked})
    error = await ask(app, path="/nope", headers={"Origin": "https://shop.example.org"})
    none = await ask(api(production).app, path="/nope", headers={"Origin": "https://shop.example.org"})
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example.org"
    assert "access-control-allow-origin" not in refused.headers
    assert error.headers["access-control-allow-origin"] == "https://shop.example.org"
    assert "access-control-allow-origin" not in none.headers


async def test_long_answers_are_compressed(production: dict[str, str]) -> None:
    app = api(production, ENABLE_SWAGGER="true").app
    transport = httpx2.ASGITransport(app=app)
    async with (
        httpx2.AsyncClient(transport=transport, base_url="http://api") as client,
        client.stream("GET", "/openapi.json", headers={"Accept-Encoding": "gzip"}) as answer,
    ):
        raw = b"".join([chunk async for chunk in answer.aiter_raw()])
    assert answer.headers["content-encoding"] == "gzip"
    assert json.loads(gzip.decompress(raw))["openapi"] == "3.1.0"


async def test_short_answers_are_not_compressed(production: dict[str, str]) -> None:
    answer = await ask(api(production).app, path="/nope", headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers


async def test_what_is_compressed_already_is_left_alone() -> None:
    packed = gzip.compress(b"x" * 5000)

    async def app(scope, receive, send) -> None:
        await Response(packed, headers={"Content-Encoding": "gzip"})(scope, receive, send)

    answer = await ask(CompressionMiddleware(app, minimum_size=10), headers={"Accept-Encoding": "gzip"})
    assert answer.content == b"x" * 5000


@pytest.mark.parametrize(
    ("asked", "packed"),
    [
        (["gzip"], True),
        (["GZIP"], True),
        (["x-gzip"], True),
        (["gzip, deflate, br, zstd"], True),
        (["deflate", "gzip"], True),
        (["gzip;q=0.001"], True),
        (["br;q=1.0, gzip; Q=0.8, *;q=0.1"], True),
        (["*"], True),
        (["gzip;q=0.5, identity;q=0.5"], True),
        (["gzip, identity;q=0"], True),
        (["*;q=0, gzip"], True),
        ([], False),
        ([""], False),
        (["identity"], False),
        (["gzip;q=0"], False),
        (["gzip;q=0.000"], False),
        (["gzip ; q=0"], False),
        (["*, gzip;q=0"], False),
        (["br, gzip;q=0"], False),
        (["*;q=0"], False),
        (["gzip;q=0.5, identity"], False),
        (["gzipped"], False),
        (["gzip;q=2"], False),
        (["gzip;q=nan"], False),
        (["gzip;q="], False),
    ],
)
async def test_gzip_for_those_who_take_it(asked: list[str], packed: bool) -> None:
    async def app(scope, receive, send) -> None:
        await Response(b"x" * 5000)(scope, receive, send)

    headers = [(b"accept-encoding", value.encode()) for value in asked]
    transport = httpx2.ASGITransport(app=CompressionMiddleware(app))
    async with httpx2.AsyncClient(transport=transport, base_url="http://api") as client:
        del client.headers["accept-encoding"]
        answer = await client.get("/x", headers=headers)
    assert (answer.headers.get("content-encoding") == "gzip") is packed
    assert answer.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    ("asked", "allowed"),
    [
        ({"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "if-none-match"}, True),
        (
            {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type,x-request-id"},
            True,
        ),
        ({"Access-Control-Request-Method": "DELETE"}, False),
        ({"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-other"}, False),
    ],
)
async def test_preflights(production: dict[str, str], asked: dict[str, str], allowed: bool) -> None:
    app = api(production, CORS_ORIGIN="https://shop.example.org").app
    answer = await ask(app, "OPTIONS", "/v1/deliveries", headers={"Origin": "https://shop.example.org", **asked})
    assert answer.status_code == (200 if allowed else 400)
    assert "Origin" in answer.headers["vary"].split(", ")
    # Tokens travel in a header that scripts set: a browser must not add cookies by itself.
    assert "access-control-allow-credentials" not in answer.headers
    assert answer.headers["x-content-type-options"] == "nosniff"
