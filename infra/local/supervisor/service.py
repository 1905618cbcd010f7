"""A service: its replicas, and how it gets from one specification to the next without a gap."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import os
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.local.supervisor import process
from infra.local.supervisor.child import Children
from infra.local.supervisor.logfile import LogFile
from infra.local.supervisor.replica import Replica, StartFailed
from infra.local.supervisor.spec import Spec

BACKLOG = 1024


@dataclass(frozen=True)
class Outcome:
    """What `apply` did. When `ok` is false, what served before serves still, on its old specification."""

    ok: bool
    changed: bool = False
    reason: str = ""
    error: str = ""
    """A word for programs: ``port-busy``, ``not-ready``."""
    tail: list[str] = field(default_factory=list)


_STOPPED = Outcome(False, reason="the service was stopped meanwhile", error="stopped")


class Service:
    """All replicas of one service, and the socket that they share."""

    def __init__(self, directory: Path, children: Children) -> None:
        self._directory = directory
        self._children = children
        self._log = LogFile(directory / "log")
        self._spec: Spec | None = None
        self._listener: socket.socket | None = None
        self._replicas: dict[int, Replica] = {}
        self._candidates: set[Replica] = set()
        self._leaving: set[Replica] = set()
        self._turn = asyncio.Lock()
        self._applying: asyncio.Task[Outcome] | None = None
        self._stopped = False
        self._since = time.time()
        self._recording = True

    def status(self) -> dict[str, Any]:
        """Everything that there is to know, as data."""
        return {
            "pid": os.getpid(),
            "since": self._since,
            "spec": self._spec.to_json() if self._spec else None,
            "revision": self._spec.revision if self._spec else None,
            "rolling": bool(self._candidates or self._leaving),
            "address": list(self._listener.getsockname()[:2]) if self._listener else None,
            "replicas": [r.describe() for r in sorted(self._everyone(), key=lambda r: r.number)],
        }

    def end_leftovers(self) -> None:
        """End the replicas of a supervisor that was killed."""
        with contextlib.suppress(OSError):
            for pid in process.end_recorded(self._directory):
                self._log.write("supervisor", f"ended process {pid}, left by a killed supervisor".encode())

    def leave(self) -> None:
        """Write no more records: the folder is gone, or a successor's."""
        self._recording = False

    async def apply(self, spec: Spec) -> Outcome:
        """Bring the service to `spec`. One at a time; a second caller waits."""
        async with self._turn:
            if self._stopped:
                # While it waited for its turn: it would start replicas that nobody stops.
                return _STOPPED
            self._applying = asyncio.create_task(self._apply(spec))
            try:
                return await self._applying
            except asyncio.CancelledError:
                return _STOPPED
            finally:
                self._applying = None

    async def stop(self) -> None:
        """Stop every replica, side by side, and a rollout under way with them. For good."""
        self._stopped = True
        if self._applying:
            self._applying.cancel()
            await asyncio.wait([self._applying])
        await asyncio.gather(*(r.stop() for r in self._everyone()))
        self._replicas.clear()
        if self._listener:
            self._listener.close()
            self._listener = None

    def kill(self) -> None:
        """Make a `stop` under way immediate."""
        for replica in self._everyone():
            replica.kill()

    async def _apply(self, spec: Spec) -> Outcome:
        before = self._spec
        same = before is not None and before.revision == spec.revision
        if same and len(self._replicas) == spec.replicas and all(r.state == "healthy" for r in self._replicas.values()):
            return Outcome(True)
        try:
            listener = self._socket_for(spec)
        except OSError as error:
            reason = f"cannot listen on {spec.host}:{spec.port}: {error.strerror or error}"
            busy = error.errno == errno.EADDRINUSE
            return Outcome(False, reason=reason, error="port-busy" if busy else "cannot-listen")
        try:
            await self._roll(spec, listener)
            await self._scale(spec, listener)
        except StartFailed as failure:
            await self._roll_back(before, spec)
            if listener is not self._listener and listener:
                listener.close()
            return Outcome(False, changed=True, reason=str(failure), error="not-ready", tail=failure.tail)
        if self._listener and listener is not self._listener:
            self._listener.close()
        self._listener = listener
        self._spec = spec
        self._record()
        return Outcome(True, changed=True)

    def _socket_for(self, spec: Spec) -> socket.socket | None:
        """The listening socket: the one there is, or a new one when the address changed."""
        if not spec.listens:
            return None
        old = self._spec
        if self._listener and old and (old.host, old.port) == (spec.host, spec.port):
            return self._listener
        return socket.create_server((spec.host or "", spec.port or 0), backlog=BACKLOG)

    async def _roll(self, spec: Spec, listener: socket.socket | None) -> None:
        """Exchange each replica that is not of `spec`, or not well, for one that is: one after the other."""
        for number, old in sorted(self._replicas.items()):
            if number >= spec.replicas or (old.spec.revision == spec.revision and old.state == "healthy"):
                continue
            if spec.strategy == "recreate":
                await self._retire(old)
            new = await self._start(number, spec, listener)
            self._replicas[number] = new
            if spec.strategy == "rolling":
                await self._retire(old)

    async def _scale(self, spec: Spec, listener: socket.socket | None) -> None:
        """Start what is missing and stop what is too much, side by side."""
        missing = [n for n in range(spec.replicas) if n not in self._replicas]
        started = await asyncio.gather(*(self._start(n, spec, listener) for n in missing), return_exceptions=True)
        failures = [s for s in started if isinstance(s, BaseException)]
        if failures:
            await asyncio.gather(*(s.stop() for s in started if isinstance(s, Replica)))
            raise failures[0]
        self._replicas.update({s.number: s for s in started if isinstance(s, Replica)})
        surplus = [n for n in self._replicas if n >= spec.replicas]
        await asyncio.gather(*(self._replicas[n].stop() for n in surplus))
        for number in surplus:
            del self._replicas[number]

    async def _roll_back(self, before: Spec | None, failed: Spec) -> None:
        """After a failed rollout: the replicas that were exchanged already go back, so that all are of one kind."""
        if before and before.revision == failed.revision and failed.strategy == "rolling":
            return  # Nothing was exchanged: the replicas that are not well go on trying by themselves.
        if before is None:
            await asyncio.gather(*(r.stop() for r in self._replicas.values()))
            self._replicas.clear()
            return
        for number in [n for n, r in self._replicas.items() if n >= before.replicas]:
            await self._replicas.pop(number).stop()
        with contextlib.suppress(StartFailed):
            await self._roll(before, self._listener)

    def _everyone(self) -> set[Replica]:
        return {*self._replicas.values(), *self._candidates, *self._leaving}

    async def _retire(self, replica: Replica) -> None:
        self._leaving.add(replica)
        # Not in a `finally`: a rollout that is cancelled here leaves it to `stop`, which must know of it.
        await replica.stop()
        self._leaving.discard(replica)

    async def _start(self, number: int, spec: Spec, listener: socket.socket | None) -> Replica:
        replica = Replica(
            number=number,
            spec=spec,
            children=self._children,
            listener=listener,
            log=self._log,
            run=self._directory / "run",
            changed=self._record,
        )
        self._candidates.add(replica)
        try:
            await replica.start()
        finally:
            self._candidates.discard(replica)
        return replica

    def _record(self) -> None:
        """Write down the living replicas, so that whoever comes after a SIGKILL can end them."""
        if not self._recording:
            return
        children = [r.child for r in self._everyone()]
        rows = [[c.pid, c.started] for c in children if c and c.alive]
        target = self._directory / "replicas.json"
        with contextlib.suppress(OSError):
            temporary = target.with_suffix(".tmp")
            temporary.write_text(json.dumps(rows))
            temporary.replace(target)
