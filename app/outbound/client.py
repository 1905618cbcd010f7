"""HTTP requests to addresses that were checked, each within one deadline.

httpcore2 (the transport under httpx2) rather than the client above it: it follows no redirect, reads no proxy from the
environment, keeps no cookie and inflates no body, each of which would be a way around the guard.

Connections are kept for a few seconds: a server that is asked often is spared a handshake for each request. A kept
connection goes to the address that was checked when it was made.
"""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import httpcore2

from app.outbound.network import CurrentDeadline, Deadline, GuardedBackend, RequestFailed, Resolver, system_resolver
from app.outbound.urls import Target, UrlPolicy

KEPT_SECONDS = 4.0
"""Below the idle time after which receivers close a connection: 5 s with Node and uvicorn, 75 s with nginx."""
_QUOTED = 200
"""Characters of a library's message that are passed on: it may quote the server's bytes at length."""


class RequestTimedOut(RequestFailed):
    """No complete answer within the time of the request."""


class AnswerTooLarge(RequestFailed):
    """The answer has more bytes than were wanted."""

    def __init__(self, status: int) -> None:
        super().__init__("the answer is too large")
        self.status = status


class RequestInvalid(RequestFailed):
    """The request cannot be expressed in HTTP (an illegal header): sending it again cannot help."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`body` is what was read of it, at most the limit that was asked for."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """Sends requests from many threads, and keeps connections. `resolve` and `tls` are the system's unless given."""

    def __init__(
        self,
        policy: UrlPolicy,
        *,
        keep: int = 100,
        keep_seconds: float = KEPT_SECONDS,
        resolve: Resolver | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """`keep`: idle connections, each for `keep_seconds`. `tls` is loaded at the first request: that takes tens of
        milliseconds."""
        self._current = CurrentDeadline()
        self._backend = GuardedBackend(policy=policy, current=self._current, resolve=resolve or system_resolver)
        self._keep, self._keep_seconds, self._tls = keep, keep_seconds, tls
        self._lock = threading.Lock()
        self._made: httpcore2.ConnectionPool | None = None

    def request(
        self,
        method: Literal["GET", "POST"],
        target: Target,
        *,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes | None = None,
        timeout: float,
        max_response_bytes: int,
        whole: bool = False,
    ) -> Answer:
        """The answer, at most `timeout` seconds from now; its body `whole`, or as much of it as comes: then one that
        breaks off, outlasts the deadline or is too large is cut there, and the status is the answer.

        Raises UrlRefused for an address that is not allowed, RequestFailed for anything else that gives no answer.
        """
        url = httpcore2.URL(
            scheme=target.scheme.encode(), host=_url_host(target), port=target.port, target=target.path.encode()
        )
        encoded = encode_headers(headers)
        deadline = self._current.deadline = Deadline(timeout)
        while True:
            try:
                with self._pool().stream(method, url, headers=encoded, content=body) as response:
                    return _answer(response, max_response_bytes, whole=whole)
            except (TimeoutError, httpcore2.TimeoutException) as error:
                raise RequestTimedOut(str(deadline)) from error
            except httpcore2.LocalProtocolError as error:
                raise RequestInvalid(f"the request is not valid HTTP: {error}"[:_QUOTED]) from error
            except (httpcore2.RemoteProtocolError, httpcore2.NetworkError, OSError) as error:
                # The server closed a kept connection in the moment in which it was used again. The broken one is
                # gone from the pool, so that this ends, at the latest with one that was made for this request.
                if deadline.connected:
                    raise RequestFailed(_reason(error)) from error

    def close(self) -> None:
        """Close the kept connections; no request may be under way."""
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None

    def _pool(self) -> httpcore2.ConnectionPool:
        with self._lock:
            if self._made is None:
                self._made = httpcore2.ConnectionPool(
                    ssl_context=self._tls or httpcore2.default_ssl_context(),
                    network_backend=self._backend,
                    # A worker has as many requests under way as it has slots; nothing here is to hold one up.
                    max_connections=None,
                    max_keepalive_connections=self._keep,
                    keepalive_expiry=self._keep_seconds,
                )
            return self._made


def _url_host(target: Target) -> bytes:
    return f"[{target.host}]".encode() if ":" in target.host else target.host.encode()


def encode_headers(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Values without the blanks around them, which are no part of them and would be refused on the way out."""
    try:
        return [(name.encode("ascii"), value.strip(" \t").encode("latin-1")) for name, value in headers]
    except UnicodeEncodeError:
        raise RequestInvalid("a header contains characters that HTTP does not allow") from None


def _answer(response: httpcore2.Response, limit: int, *, whole: bool) -> Answer:
    headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers}
    body = _read_whole(response, limit) if whole else _read(response, limit)
    return Answer(status=response.status, headers=headers, body=body)


def _read_whole(response: httpcore2.Response, limit: int) -> bytes:
    received = bytearray()
    for chunk in response.iter_stream():
        received += chunk
        if len(received) > limit:
            raise AnswerTooLarge(response.status)
    return bytes(received)


def _read(response: httpcore2.Response, limit: int) -> bytes:
    received = bytearray()
    try:
        for chunk in response.iter_stream():
            received += chunk
            if len(received) >= limit:
                break
    except (OSError, httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError):
        # OSError too, which a connection that is reset raises: passed on from a kept connection, it had the request
        # sent again that the receiver had answered.
        pass
    return bytes(received[:limit])


def _reason(error: Exception) -> str:
    if isinstance(error, httpcore2.RemoteProtocolError):
        return f"the receiver did not answer in HTTP: {error}"[:_QUOTED]
    chain: list[BaseException] = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(cause)
    for cause in chain:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"the receiver's certificate is not valid: {cause.verify_message}"
    cause = chain[-1]
    if isinstance(cause, ssl.SSLError):
        return f"TLS failed: {cause.reason or 'handshake'}"
    if isinstance(cause, ConnectionRefusedError):
        return "the receiver refused the connection"
    if isinstance(cause, ConnectionError):
        return "the receiver closed the connection"
    if isinstance(cause, OSError) and cause.strerror:
        return f"the connection failed: {cause.strerror}"
    return f"the connection failed: {error}"[:_QUOTED] if str(error) else "the connection failed"
