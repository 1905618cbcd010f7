"""What the client of a provider makes of every answer, and of none."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fake_provider import INPUT, MODEL, Provider, answer, hang_up, trickle

from app.predictions.providers.base import ProviderName, Submission
from app.predictions.providers.client import ProviderClient, Refused, TryAgain, clients, request_timeout
from app.settings import Settings

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]

NAMES: tuple[ProviderName, ...] = ("replicate", "openai")


def settings_for(provider: Provider, **more: str) -> Settings:
    environ = {
        "MODE": "worker",
        "ENVIRONMENT": "test",
        "DATABASE_URL": "postgresql:///x",
        "REDIS_URL": "unix:///x",
        **provider.environ,
        "PREDICTION_REQUEST_TIMEOUT": "700",
    }
    return Settings.load({**environ, **more})


@pytest.fixture
def client(provider: Provider) -> Iterator[Callable[..., ProviderClient]]:
    made: list[ProviderClient] = []

    def make(name: ProviderName = "replicate", **settings: str) -> ProviderClient:
        made.extend(clients(settings_for(provider, **settings)).values())
        return made[-2 if name == "replicate" else -1]

    yield make
    for one in made:
        one.close()


def submission(name: ProviderName, **more: Any) -> Submission:
    given = {"prediction_id": uuid.uuid4(), "model": MODEL[name], "input": INPUT[name], "webhook": None, **more}
    return Submission(**{**given, "input": json.dumps(given["input"])})


def test_replicate_is_asked_as_its_api_wants(client: Any, provider: Provider) -> None:
    sent = submission("replicate", webhook="https://api.example.org/hook")
    seen = client().submit(sent)
    version = submission("replicate", model=f"acme/model:{'0a' * 32}")
    client().submit(version)

    first, second = provider.asked
    assert (first.path, first.headers["authorization"]) == ("/v1/models/acme/model/predictions", "Bearer r8_test")
    assert first.headers["idempotency-key"] == str(sent.prediction_id)
    assert first.body == {
        "input": {"text": "hello"},
        "webhook": "https://api.example.org/hook",
        "webhook_events_filter": ["completed"],
    }
    assert (second.path, second.body) == ("/v1/predictions", {"version": "0a" * 32, "input": {"text": "hello"}})
    assert (seen.status, seen.provider_id) == ("processing", next(iter(provider.made)))


def test_openai_is_asked_as_its_api_wants(client: Any, provider: Provider) -> None:
    sent = submission("openai", input={"input": "hello", "metadata": {"a": "b"}})
    seen = client("openai").submit(sent)
    [asked] = provider.asked
    assert (asked.path, asked.headers["authorization"]) == ("/v1/responses", "Bearer sk-test")
    assert asked.headers["idempotency-key"] == str(sent.prediction_id)
    assert asked.body == {
        "model": "gpt-test",
        "input": "hello",
        "background": True,
        "store": True,
        "metadata": {"a": "b", "prediction_id": str(sent.prediction_id)},
    }
    assert seen.reference == sent.prediction_id


@pytest.mark.parametrize("name", NAMES)
def test_fetch_and_cancel(client: Any, provider: Provider, name: ProviderName) -> None:
    asking = client(name)
    provider_id = asking.submit(submission(name)).provider_id
    assert asking.fetch(provider_id).status == "processing"
    provider.end(provider.made[provider_id])
    ended = asking.fetch(provider_id)
    assert (ended.status, ended.error) == ("succeeded", None)
    assert ended.output
    other = asking.submit(submission(name)).provider_id
    assert asking.cancel(other).status == "canceled"
    with pytest.raises(Refused, match=rf"{name} answered 404: no such thing"):
        asking.fetch("unknown")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (answer(500, b"oops"), "answered 500"),
        (answer(503, {"detail": "busy"}), "answered 503"),
        (answer(408, b""), "answered 408"),
        (answer(401, {"detail": "key r8_test is wrong"}), r"does not accept the service's account \(401\)"),
        (answer(402, b""), r"account \(402\)"),
        (answer(403, b""), r"account \(403\)"),
        (answer(200, b"<html>"), "cannot be read"),
        (answer(200, b"[]"), "cannot be read"),
        (answer(200, b"[" * 100_000), "cannot be read"),
        (answer(200, {"id": "../x", "status": "starting"}), "no usable id"),
        (answer(200, {"id": "x", "status": "vanished"}), "no known status"),
        (answer(200, b"{}", headers={"Content-Length": "100"}), "no complete answer|could not be reached"),
        (hang_up, "could not be reached"),
        (answer(200, b"{}", after=1.5), r"no complete answer within 0.7 s"),
        (trickle, r"no complete answer within 0.7 s"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_asking_again_can_help(client: Any, provider: Provider, fault: Any, says: str) -> None:
    provider.faults["submit"].append(fault)
    started = time.monotonic()
    with pytest.raises(TryAgain, match=says) as raised:
        client().submit(submission("replicate"))
    assert time.monotonic() - started < 1.5
    assert "r8_test" not in str(raised.value)


def test_the_wait_that_a_provider_asks_for(client: Any, provider: Provider) -> None:
    provider.faults["submit"].append(answer(429, {"detail": "slow down"}, headers={"Retry-After": "7"}))
    with pytest.raises(TryAgain, match="replicate answered 429") as raised:
        client().submit(submission("replicate"))
    assert raised.value.after == 7


@pytest.mark.parametrize(
    ("name", "status", "body", "says"),
    [
        ("replicate", 422, {"title": "x", "detail": "input is wrong"}, "replicate answered 422: input is wrong"),
        ("openai", 400, {"error": {"message": "no such model"}}, "openai answered 400: no such model"),
        ("openai", 400, b"\xff", "openai answered 400"),
        ("replicate", 404, [], "replicate answered 404"),
        ("replicate", 302, b"", "replicate answered 302; redirects are not followed"),
    ],
)
def test_what_no_asking_can_help(
    client: Any, provider: Provider, name: ProviderName, status: int, body: Any, says: str
) -> None:
    elsewhere = {"Location": f"{provider.url}/v1/elsewhere"}
    provider.faults["submit"].append(answer(status, body, headers=elsewhere))
    with pytest.raises(Refused) as raised:
        client(name).submit(submission(name))
    assert str(raised.value) == says
    assert len(provider.asked) == 1


@pytest.mark.flips("prediction_max_response_bytes")
def test_an_answer_that_is_too_large_is_not_read(client: Any, provider: Provider) -> None:
    large = {"id": "a", "status": "succeeded", "output": "x" * 5000}
    provider.faults["fetch"] += [answer(200, large), answer(200, large)]
    with pytest.raises(Refused, match="more than 2,048 bytes"):
        client(PREDICTION_MAX_RESPONSE_BYTES="2048").fetch("a")
    assert client().fetch("a").output == "x" * 5000


@pytest.mark.flips("replicate_base_url", "openai_base_url")
@pytest.mark.parametrize(("name", "setting"), [("replicate", "REPLICATE_BASE_URL"), ("openai", "OPENAI_BASE_URL")])
def test_nobody_there(client: Any, name: ProviderName, setting: str) -> None:
    with pytest.raises(Refused, match="404"):
        client(name).fetch("a")
    with pytest.raises(TryAgain, match=f"{name} could not be reached: ConnectionRefusedError"):
        client(name, **{setting: "http://127.0.0.1:1"}).fetch("a")


@pytest.mark.flips("prediction_request_timeout")
def test_a_name_server_that_hangs(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(host: str, port: int) -> list[str]:
        time.sleep(1.5)
        return []

    monkeypatch.setattr("app.outbound.client.system_resolver", hang)
    started = time.monotonic()
    with pytest.raises(TryAgain, match=r"within 0.7 s"):
        client(REPLICATE_BASE_URL="http://provider.invalid").fetch("a")
    assert time.monotonic() - started < 1.4


def test_a_name_that_is_none(client: Any) -> None:
    with pytest.raises(TryAgain, match="could not be reached: the host name could not be resolved"):
        client(REPLICATE_BASE_URL="http://nowhere.invalid").fetch("a")


def test_an_answer_that_postgres_cannot_hold_is_mended(client: Any, provider: Provider) -> None:
    raw = b'{"id": "a", "status": "succeeded", "output": ["nul \\u0000", "half \\ud800", NaN, 1e999, "\\ud83d\\ude00"]}'
    provider.faults["fetch"].append(answer(200, raw))
    assert client().fetch("a").output == ["nul \ufffd", "half \ufffd", None, None, "\U0001f600"]


def test_threads_share_connections_and_not_their_deadlines(client: Any, provider: Provider) -> None:
    """A slow request of one thread must not cut a quick one of another that takes its connection over."""
    asking = client(QUEUE_CONCURRENCY="4")
    made = asking.submit(submission("replicate"))
    peers: set[Any] = set()
    lock = threading.Lock()

    def slow(handler: Any) -> None:
        with lock:
            peers.add(handler.client_address)
        answer(200, provider.made[made.provider_id].document(), after=0.3)(handler)

    provider.faults["fetch"] += [slow] * 24
    with ThreadPoolExecutor(4) as pool:
        seen = list(pool.map(lambda _: asking.fetch(made.provider_id), range(24)))
    assert {one.status for one in seen} == {"processing"}
    assert len(peers) <= 4


def test_one_request_leaves_time_for_another_within_a_job(provider: Provider) -> None:
    chosen = settings_for(provider, PREDICTION_REQUEST_TIMEOUT="30000", QUEUE_JOB_TIMEOUT="20000")
    assert request_timeout(chosen) == 8
    assert request_timeout(settings_for(provider, PREDICTION_REQUEST_TIMEOUT="3000")) == 3


def test_a_provider_without_a_key_has_no_client(provider: Provider) -> None:
    assert list(clients(settings_for(provider, OPENAI_API_KEY=""))) == ["replicate"]


def test_the_api_loads_no_http_client() -> None:
    """It costs the first request after a start a fifth of a second."""
    code = (
        "import sys, app.web.server; from app import composition; composition.operations()\n"
        "print({'httpx2', 'httpcore2', 'rq'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
