"""What the server takes in before there is a request, over real sockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import uvicorn
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app import composition
from app.settings import Settings
from app.web import protocol, server
from app.web.connections import RejectedRequests
from app.web.protocol import MAX_FIELDS, MAX_HEAD, MAX_PIPELINED, BoundedProtocol

pytestmark = pytest.mark.anyio

MEGABYTES = 40 * 2**20
SOON = 20
"""Seconds for what happens at once, on a machine that is busy."""


class Served:
    """A server whose application answers with what it got, and remembers it."""

    def __init__(self) -> None:
        self.rejected = RejectedRequests()
        self.seen: list[str] = []
        self.release = asyncio.Event()
        self.port = 0

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = request.url.path
        if path == "/wait":
            await self.release.wait()
        body = b""
        if path != "/unread":
            try:
                body = await request.body()
            except ClientDisconnect:
                self.seen.append("left")
                return
        self.seen.append(path)
        names = [name.decode() for name, _ in scope["headers"]]
        await JSONResponse({"path": path, "names": names, "size": len(body)})(scope, receive, send)

    async def ask(self, *pieces: bytes, pause: float = 0.0) -> bytes:
        """Everything that is answered until the server closes; a reset afterwards is as good."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        answer = asyncio.create_task(_read(reader))
        try:
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause)
        except ConnectionError:
            pass
        try:
            return await asyncio.wait_for(answer, SOON)
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader) -> bytes:
    got = b""
    try:
        while piece := await reader.read(65_536):
            got += piece
    except ConnectionError:
        pass
    return got


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    async with _serving(keep_alive=1) as server:
        yield server


@asynccontextmanager
async def _serving(*, keep_alive: int) -> AsyncIterator[Served]:
    server = Served()
    config = uvicorn.Config(
        server.app, interface="asgi3", log_config=None, access_log=False, ws="none", timeout_keep_alive=keep_alive
    )
    config.load()
    make = partial(BoundedProtocol, config, ServerState(), {}, rejected=server.rejected)
    listening = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    server.port = listening.sockets[0].getsockname()[1]
    yield server
    listening.close()
    await asyncio.sleep(0)


def head(path: str = "/x", *fields: str, method: str = "GET") -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: a", *fields, "", ""]).encode()


def statuses(answer: bytes) -> list[int]:
    return [int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:]]


CLOSE = "Connection: close"


@pytest.mark.parametrize("piece", [1_000_000, 10_000, 1_000])
@pytest.mark.parametrize(("size", "status"), [(MAX_HEAD, 200), (MAX_HEAD + 1, 431), (300_000, 431)])
async def test_a_head_has_its_limit_however_it_comes(served: Served, size: int, status: int, piece: int) -> None:
    rest = len(head("/x", CLOSE, "X-Big: "))
    whole = head("/x", CLOSE, f"X-Big: {'a' * (size - rest)}")
    assert len(whole) == size
    answer = await served.ask(*(whole[at : at + piece] for at in range(0, len(whole), piece)))
    assert statuses(answer) == [status]
    assert served.rejected == RejectedRequests(too_large=int(status == 431))
    if status == 431:
        assert b"\r\ncontent-type: application/problem+json\r\n" in answer
        assert json.loads(answer.partition(b"\r\n\r\n")[2])["status"] == 431


async def test_forty_megabytes_of_one_header_are_refused_in_the_beginning(served: Served) -> None:
    assert statuses(await served.ask(b"GET / HTTP/1.1\r\nX-Big: ", b"a" * MEGABYTES)) == [431]
    assert served.seen == []


async def test_a_url_has_the_same_limit_and_a_status_of_its_own(served: Served) -> None:
    assert statuses(await served.ask(b"GET /", b"a" * MEGABYTES)) == [414]


@pytest.mark.parametrize(("count", "status"), [(MAX_FIELDS - 2, 200), (MAX_FIELDS + 1, 431)])
async def test_so_many_headers(served: Served, count: int, status: int) -> None:
    assert statuses(await served.ask(head("/x", CLOSE, *(f"X-{n}: 1" for n in range(count))))) == [status]


async def test_the_limit_is_of_one_head_and_not_of_a_connection(served: Served) -> None:
    """Two requests of which a piece holds the end of one and the begin of the other."""
    first = head("/a", "Content-Length: 200000", method="POST") + b"x" * 200_000
    second = head("/b", CLOSE, f"X-Big: {'a' * 50_000}")
    whole = first + second
    assert statuses(await served.ask(*(whole[at : at + 30_011] for at in range(0, len(whole), 30_011)))) == [200, 200]


async def test_half_heads_are_answered_and_closed_after_a_while(served: Served, monkeypatch: Any) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    answers = await asyncio.gather(*(served.ask(b"GET / HTTP/1.1\r\nHost") for _ in range(300)))
    assert {tuple(statuses(answer)) for answer in answers} == {(408,)}
    assert served.rejected == RejectedRequests(too_late=300)


