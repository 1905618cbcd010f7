"""The sockets to serve on: those that a supervisor handed over, else one bound here."""

from __future__ import annotations

import errno
import socket
from collections.abc import Mapping

FIRST_INHERITED = 3
"""systemd's convention: with LISTEN_FDS=n the descriptors 3 to 3+n-1 are listening sockets."""
BACKLOG = 2048


class SocketError(Exception):
    """There is nothing to serve on; the message says why and what to do."""


def listening(*, host: str, port: int, environ: Mapping[str, str], pid: int) -> list[socket.socket]:
    """Raises SocketError."""
    inherited = _inherited_count(environ, pid)
    return [_adopt(FIRST_INHERITED + n) for n in range(inherited)] if inherited else [_bind(host, port)]


def _inherited_count(environ: Mapping[str, str], pid: int) -> int:
    count, meant_for = environ.get("LISTEN_FDS"), environ.get("LISTEN_PID")
    if not count or (meant_for and meant_for != str(pid)):
        return 0
    if not count.isdecimal() or int(count) > 64:
        raise SocketError(f"LISTEN_FDS={count} is not a number of inherited sockets")
    return int(count)


def _adopt(descriptor: int) -> socket.socket:
    try:
        found = socket.socket(fileno=descriptor)
        if not found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise SocketError(f"LISTEN_FDS: descriptor {descriptor} is not a listening socket")
    except OSError as error:
        raise SocketError(f"LISTEN_FDS: descriptor {descriptor} is no socket: {error.strerror}") from error
    found.setblocking(False)
    # A child must not keep the socket open when we close our copy.
    found.set_inheritable(False)
    return found


def _bind(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except OSError as error:
        raise SocketError(f"HOST={host} is no address of this machine: {error.strerror}") from error
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise SocketError(_bind_trouble(error, host, port)) from error
    bound.setblocking(False)
    return bound


def _bind_trouble(error: OSError, host: str, port: int) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return f"port {port} on {host} is in use: stop what listens there or set PORT to a free one"
        case errno.EACCES:
            return f"port {port} needs more rights than this process has: set PORT to one from 1024 up"
        case errno.EADDRNOTAVAIL:
            return f"HOST={host} is no address of this machine"
        case _:
            return f"cannot listen on {host} port {port}: {error.strerror}"
