"""Throughput of the workers alone: jobs on the queue before the worker starts, the same file as register for all."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.application import figures, journal
from benchmarks.application.contestants import Contestant, all_of_them
from benchmarks.application.figures import Delivered
from benchmarks.application.processes import BenchmarkError, PeakMemory
from benchmarks.application.servers import Servers

MILLISECONDS = (0, 50, 500)
_START_SECONDS = 60.0
_PILOT_SECONDS = 0.7


@dataclass
class Runs:
    """Everything measured of one contestant with one duration; `memory` in bytes."""

    name: str
    concurrency: int
    milliseconds: int
    jobs: int = 0
    rates: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    deliveries: list[str] = field(default_factory=list)


def measure(servers: Servers, *, rounds: int, seconds: float) -> list[Runs]:
    """`seconds`: how long one measured run is to last; the number of jobs follows from a pilot run."""
    database_url = servers.database("ours")
    pairs = [(one, milliseconds) for milliseconds in MILLISECONDS for one in all_of_them()]
    table = {(one.name, ms): Runs(one.name, one.concurrency, ms) for one, ms in pairs}
    for one, milliseconds in pairs:
        guess = _capped(one, milliseconds, one.expected)
        pilot = _Run(servers, database_url, one, milliseconds, rate=guess, seconds=_PILOT_SECONDS)
        rate = _capped(one, milliseconds, pilot.go())
        table[one.name, milliseconds].jobs = _waves(one, rate * seconds)
    for number in range(rounds):
        print(f"worker alone, round {number + 1} of {rounds}", flush=True)
        for one, milliseconds in pairs:
            runs = table[one.name, milliseconds]
            run = _Run(servers, database_url, one, milliseconds, rate=runs.jobs / seconds, seconds=seconds)
            runs.rates.append(run.go())
            runs.memory.append(run.memory)
            runs.deliveries.append(str(run.delivered))
    servers.drop(database_url)
    return list(table.values())


def _capped(one: Contestant, milliseconds: int, rate: float) -> float:
    return min(rate, figures.ideal_rate(concurrency=one.concurrency, milliseconds=milliseconds))


def _waves(one: Contestant, jobs: float) -> int:
    """Whole waves of the contestant's slots, at least two: a half-empty last one would look like lost time."""
    return max(2, math.ceil(round(jobs, 3) / one.concurrency)) * one.concurrency


class _Run:
    """One worker process from its start to its stop."""

    def __init__(
        self, servers: Servers, database_url: str, one: Contestant, milliseconds: int, *, rate: float, seconds: float
    ) -> None:
        self._servers, self._database_url, self._one, self._milliseconds = servers, database_url, one, milliseconds
        self._jobs = _waves(one, rate * seconds)
        self._warm_up = math.ceil(math.ceil(rate * one.warm_up) / one.concurrency) * one.concurrency
        self._limit = 10 * (seconds + one.warm_up) + _START_SECONDS
        self.memory = 0
        self.delivered = Delivered.check((), ())

    def go(self) -> float:
        """Jobs a second."""
        self._servers.empty()
        self._one.enqueue(self._servers, "warm", self._warm_up, self._milliseconds)
        self._one.enqueue(self._servers, "job", self._jobs, self._milliseconds)
        path = self._servers.file("journal")
        total = self._jobs + self._warm_up
        with (
            self._one.start(self._servers, database_url=self._database_url, journal=path) as worker,
            PeakMemory(worker.pid) as memory,
        ):
            worker.wait_for(lambda: _ends(path) >= total, seconds=self._limit, what="end of its jobs", interval=0.1)
        self.memory = memory.peak
        notes = journal.read(path)
        path.unlink()
        self.delivered = Delivered.check(self._ids(), journal.ended(notes, "job"))
        if self.delivered.missing or self.delivered.unknown:
            raise BenchmarkError(f"{self._one.name}: {self.delivered}")
        return journal.rate(notes, "job")

    def _ids(self) -> Iterator[str]:
        return (f"job-{number}" for number in range(self._jobs))


def _ends(path: Path) -> int:
    return path.read_bytes().count(b"E ") if path.exists() else 0