async def test_what_keeps_coming_is_no_faster(served: Served, monkeypatch: Any) -> None:
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    trickle = [b"GET / HTTP/1.1\r\n", *([b"X: y\r\n"] * 100)]
    assert statuses(await served.ask(*trickle, pause=0.02)) == [408]


async def test_a_head_in_pieces_that_comes_in_time_is_a_request(served: Served) -> None:
    assert statuses(await served.ask(*(bytes([byte]) for byte in head("/x", CLOSE)))) == [200]
    assert served.rejected == RejectedRequests()


@pytest.mark.parametrize("said", [b"", b"\r\n\r\n"])
async def test_who_says_nothing_is_closed_as_an_idle_connection_is(served: Served, said: bytes) -> None:
    """A load balancer or browser may connect ahead of its first request, and would take a 408 for its answer."""
    assert await served.ask(said) == b""


async def test_an_answered_connection_that_says_no_more_is_closed(served: Served) -> None:
    assert statuses(await served.ask(head(), b"\r\n")) == [200]


async def test_what_is_left_of_a_body_after_its_answer_has_a_deadline(served: Served, monkeypatch: Any) -> None:
    """Each byte ended the wait for a next request, and the connection stayed for as long as its client liked."""
    monkeypatch.setattr(protocol, "HEAD_SECONDS", 0.3)
    trickle = [head("/unread", "Content-Length: 1000", method="POST"), *([b"x"] * 200)]
    assert statuses(await served.ask(*trickle, pause=0.02)) == [200]


CHUNKED = "Transfer-Encoding: chunked"


async def test_a_trailer_is_no_header(served: Served) -> None:
    """It was appended to the headers of the request, where an X-Forwarded-For counts as the load balancer's."""
    body = b"1\r\nx\r\n0\r\nX-Forwarded-For: 9.9.9.9\r\nAuthorization: Bearer x\r\n\r\n"
    answer = await served.ask(head("/x", CLOSE, CHUNKED, method="POST") + body)
    document = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert document == {"path": "/x", "names": ["host", "connection", "transfer-encoding"], "size": 1}


@pytest.mark.parametrize("padding", [b"1\r\nx\r\n0\r\nX-Big: ", b"1;ext="], ids=["trailer", "extension"])
async def test_what_is_beside_a_body_has_the_same_limit(served: Served, padding: bytes) -> None:
    given = (head("/x", CLOSE, CHUNKED, method="POST"), padding, b"a" * MEGABYTES)
    assert statuses(await served.ask(*given)) in ([431], [])
    assert served.rejected.too_large == 1
    assert "/x" not in served.seen


async def test_many_small_chunks_are_a_body(served: Served) -> None:
    chunks = b"1;a=b\r\nx\r\n" * 50_000
    answer = await served.ask(head("/x", CLOSE, CHUNKED, method="POST"), chunks, b"0\r\n\r\n")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["size"] == 50_000


async def test_requests_before_a_refused_one_are_answered(served: Served) -> None:
    asked = asyncio.create_task(served.ask(head("/wait") + head("/b") + b"nonsense\r\n\r\n"))
    async with asyncio.timeout(SOON):
        while not served.rejected.malformed:  # noqa: ASYNC110 - a count tells nobody
            await asyncio.sleep(0.01)
    served.release.set()
    assert statuses(await asked) == [200, 200]
    assert served.seen == ["/wait", "/b"]


async def test_a_connection_cannot_hoard_requests(served: Served) -> None:
    asked = asyncio.create_task(served.ask(head("/wait") + head("/b") * 1000))
    await asyncio.sleep(0.1)
    served.release.set()
    assert statuses(await asked) == [200] * (MAX_PIPELINED + 1)


@pytest.mark.parametrize("nonsense", [b"\x16\x03\x01\x02\x00", b"nonsense\r\n\r\n"])
async def test_what_is_no_request_is_told_so(served: Served, nonsense: bytes) -> None:
    assert statuses(await served.ask(nonsense)) == [400]


async def test_nonsense_in_a_body_ends_its_request(served: Served) -> None:
    assert statuses(await served.ask(head("/x", CHUNKED, method="POST"), b"nonsense\r\n", pause=0.1)) == [400]
    assert served.seen == ["left"]


async def test_the_api_is_served_so(production: dict[str, str]) -> None:
    api = composition.api(Settings.load({**production, "ENABLE_METRICS": "true"}))
    config = server.config(api)
    config.load()
    made = config.http_protocol_class(config=config, server_state=ServerState(), app_state={})  # type: ignore[call-arg]
    assert isinstance(made, BoundedProtocol)
    api.rejected.too_large, api.rejected.too_late = 3, 4
    assert api._metrics is not None
    values = {metric.name: metric.samples[0].value for metric in api._metrics.registry.collect() if metric.samples}
    assert (values["slipway_heads_too_large"], values["slipway_heads_too_late"]) == (3, 4)
