"""Starts the receiver and the load generator on their core, and reads what they found."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.application import journal
from benchmarks.application.generator import Answer, Order
from benchmarks.application.processes import ROOT, BenchmarkError, Running, load_core, pinned
from benchmarks.application.servers import Servers, free_port

_START_SECONDS = 20.0


@dataclass(frozen=True)
class Receiver:
    """`url` for deliveries; `path` of its journal."""

    url: str
    port: int
    path: Path

    def received(self) -> list[str]:
        """The id of every request that was answered."""
        return [note.job_id for note in journal.read(self.path) if note.event == "E"]


@contextmanager
def receiver(servers: Servers, *, delay: int = 0, core: int | None = None) -> Iterator[Receiver]:
    """`delay` in milliseconds before each answer. On the load's core unless told otherwise."""
    port, path = free_port(), servers.file("received")
    command = [sys.executable, "-m", "benchmarks.application.receiver", str(port), str(path), str(delay)]
    log, where = servers.file("receiver.log"), load_core() if core is None else core
    with Running(command, environment={}, log=log, core=where) as running:
        running.wait_for(path.exists, seconds=_START_SECONDS, what="its start")
        yield Receiver(f"http://127.0.0.1:{port}/hook", port, path)


class Generator:
    """A load generator under way. `answers` waits for its end."""

    def __init__(self, servers: Servers, order: Order) -> None:
        self._order = order
        self._answers: list[Answer] = []
        self._problem: str | None = None
        self._log = servers.file("generator.log")
        self._thread = threading.Thread(target=self._run, name="generator", daemon=True)
        self._thread.start()

    def answers(self) -> list[Answer]:
        """In the order in which they came. Raises BenchmarkError."""
        self._thread.join()
        if self._problem is not None:
            raise BenchmarkError(self._problem)
        return self._answers

    def _run(self) -> None:
        source, out = self._log.with_suffix(".order"), self._log.with_suffix(".out")
        source.write_text(json.dumps(asdict(self._order)))
        command = [sys.executable, "-m", "benchmarks.application.generator"]
        with source.open("rb") as given, out.open("wb") as found, self._log.open("wb") as errors, pinned(load_core()):
            limit = self._order.give_up + 60
            try:
                done = subprocess.run(command, stdin=given, stdout=found, stderr=errors, cwd=ROOT, timeout=limit)
            except subprocess.TimeoutExpired:
                self._problem = f"the load generator did not end within {limit:.0f} s"
                return
        if done.returncode:
            self._problem = f"the load generator failed:\n{self._log.read_text()}"
            return
        self._answers = [Answer(**json.loads(line)) for line in out.read_text().splitlines()]
