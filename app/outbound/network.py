"""The network under outbound requests: connects only to addresses that the policy allows, within a deadline.

The name is resolved once, here, and the connection is made to the address that passed the check, so that no answer of a
name server can change in between. TLS still verifies the name.
"""

from __future__ import annotations

import queue
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from httpcore2 import NetworkBackend, NetworkStream

from app.outbound.urls import UrlPolicy, as_address, check_address

Resolver = Callable[[str, int], Sequence[str]]

_READ_SIZE = 16_384


class RequestFailed(Exception):
    """No usable answer came; `str()` is a reason that may be shown to the user."""


class Deadline:
    """Seconds of monotonic time until which everything must have happened."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self.connected = False
        """Whether a connection was made for this request, and not a kept one used."""

    def remaining(self) -> float:
        """Time left, in seconds; raises TimeoutError when none is."""
        if (left := self._end - time.monotonic()) <= 0:
            raise TimeoutError
        return left

    def __str__(self) -> str:
        return f"no complete answer within {self._seconds:g} s"


class CurrentDeadline(threading.local):
    """Of the request that this thread is at: connections outlive requests, and belong to no thread."""

    deadline = Deadline(0.0)


def system_resolver(host: str, port: int) -> list[str]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


def _resolve_within(resolve: Resolver, host: str, port: int, deadline: Deadline) -> Sequence[str]:
    """`resolve` with a time limit.

    getaddrinfo takes none and waits for as long as the system's name servers let it, so it runs in a thread that is
    left behind when the time is over; it ends by itself.
    """
    results: queue.SimpleQueue[Sequence[str] | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            results.put(resolve(host, port))
        except Exception as error:  # noqa: BLE001 - it is the request's, which waits for it; alone it would end the process
            results.put(error)

    threading.Thread(target=work, name="resolve", daemon=True).start()
    try:
        result = results.get(timeout=deadline.remaining())
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(result, BaseException) or not result:
        raise RequestFailed("the host name could not be resolved")
    return result


class GuardedBackend(NetworkBackend):
    """Connects only to addresses that the policy allows, and bounds every operation by the request's deadline."""

    def __init__(self, *, policy: UrlPolicy, current: CurrentDeadline, resolve: Resolver) -> None:
        self._policy = policy
        self._current = current
        self._resolve = resolve

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ARG002 - the deadline decides
        local_address: str | None = None,  # noqa: ARG002
        socket_options: Iterable[Any] | None = None,  # noqa: ARG002
    ) -> NetworkStream:
        deadline = self._current.deadline
        deadline.connected = True
        literal = host.strip("[]")
        addresses = (
            [literal] if as_address(literal) is not None else _resolve_within(self._resolve, host, port, deadline)
        )
        # One forbidden address refuses the host: a name that mixes public and private answers is an attack or a
        # mistake, and trying the next one would make the outcome depend on chance.
        for address in addresses:
            check_address(address.partition("%")[0], self._policy)
        return _DeadlineStream(self._connect(addresses, port, deadline), self._current)

    def _connect(self, addresses: Sequence[str], port: int, deadline: Deadline) -> socket.socket:
        for position, address in enumerate(addresses, start=1):
            try:
                connection = socket.create_connection((address, port), timeout=deadline.remaining())
            except TimeoutError:
                raise
            except OSError:
                if position == len(addresses):
                    raise
                continue
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        raise RequestFailed("the host name could not be resolved")


def _is_readable(connection: socket.socket) -> bool:
    """Asked of a kept connection: readable without a request means that the receiver has closed it.

    By poll: select refuses descriptors from 1,024 on, and with it every delivery of a process that has so many open.
    """
    if (descriptor := connection.fileno()) < 0:
        return True
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


class _DeadlineStream(NetworkStream):
    """A socket on which no sequence of small steps can outlast the deadline of the request that uses it."""

    def __init__(self, connection: socket.socket, current: CurrentDeadline) -> None:
        self._socket = connection
        self._current = current

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        self._socket.settimeout(self._current.deadline.remaining())
        return self._socket.recv(min(max_bytes, _READ_SIZE))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        view = memoryview(buffer)
        while view:
            self._socket.settimeout(self._current.deadline.remaining())
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
            self._socket.settimeout(self._current.deadline.remaining())
            wrapped = ssl_context.wrap_socket(self._socket, server_hostname=(server_hostname or "").strip("[]"))
        except BaseException:
            self.close()
            raise
        return _DeadlineStream(wrapped, self._current)

    def get_extra_info(self, info: str) -> Any:
        if info == "ssl_object" and isinstance(self._socket, ssl.SSLSocket):
            return self._socket
        if info == "is_readable":
            return _is_readable(self._socket)
        if info == "socket":
            return self._socket
        return None
