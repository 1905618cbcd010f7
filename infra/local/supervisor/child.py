"""One operating system process of a service, its output and its end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import IO

from infra.local.supervisor.process import die_with_parent, kill_group, start_time

FIRST_FD = 3
"""Where inherited sockets begin, as in systemd's socket activation."""
_MAX_LINE = 64 * 1024

OnLine = Callable[[bytes], None]


def reserve_descriptors() -> None:
    """Keep 3 and 4 free for inheritance: `subprocess` passes descriptors on but does not renumber them.

    To be called before anything else opens a file.
    """
    spare = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for target in range(FIRST_FD, FIRST_FD + 2):
        if target != spare:
            os.dup2(spare, target, inheritable=False)


class _Lines:
    """Cuts what a process writes into lines. A line longer than 64 KiB is passed on in pieces."""

    def __init__(self, pipe: IO[bytes], on_line: OnLine) -> None:
        self._pipe = pipe
        self._on_line = on_line
        self._rest = b""
        self.closed = asyncio.Event()
        os.set_blocking(pipe.fileno(), False)
        asyncio.get_running_loop().add_reader(pipe.fileno(), self._read)

    def _read(self) -> None:
        try:
            data = os.read(self._pipe.fileno(), _MAX_LINE)
        except BlockingIOError:
            return
        if not data:
            self._close()
            return
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._on_line(line)
        if len(self._rest) > _MAX_LINE:
            self._on_line(self._rest)
            self._rest = b""

    def _close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._pipe.fileno())
        self._pipe.close()
        if self._rest:
            self._on_line(self._rest)
        self.closed.set()


class Children:
    """All processes of this supervisor. One SIGCHLD handler reaps them, so no thread is needed to wait."""

    def __init__(self) -> None:
        self._living: dict[int, Child] = {}
        self._spare = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)

    def _reap(self) -> None:
        for pid, child in list(self._living.items()):
            code = child.popen.poll()
            if code is not None:
                del self._living[pid]
                child.ended.set_result(code)

    def spawn(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        cwd: str,
        user: tuple[int, int] | None = None,
        sockets: Sequence[socket.socket] = (),
        on_line: OnLine | None = None,
        death_signal: int = signal.SIGTERM,
    ) -> Child:
        """Start a process that leads its own group. OSError when the command cannot be run."""
        targets = range(FIRST_FD, FIRST_FD + len(sockets))
        for target, sock in zip(targets, sockets, strict=True):
            os.dup2(sock.fileno(), target, inheritable=False)
        try:
            # No thread has been started in this process, so code between fork and exec is safe.
            popen = subprocess.Popen(
                list(command),
                env=dict(environment),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if on_line else subprocess.DEVNULL,
                stderr=subprocess.STDOUT,
                pass_fds=tuple(targets),
                start_new_session=True,
                user=user[0] if user else None,
                group=user[1] if user else None,
                extra_groups=[] if user else None,
                preexec_fn=die_with_parent(death_signal),
            )
        finally:
            for target in targets:
                os.dup2(self._spare, target, inheritable=False)
        child = Child(popen)
        self._living[popen.pid] = child
        if on_line and popen.stdout:
            child.output_closed = _Lines(popen.stdout, on_line).closed
        self._reap()  # A process that ended before it stood in the table was not reaped by its signal.
        return child


class Child:
    """A running or ended process."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        self.popen = popen
        self.pid = popen.pid
        self.started = start_time(popen.pid) or ""
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.output_closed: asyncio.Event | None = None

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    async def wait(self, within: float | None = None) -> int:
        """The exit code; negative for a signal. TimeoutError when it lives longer than `within` seconds."""
        return await asyncio.wait_for(asyncio.shield(self.ended), within)

    async def drained(self) -> None:
        """Wait until what it wrote has been read; not long, for a process it left behind may hold the pipe open."""
        if self.output_closed:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.output_closed.wait(), 0.5)

    async def stop(self, sign: int, within: float) -> int:
        """`sign`, and SIGKILL to the whole group after `within` seconds."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                self.popen.send_signal(sign)
            try:
                await self.wait(within)
            except TimeoutError:
                kill_group(self.pid)
        code = await self.wait()
        kill_group(self.pid)  # What it forked and left behind.
        return code
