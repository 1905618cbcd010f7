"""Everything of one test: servers, processes, receiver, caller; and the time bound with the oracle at its end."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rig import oracle
from rig.client import Client
from rig.oracle import Found
from rig.processes import Apps
from rig.receiver import Receiver
from rig.servers import Postgres, Valkey
from rig.waiting import PATIENCE, wait_for

Report = Callable[[str], None]

QUEUE_KEY = "rq:queue:webhook-processor"
INTERMEDIATE_KEY = f"{QUEUE_KEY}:intermediate"
LOCK_KEY = "rq:clean_registries:webhook-processor"
STARTED_KEY = "rq:wip:webhook-processor"


@dataclass(frozen=True)
class Bound:
    seconds: float
    since: float

    @property
    def left(self) -> float:
        return max(0.0, self.since + self.seconds - time.monotonic())


@dataclass
class Chaos:
    postgres: Postgres
    valkey: Valkey
    apps: Apps
    receiver: Receiver
    client: Client
    report: Report
    _told: list[str] = field(default_factory=list)

    def up(self, *, workers: int = 1, **settings: str) -> None:
        """One API replica with an account to call it with, and workers."""
        self.apps.api(**settings)
        for _ in range(workers):
            self.apps.worker(**settings)
        self.client.log_in()

    @contextmanager
    def bound(self, fault: str, seconds: float) -> Iterator[Bound]:
        """From the fault to the proof that it did no harm, at most so many seconds; the time it took is reported."""
        seconds *= PATIENCE
        bound = Bound(seconds, time.monotonic())
        yield bound
        took = time.monotonic() - bound.since
        self.report(f"{fault:<4} {took:6.1f} s of {seconds:3.0f} s  {'; '.join(self._told)}")
        self._told.clear()
        assert took <= seconds, f"{fault} took {took:.1f} s"

    def assert_exactly_once(
        self, accepted: Collection[uuid.UUID], bound: Bound, *, failed: Collection[uuid.UUID] = ()
    ) -> Found:
        """Waits until nothing is left to do, then lets the oracle speak. No process may have died by itself."""
        wait_for(lambda: oracle.open_jobs(self.postgres.url) == 0, timeout=bound.left, what=self._open)
        found = oracle.assert_exactly_once(self.postgres.url, accepted, self.receiver.calls(), failed=failed)
        assert not (died := [app.log_path for app in self.apps.died()]), f"ended by themselves: {died}"
        self.note(f"{found.accepted} accepted, each effect once; {found.calls} calls, {found.repeated} repeated")
        return found

    def note(self, text: str) -> None:
        """A remark for the bound's line in the summary."""
        self._told.append(text)

    def query(self, statement: str, *values: Any) -> list[Any]:
        return oracle.query(self.postgres.url, statement, *values)

    def wait_for_calls(self, count: int) -> None:
        received = self.receiver.count
        wait_for(lambda: received() >= count, what=lambda: f"{count} calls, there are {received()}")

    def metric(self, name: str) -> float:
        """A counter or gauge of the API replica that answers, summed over its labels."""
        text = self.client.ask("GET", "/metrics").text
        values = [line.split()[-1] for line in text.splitlines() if line.startswith((f"{name} ", f"{name}{{"))]
        assert values, f"{name} is not in /metrics"
        return sum(map(float, values))

    def _open(self) -> str:
        columns = "id, kind, state, attempt, run_at - now() AS due_in, enqueued_at, last_error"
        rows = self.query(f"SELECT {columns} FROM jobs WHERE state IN ('pending', 'running') LIMIT 5")
        return f"jobs still open: {rows}; logs in {self.apps.folder}"
