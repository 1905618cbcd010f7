"""One replica: a process that is started, asked for its health, started again when it ends, and stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from infra.local.supervisor import fail_fast, health
from infra.local.supervisor.child import Child, Children
from infra.local.supervisor.logfile import LogFile
from infra.local.supervisor.process import base_environment
from infra.local.supervisor.spec import Spec

State = Literal["starting", "healthy", "unhealthy", "waiting", "stopping", "stopped"]

BACKOFF_FIRST = 0.25
BACKOFF_MAX = 15.0
STEADY = 30.0
"""A replica that ran so many seconds begins again with the shortest pause."""
_TAIL = 30
"""Lines of a replica's output that are kept for the message when it fails."""


class StartFailed(Exception):
    """A replica did not get healthy. `tail` has the last lines that it wrote."""

    def __init__(self, reason: str, tail: list[str]) -> None:
        super().__init__(reason)
        self.tail = tail


class Replica:
    """One place among the replicas of a service. `changed` is called after every change worth recording."""

    def __init__(
        self,
        *,
        number: int,
        spec: Spec,
        children: Children,
        listener: socket.socket | None,
        log: LogFile,
        run: Path,
        changed: Callable[[], None],
    ) -> None:
        self.number = number
        self.spec = spec
        self.state: State = "stopped"
        self.restarts = 0
        self.since = time.time()
        self.reason = ""
        self.child: Child | None = None
        self.private: tuple[str, int] | None = None
        self._children = children
        self._listener = listener
        self._log = log
        self._run = run
        self._changed = changed
        self._tail: deque[str] = deque(maxlen=_TAIL)
        self._watcher: asyncio.Task[None] | None = None
        self._environment: dict[str, str] = {}

    def describe(self) -> dict[str, Any]:
        """The replica as data, for status."""
        return {
            "number": self.number,
            "pid": self.child.pid if self.child and self.child.alive else None,
            "started": self.child.started if self.child and self.child.alive else None,
            "state": self.state,
            "reason": self.reason,
            "since": self.since,
            "restarts": self.restarts,
            "revision": self.spec.revision,
            "url": "http://{}:{}".format(*self.private) if self.private else None,
        }

    async def start(self) -> None:
        """Start and wait until it is ready; then watch over it. StartFailed leaves nothing running."""
        try:
            await self._launch()
        except (StartFailed, asyncio.CancelledError):
            await self.stop()
            raise
        self._watcher = asyncio.create_task(self._watch())
        fail_fast.watch(self._watcher)

    async def stop(self) -> None:
        """Stop for good: the stop signal, and SIGKILL after the stop timeout."""
        if self._watcher:
            self._watcher.cancel()
            # Not awaited itself: its cancellation and ours would look the same, and a cancelled rollout go on. Whatever
            # became of it, its process is to be stopped all the same.
            await asyncio.wait([self._watcher])
            self._watcher = None
        if self.child:
            self._set("stopping")
            await self._end_child()
        self._set("stopped")

    def kill(self) -> None:
        """Stop waiting: SIGKILL now."""
        if self.child and self.child.alive:
            self.child.popen.kill()

    def _set(self, state: State, reason: str = "") -> None:
        if self.state != state:
            self.since = time.time()
        self.state, self.reason = state, reason
        self._changed()

    async def _launch(self) -> None:
        """One process from nothing to ready. StartFailed when it ends or is not ready in time.

        Also for want of a descriptor or of a folder: the watcher would end of another error, and nobody start it again.
        """
        self._tail.clear()
        self._set("starting")
        sockets = []
        self.private = None
        try:
            self._environment = self._build_environment()
            if self._listener:
                private = socket.create_server(("127.0.0.1", 0))
                sockets = [self._listener, private]
                self.private = private.getsockname()[:2]
            self.child = self._children.spawn(
                self.spec.command,
                environment=self._environment,
                cwd=self.spec.cwd,
                user=self.spec.user,
                sockets=sockets,
                on_line=self._on_line,
                death_signal=signal.Signals[self.spec.stop_signal],
            )
        except (OSError, ValueError) as error:
            raise StartFailed(f"cannot run {self.spec.command[0]}: {error}", []) from error
        finally:
            if sockets:
                sockets[1].close()
        self._changed()
        await self._until_ready(self.child)
        self._set("healthy")

    async def _until_ready(self, child: Child) -> None:
        check = self.spec.health
        deadline = time.monotonic() + check.startup
        pause = 0.02
        while True:
            verdict = await self._check(check.ready_path or check.path)
            if not child.alive:
                await child.drained()
                raise StartFailed(f"it ended with {_exit(await child.wait())} before it was ready", list(self._tail))
            if verdict.healthy:
                return
            if time.monotonic() > deadline:
                reason = f"it was not ready within {check.startup:g} s: {verdict.reason}"
                raise StartFailed(reason, list(self._tail))
            with contextlib.suppress(TimeoutError):
                await child.wait(pause)
            pause = min(pause * 1.5, 0.5 if check.kind == "command" else 0.15)

    async def _check(self, path: str) -> health.Verdict:
        check = self.spec.health
        if check.kind == "command":
            return await health.command(
                self._children,
                check.command,
                environment=self._environment,
                cwd=self.spec.cwd,
                within=check.timeout,
            )
        if check.kind == "http" and self.private:
            return await health.http(*self.private, path, within=check.timeout)
        host, port = self.spec.host or "127.0.0.1", check.port or self.spec.port or 0
        if check.kind == "http":
            return await health.http(host, port, path, within=check.timeout)
        return await health.tcp(host, port, within=check.timeout)

    async def _watch(self) -> None:
        """Until stopped: wait for the process to end or to become unhealthy, and start it again after a pause."""
        pause = BACKOFF_FIRST
        while True:
            ready = time.monotonic()
            reason = await self._until_broken()
            if time.monotonic() - ready > STEADY:
                pause = BACKOFF_FIRST
            while True:
                self.restarts += 1
                self._log_event(f"{reason}; starts again in {pause:g} s")
                self._set("waiting", reason)
                await asyncio.sleep(pause)
                pause = min(pause * 2, BACKOFF_MAX)
                try:
                    await self._launch()
                    break
                except StartFailed as failure:
                    reason = str(failure)
                    await self._end_child()

    async def _until_broken(self) -> str:
        """Why the running process must be replaced. It no longer runs when this returns."""
        assert self.child
        child, check, failed = self.child, self.spec.health, 0
        while True:
            try:
                return f"it ended with {_exit(await child.wait(check.interval))}"
            except TimeoutError:
                verdict = await self._check(check.path)
            if verdict.healthy:
                failed = 0
                self._set("healthy")
                continue
            failed += 1
            self._set("unhealthy", verdict.reason)
            if failed >= check.retries:
                await self._end_child()
                return f"unhealthy: {verdict.reason}"

    async def _end_child(self) -> None:
        if self.child:
            await self.child.stop(signal.Signals[self.spec.stop_signal], self.spec.stop_timeout)

    def _build_environment(self) -> dict[str, str]:
        environment = {**base_environment(), "PYTHONUNBUFFERED": "1", **self.spec.environment}
        self._run.mkdir(mode=0o700, parents=True, exist_ok=True)
        for variable, name in self.spec.scratch.items():
            path = self._run / f"{self.number}.{self.spec.revision}.{name}"
            path.unlink(missing_ok=True)
            environment[variable] = str(path)
        if self._listener:
            environment["LISTEN_FDS"] = "2"
        return environment

    def _on_line(self, line: bytes) -> None:
        self._tail.append(line.decode(errors="replace"))
        self._log.write(f"{self.spec.name}-{self.number} {self.child.pid if self.child else '-'}", line)

    def _log_event(self, text: str) -> None:
        self._log.write(f"supervisor {self.spec.name}-{self.number}", text.encode())


def _exit(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name
