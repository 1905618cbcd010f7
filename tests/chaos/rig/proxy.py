"""A TCP proxy between the application and a server: a network that can be cut, and a name that can point elsewhere."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from dataclasses import dataclass, field

from rig.servers import HOST, free_port

_CHUNK = 65_536


@dataclass(eq=False)
class _Side:
    """One socket of a pair; what arrives on it goes to `other`."""

    socket: socket.socket
    other: _Side | None = None
    unsent: bytearray = field(default_factory=bytearray)
    """What this socket could not take yet."""
    is_server: bool = False
    doomed: bool = False
    """The next that comes from here is thrown away, and its connection reset."""


class Proxy:
    """Forwards `port` to `target`.

    `cut` is a network that drops packets: nothing is forwarded, nothing is closed, new connections get no answer.
    `mend` goes on where it stopped, as TCP does when its retransmissions arrive again; with `forget`, the connections
    of before are reset, as by a firewall that lost its table. `lose_answers` ends connections between what the server
    did and the news of it.
    """

    def __init__(self, target: int) -> None:
        self.port = free_port()
        self.target = target
        """Port that new connections go to; those that are open stay where they are."""
        self._is_cut = threading.Event()
        self._rests = threading.Event()
        self._closing = False
        self._sides: set[_Side] = set()
        self._forget = False
        self._lose: tuple[bytes, int] = b"", 0
        self.lost = 0
        """Answers that were thrown away so far."""
        self._selector = selectors.DefaultSelector()
        self._listener = socket.create_server((HOST, self.port), backlog=128)
        self._listener.setblocking(False)
        self._wake_up, self._woken = socket.socketpair()
        self._selector.register(self._listener, selectors.EVENT_READ, None)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._thread = threading.Thread(target=self._run, name="proxy")
        self._thread.start()

    def cut(self) -> None:
        self._rests.clear()
        self._is_cut.set()
        self._wake()
        assert self._rests.wait(10)

    def mend(self, *, forget: bool = False) -> None:
        self._forget = forget
        self._is_cut.clear()
        self._wake()

    def lose_answers(self, text: bytes, times: int) -> None:
        """From now on, so many times: when a client has sent what holds the text, the server gets it, does it, and
        answers; the answer is thrown away and the connection reset."""
        self._lose = text, times

    def close(self) -> None:
        self._closing = True
        self._wake()
        self._thread.join()

    def _wake(self) -> None:
        self._wake_up.send(b"x")

    def _run(self) -> None:
        while not self._closing:
            if self._is_cut.is_set():
                self._rests.set()
                self._woken.recv(_CHUNK)
                continue
            if self._forget:
                self._forget = False
                self._reset_all()
            for key, events in self._selector.select():
                if key.fileobj is self._listener:
                    self._accept()
                elif key.fileobj is self._woken:
                    self._woken.recv(_CHUNK)
                elif key.data in self._sides:
                    self._move(key.data, events)
        self._reset_all()
        for one in (self._listener, self._wake_up, self._woken):
            one.close()
        self._selector.close()

    def _accept(self) -> None:
        try:
            near, _ = self._listener.accept()
        except OSError:
            return
        try:
            far = socket.create_connection((HOST, self.target), timeout=2)
        except OSError:
            near.close()
            return
        sides = _Side(near), _Side(far, is_server=True)
        for side, other in (sides, sides[::-1]):
            side.other = other
            side.socket.setblocking(False)
            side.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._sides.add(side)
            self._selector.register(side.socket, selectors.EVENT_READ, side)

    def _move(self, side: _Side, events: int) -> None:
        assert side.other is not None
        try:
            if events & selectors.EVENT_READ:
                data = side.socket.recv(_CHUNK)
                if not data:
                    self._drop(side)
                    return
                if side.doomed:
                    self.lost += 1
                    self._reset(side)
                    return
                text, times = self._lose
                if times and not side.is_server and text in data:
                    self._lose = text, times - 1
                    side.other.doomed = True
                self._send(side.other, data)
            if events & selectors.EVENT_WRITE:
                self._send(side, b"")
        except BlockingIOError:
            pass
        except OSError:
            self._drop(side)

    def _send(self, side: _Side, data: bytes) -> None:
        side.unsent += data
        with contextlib.suppress(BlockingIOError):
            del side.unsent[: side.socket.send(side.unsent)]
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if side.unsent else 0)
        self._selector.modify(side.socket, wanted, side)

    def _drop(self, side: _Side) -> None:
        for one in (side, side.other):
            if one in self._sides:
                self._sides.discard(one)
                self._selector.unregister(one.socket)
                one.socket.close()

    def _reset_all(self) -> None:
        for side in list(self._sides):
            if side in self._sides:
                self._reset(side)

    def _reset(self, side: _Side) -> None:
        for one in (side, side.other):
            assert one is not None
            # Zero linger: close sends a reset.
            one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self._drop(side)
