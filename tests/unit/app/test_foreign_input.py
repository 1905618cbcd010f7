"""What others write into headers and bodies: whatever it is, its reader answers, or raises the error that it names."""

from __future__ import annotations

import base64
import contextlib
import math
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from ipaddress import ip_network
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as limits
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.requests import Request

from app.accounts.tokens import InvalidToken, Tokens
from app.deliveries.job import DeliveryHandler, Work, classify
from app.errors import InvalidInput
from app.observability import correlation
from app.outbound.client import Answer
from app.outbound.urls import Target, UrlPolicy, UrlRefused, check_url_shape
from app.queue.backoff import delay, retry_after
from app.queue.job import Job
from app.settings import Settings
from app.settings_checks import KeyRing
from app.web import caching, idempotency, paging
from app.web.client_address import ClientAddress, network_of

pytestmark = pytest.mark.timeout(120)

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
HEADER = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=60)
"""As headers are decoded here."""
NUMBER = st.one_of(
    st.integers().map(str),
    st.integers(min_value=-(10**40), max_value=10**40).map(str),
    st.floats().map(str),
    st.sampled_from(["1e9", "1e400", "0" * 400, "9" * 5000, "٣", "²", "+1", "0x10", "1_000", "inf", "nan", ""]),
)
DATE = st.builds(
    lambda day, month, year, time, zone: f"Thu, {day} {month} {year} {time} {zone}",
    NUMBER | st.integers(0, 32).map(str),
    st.sampled_from(["Jan", "Feb", "Dec", "Foo", ""]),
    NUMBER | st.sampled_from(["0", "1", "0001", "9999", "10000", "99999"]),
    st.sampled_from(["00:00:00", "23:59:60", "24:00:00", "00:00", "-1:00:00", ":::", "99999999999:0:0"]),
    NUMBER | st.sampled_from(["GMT", "+0000", "-2359", "+2359", "+9999", "-0000", "EST", ""]),
)


@given(HEADER | NUMBER | DATE | st.text(max_size=40))
@example("Thu, 01 Jan 9999999999 00:00:00 GMT")
@example("Thu, 01 Jan 2026 00:00:00 +99999999999999")
@example("9" * 5000)
@example("0" * 5000 + "7")
def test_how_long_to_wait(header: str) -> None:
    seconds = retry_after(header)
    assert 0 <= seconds < math.inf
    assert delay(attempt=1, base=1, cap=5, at_least=seconds) <= 5


@given(st.integers(100, 599), st.dictionaries(HEADER, HEADER | DATE), st.binary(max_size=40), DATE | NUMBER)
def test_a_receivers_answer(status: int, headers: dict[str, str], body: bytes, wait: str) -> None:
    outcome = classify(Answer(status=status, headers={**headers, "retry-after": wait}, body=body))
    assert outcome.result in ("done", "retry", "dead")


@pytest.mark.feature("predictions")
@given(st.integers(200, 599), HEADER | DATE | NUMBER, st.binary(max_size=60))
def test_a_providers_error(status: int, wait: str, body: bytes) -> None:
    from app.predictions.providers.client import ProviderClient, Refused, TryAgain
    from app.predictions.providers.dialects import DIALECTS

    for dialect in DIALECTS.values():
        client = ProviderClient(
            dialect, base_url="http://x", key="k", timeout=1, max_response_bytes=1, connections=1, user_agent="t"
        )
        error = client._error(status, {"retry-after": wait}, body)
        assert isinstance(error, TryAgain | Refused)


@given(st.text(max_size=60) | st.builds("https://{}/{}".format, st.text(max_size=30), st.text(max_size=20)))
@example("https://[::1%25]/")
@example("https://a:99999999999999999999/")
@example("https://xn--a-ecp.ru/")
@example("https://" + "\u0130" * 64 + "/")
def test_a_url(url: str) -> None:
    for policy in (UrlPolicy(), UrlPolicy(allow_http=True, allow_private=True)):
        with contextlib.suppress(UrlRefused):
            target = check_url_shape(url, policy)
            assert isinstance(target, Target)
            assert (target.host + target.path).isascii()


