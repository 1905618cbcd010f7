"""The jobs under way in this process, and how many more may be taken.

Only running takes a slot. While jobs are short, a few more are taken than there are slots, so that a slot does not
stand empty for the time that it takes to fetch and claim the next one. Never more than the slots will get to within
50 ms by the pace of the last jobs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from typing import Final

from app.queue.job import Job, State

MOST: Final = 500
_AHEAD_SECONDS: Final = 0.05
_PACE_WEIGHT: Final = 0.1


class Slots:
    """`concurrency` slots. `under_way`: by execution, from dequeued to acknowledged."""

    def __init__(self, concurrency: int) -> None:
        self.under_way: dict[str, Job] = {}
        self._concurrency = concurrency
        # Seconds that the last jobs took.
        self._pace = float("inf")
        self._counts: dict[State, int] = dict.fromkeys(("queued", "claimed", "running", "ended", "stored"), 0)
        self._changed = threading.Condition()

    def jobs(self) -> list[Job]:
        """Those under way at this moment; other threads add and remove some at any time."""
        with self._changed:
            return list(self.under_way.values())

    def free(self, *, timeout: float) -> int:
        """How many more jobs may be taken; waits for at least one, up to `timeout` seconds.

        None while as many have run and are not stored: when Postgres hangs, what was done must not pile up. Nor when
        Redis hangs and many are not acknowledged.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free() > 0, timeout)
            return max(0, self._free())

    def add(self, jobs: Iterable[Job]) -> None:
        with self._changed:
            for job in jobs:
                self.under_way[job.execution] = job
                self._counts[job.state] += 1

    def move(self, jobs: Iterable[Job], state: State) -> None:
        with self._changed:
            for job in jobs:
                self._set(job, state)
            self._notify()

    def begin(self, job: Job) -> None:
        """It takes a slot."""
        job.since = time.monotonic()
        with self._changed:
            self._set(job, "running")

    def end(self, job: Job, state: State) -> None:
        """Its slot is free again."""
        took = max(time.monotonic() - job.since, 1e-6)
        with self._changed:
            self._pace = took if self._pace == float("inf") else self._pace + _PACE_WEIGHT * (took - self._pace)
            self._set(job, state)
            self._notify()

    def remove(self, jobs: Iterable[Job]) -> None:
        """They are acknowledged."""
        with self._changed:
            for job in jobs:
                if self.under_way.pop(job.execution, None):
                    self._counts[job.state] -= 1
                    job.state = "acknowledged"
            self._notify()

    def slow_down(self) -> None:
        """By the pace of the jobs that run now, which is slower than that of the last ones."""
        now = time.monotonic()
        with self._changed:
            running = [now - job.since for job in self.under_way.values() if job.state == "running"]
            self._pace = max([self._pace, *running])

    def _free(self) -> int:
        """With the condition held."""
        counts, ahead = self._counts, min(self._concurrency, int(_AHEAD_SECONDS * self._concurrency / self._pace))
        unended = counts["queued"] + counts["claimed"] + counts["running"]
        if unended > self._concurrency + ahead // 2:
            # So that the next ones come together.
            return 0
        most = self._concurrency + ahead
        return min(most - unended, most + self._concurrency - unended - counts["ended"], MOST - counts["stored"])

    def _set(self, job: Job, state: State) -> None:
        """With the condition held."""
        self._counts[job.state] -= 1
        self._counts[state] += 1
        job.state = state

    def _notify(self) -> None:
        """With the condition held; not for nothing, a thread that wakes takes the interpreter from the others."""
        if self._free() > 0:
            self._changed.notify()
