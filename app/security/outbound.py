"""One HTTP request to an address that was checked, within one deadline.

httpcore2 (the transport under httpx2) rather than the client above it: it follows no redirect, reads no proxy from the
environment, keeps no cookie and inflates no body, each of which would be a way around the guard.

The name is resolved once, inside the connection's own network backend, and the connection is made to the address that
passed the check, so that no answer of a name server can change in between. TLS still verifies the name.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpcore2
from httpcore2 import NetworkBackend, NetworkStream

from app.security.urls import Target, UrlPolicy, check_address

Resolver = Callable[[str, int], Sequence[str]]

_READ_SIZE = 16_384
_QUOTED = 200
"""Characters of a library's message that are passed on: it may quote the receiver's bytes at length."""


class RequestFailed(Exception):
    """No usable answer came; `str()` is a reason that may be shown to the user."""


class RequestInvalid(RequestFailed):
    """The request cannot be expressed in HTTP (an illegal header): sending it again cannot help."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """`body` is what was read of it, at most the limit that was asked for."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Deadline:
    """Seconds of monotonic time until which everything must have happened."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Time left, in seconds; raises TimeoutError when none is."""
        if (left := self._end - time.monotonic()) <= 0:
            raise TimeoutError
        return left

    def __str__(self) -> str:
        return f"no complete answer within {self._seconds:g} s"


def post(
    target: Target,
    *,
    policy: UrlPolicy,
    headers: Sequence[tuple[str, str]],
    body: bytes,
    timeout: float,
    max_response_bytes: int,
    resolve: Resolver | None = None,
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """POST `body` and return the answer, at most `timeout` seconds from now.

    A body that breaks off or outlasts the deadline after the status line came is cut there: the status is the answer.
    Raises UrlRefused for an address that is not allowed, RequestFailed for anything else that gives no status.
    """
    deadline = _Deadline(timeout)
    backend = _GuardedBackend(policy=policy, deadline=deadline, resolve=resolve or system_resolver)
    url = httpcore2.URL(
        scheme=target.scheme.encode(), host=_url_host(target), port=target.port, target=target.path.encode()
    )
    try:
        with (
            httpcore2.ConnectionPool(
                ssl_context=tls or _tls(), network_backend=backend, max_keepalive_connections=0
            ) as pool,
            pool.stream("POST", url, headers=_encoded(headers), content=body) as response,
        ):
            return Answer(
                status=response.status,
                headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in response.headers},
                body=_read(response, max_response_bytes),
            )
    except (TimeoutError, httpcore2.TimeoutException):
        raise RequestFailed(str(deadline)) from None
    except httpcore2.LocalProtocolError as error:
        raise RequestInvalid(f"the request is not valid HTTP: {error}"[:_QUOTED]) from None
    except httpcore2.RemoteProtocolError as error:
        raise RequestFailed(f"the receiver did not answer in HTTP: {error}"[:_QUOTED]) from None
    except (httpcore2.NetworkError, OSError) as error:
        raise RequestFailed(_reason(error)) from None


def _url_host(target: Target) -> bytes:
    return f"[{target.host}]".encode() if ":" in target.host else target.host.encode()


def _encoded(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    try:
        return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers]
    except UnicodeEncodeError:
        raise RequestInvalid("a header contains characters that HTTP does not allow") from None


def _read(response: httpcore2.Response, limit: int) -> bytes:
    received = bytearray()
    try:
        for chunk in response.iter_stream():
            received += chunk
            if len(received) >= limit:
                break
    except (TimeoutError, httpcore2.TimeoutException, httpcore2.NetworkError, httpcore2.ProtocolError):
        pass
    return bytes(received[:limit])


def _reason(error: Exception) -> str:
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


@cache
def _tls() -> ssl.SSLContext:
    """One for the process: loading the certificate authorities takes tens of milliseconds."""
    return httpcore2.default_ssl_context()


def system_resolver(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def resolve_within(resolve: Resolver, host: str, port: int, seconds: float) -> Sequence[str]:
    """`resolve` with a time limit.

    getaddrinfo takes none and waits for as long as the system's name servers let it, so it runs in a thread that is
    left behind when the time is over; it ends by itself.
    """
    results: queue.SimpleQueue[Sequence[str] | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            results.put(resolve(host, port))
        except (OSError, UnicodeError) as error:
            results.put(error)

    threading.Thread(target=work, name="resolve", daemon=True).start()
    try:
        result = results.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(result, BaseException) or not result:
        raise RequestFailed("the host name could not be resolved")
    return result


class _GuardedBackend(NetworkBackend):
    """Connects only to addresses that the policy allows, and bounds every operation by the request's deadline."""

    def __init__(self, *, policy: UrlPolicy, deadline: _Deadline, resolve: Resolver) -> None:
        self._policy = policy
        self._deadline = deadline
        self._resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline decides
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> NetworkStream:
        addresses = resolve_within(self._resolve, host.strip("[]"), port, self._deadline.remaining())
        # One forbidden address refuses the host: a name that mixes public and private answers is an attack or a
        # mistake, and trying the next one would make the outcome depend on chance.
        for address in addresses:
            check_address(address.partition("%")[0], self._policy)
        return _DeadlineStream(self._connect(addresses, port), self._deadline)

    def _connect(self, addresses: Sequence[str], port: int) -> socket.socket:
        for position, address in enumerate(addresses, start=1):
            try:
                connection = socket.create_connection((address, port), timeout=self._deadline.remaining())
            except TimeoutError:
                raise
            except OSError:
                if position == len(addresses):
                    raise
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        raise RequestFailed("the host name could not be resolved")


class _DeadlineStream(NetworkStream):
    """A socket on which no sequence of small steps can outlast the deadline."""

    def __init__(self, connection: socket.socket, deadline: _Deadline) -> None:
        self._socket = connection
        self._deadline = deadline

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        self._socket.settimeout(self._deadline.remaining())
        return self._socket.recv(min(max_bytes, _READ_SIZE))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        view = memoryview(buffer)
        while view:
            self._socket.settimeout(self._deadline.remaining())
            view = view[self._socket.send(view) :]

    def close(self) -> None:
        self._socket.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ARG002
    ) -> NetworkStream:
        try:
            self._socket.settimeout(self._deadline.remaining())
            wrapped = ssl_context.wrap_socket(self._socket, server_hostname=(server_hostname or "").strip("[]"))
        except BaseException:
            self.close()
            raise
        return _DeadlineStream(wrapped, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object" and isinstance(self._socket, ssl.SSLSocket):
            return self._socket
        if info == "socket":
            return self._socket
        return None