@pytest.mark.feature("predictions")
@given(HEADER, HEADER | NUMBER, HEADER | st.builds("v1,{}".format, HEADER), st.binary(max_size=40))
@example("m", "1e400", "v1,AA==", b"{}")
@example("m", "nan", "v1,AA==", b"\xff")
def test_a_signed_webhook(webhook_id: str, timestamp: str, signature: str, body: bytes) -> None:
    from app.predictions.webhooks.signatures import WebhookMalformed, WebhookRefused, verify

    given_ = {"webhook-id": webhook_id, "webhook-timestamp": timestamp, "webhook-signature": signature}
    raw = [(name.encode(), value.encode("latin-1", "replace")) for name, value in given_.items()]
    with pytest.raises((WebhookMalformed, WebhookRefused)):
        verify(Headers(raw=raw), body, secrets=[SECRET])


@given(st.text(max_size=40) | st.binary(max_size=30).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_a_cursor(text: str) -> None:
    try:
        created_at, _ = paging.decode_cursor(text)
    except ValueError:
        return
    assert created_at.tzinfo is UTC


@given(st.binary(min_size=24, max_size=24))
def test_a_cursor_of_the_right_length(raw: bytes) -> None:
    test_a_cursor.hypothesis.inner_test(base64.urlsafe_b64encode(raw).decode())  # type: ignore[attr-defined]


@given(HEADER)
def test_headers_of_callers(text: str) -> None:
    raw = [(name, text.encode("latin-1")) for name in (b"if-none-match", b"x-forwarded-for", b"idempotency-key")]
    request: Request[Any] = Request({"type": "http", "headers": raw, "client": ("10.0.0.1", 1)})
    assert caching.is_known(request, 'W/"x"') in (True, False)
    assert network_of(ClientAddress([ip_network("10.0.0.0/8")]).of(request.scope))
    assert correlation.accept(text)
    with contextlib.suppress(InvalidInput):
        idempotency.key_of(request)


@pytest.mark.feature("predictions")
@given(HEADER)
def test_a_webhooks_reference(text: str) -> None:
    from app.predictions.webhooks.service import _reference

    assert _reference(text) is None or isinstance(_reference(text), uuid.UUID)


@given(
    HEADER
    | st.lists(st.binary(max_size=40), min_size=3, max_size=3).map(lambda p: b".".join(map(_encoded, p)).decode())
)
@example(base64.urlsafe_b64encode(b"[" * 3000).decode().rstrip("=") + ".e30.x")
def test_a_token(text: str) -> None:
    ring = KeyRing(active="a", keys={"a": "k" * 64})
    tokens = Tokens(ring, issuer="i", audience="a", access_seconds=1, refresh_seconds=2)
    for check in (tokens.check_access, tokens.check_refresh):
        with pytest.raises(InvalidToken):
            check(text)


def _encoded(part: bytes) -> bytes:
    return base64.urlsafe_b64encode(part).rstrip(b"=")


class RawReceiver:
    """Answers each connection with `data`, and hangs up."""

    def __init__(self) -> None:
        self.data, self.requests = b"", 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._socket.accept()
                with connection, contextlib.suppress(OSError):
                    received = b""
                    while not received.endswith(b"\r\n\r\n{}"):
                        received += connection.recv(65536)
                    self.requests += 1
                    connection.sendall(self.data)

    def close(self) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(10)


@pytest.fixture(scope="module")
def attempt() -> Iterator[Callable[..., Any]]:
    """One attempt at a receiver that answers with these bytes; its outcome."""
    receiver = RawReceiver()
    environ = {"MODE": "worker", "ENVIRONMENT": "test", "DATABASE_URL": "postgresql:///x", "REDIS_URL": "unix:///x"}
    allowed = {"DELIVERY_ALLOW_HTTP": "true", "DELIVERY_ALLOW_PRIVATE_NETWORKS": "true", "DELIVERY_TIMEOUT": "2000"}
    handler = DeliveryHandler(Settings.load({**environ, **allowed}))
    ids = {"id": uuid.uuid4(), "subject_id": uuid.uuid4(), "correlation_id": None, "traceparent": None}
    job = Job(**ids, kind="delivery", attempt=1, max_attempts=3, worker="w", lease=30.0)

    def run(data: bytes) -> Any:
        receiver.data, before = data, receiver.requests
        outcome = handler.run(Work(url=receiver.url, body="{}", headers={}), job)
        assert receiver.requests == before + 1
        return outcome

    yield run
    receiver.close()


def logged(outcome: Any) -> Any:
    """The attempt as it would be stored."""
    assert isinstance(outcome.detail, dict)
    made = SimpleNamespace(**outcome.detail)
    assert datetime.fromisoformat(made.started_at) <= datetime.now(UTC)
    assert made.error == outcome.error
    for text in (made.error, made.response_excerpt):
        assert text is None or ("\0" not in text and text.encode().decode() == text)
    return made


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"HTTP/1.1 503 x\r\nRetry-After: Thu, 01 Jan 9999999999 00:00:00 GMT\r\nContent-Length: 0\r\n\r\n", 503),
        (b"HTTP/1.1 429 x\r\nRetry-After: " + b"9" * 5000 + b"\r\nContent-Length: 0\r\n\r\n", 429),
        (b"HTTP/1.1 503 x\r\nRetry-After: \xd9\xa3\r\nContent-Length: 0\r\n\r\n", 503),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\0\0\0", 200),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=none\r\n\r\n\0\xff\xed\xa0\x80", 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffffff\r\n", 200),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort", 200),
        (b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 30 + b"\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", None),
        (b"HTTP/1.1 200 OK\r\nX: a\0b\r\n\r\n", None),
        (b"HTTP/1.1 999999 OK\r\n\r\n", None),
        (b"HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n\0\0", None),
        (b"HTTP/9.9 200 OK\r\n\r\n", None),
        (b"\0\0\0", None),
        (b"", None),
    ],
    ids=lambda value: value[:50].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_a_request_that_was_made_is_in_the_log(attempt: Callable[..., Any], data: bytes, status: int | None) -> None:
    outcome = attempt(data)
    assert outcome.error != "internal error"
    if status is not None:
        assert logged(outcome).status_code == status
    logged(outcome)


@limits(max_examples=150, deadline=None)
@given(
    st.binary(max_size=80)
    | st.builds(
        lambda status, name, value, body: b"HTTP/1.1 " + status + b"\r\n" + name + b": " + value + b"\r\n\r\n" + body,
        st.sampled_from([b"200 OK", b"200", b"204 x", b"429 x", b"500 \xff", b"304 x", b"600 x", b"20 OK"]),
        st.sampled_from([b"Retry-After", b"Content-Length", b"Transfer-Encoding", b"Connection", b"X", b""]),
        st.binary(max_size=12) | NUMBER.map(lambda text: text.encode()[:100]),
        st.binary(max_size=12),
    )
)
def test_whatever_a_receiver_answers(attempt: Callable[..., Any], data: bytes) -> None:
    assert logged(attempt(data)).error != "internal error"


@pytest.mark.parametrize(
    ("error", "said"), [(RuntimeError("x"), "internal error"), (MemoryError(), "the job ran out of memory")]
)
def test_a_fault_of_ours_after_the_answer_keeps_its_status(
    attempt: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, error: BaseException, said: str
) -> None:
    def fail(answer: Answer) -> None:
        raise error

    monkeypatch.setattr("app.deliveries.job.classify", fail)
    outcome = attempt(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    made = logged(outcome)
    assert (outcome.result, made.error, made.status_code, made.response_excerpt) == ("retry", said, 200, "ok")
