"""One simulation, from its seed to the oracle's judgement."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from simulated import harness, oracle, world
from simulated.plan import Plan, Request
from simulated.profiles import plan_of
from simulated.scheduler import Hang, Process, Scheduler

DONE_WITHIN = 75.0
"""Virtual seconds from the last fault to the last job's end: a lease, two sweeps, and the attempts that are left."""
FORGOTTEN_WITHIN = 1100.0
"""From there until no registry has anything. RQ gives a job up after a minute and looks four times a minute, unless the
answer to its lock was lost, which it then keeps for fifteen."""


@dataclass
class Result:
    plan: Plan
    violations: list[str]
    trace: list[tuple[float, str, str]]
    steps: int
    seconds: float
    """Virtual ones."""
    calls: int

    @property
    def digest(self) -> str:
        return hashlib.sha256("\n".join(self.lines()).encode()).hexdigest()

    def lines(self) -> list[str]:
        return [f"{at:12.6f} {who:24} {what}" for at, who, what in self.trace]

    def report(self, *, most: int = 400) -> str:
        lines = self.lines()
        left_out = len(lines) - most
        head = [f"seed {self.plan.seed}", *self.plan.lines(), f"injected={self.plan.injected}"]
        shown = [f"... {left_out} lines before", *lines[-most:]] if left_out > 0 else lines
        return "\n".join([*head, *shown, *(f"VIOLATION {one}" for one in self.violations)])


def simulate(seed: int, plan: Plan | None = None) -> Result:
    """With `harness.installed()`."""
    plan = plan or plan_of(seed)
    scheduler = Scheduler(seed)
    scheduler.preempt = plan.preempt
    here = world.World(plan=plan, scheduler=scheduler)
    here.postgres.pace = plan.delay
    world.use(here)
    run = _Run(here)
    try:
        run.start()
        try:
            scheduler.run(run.is_idle, bound=plan.calm + DONE_WITHIN)
            if not here.violations:
                oracle.judge_jobs(here)
                scheduler.run(
                    lambda: bool(here.violations) or not oracle.leftovers(here), bound=scheduler.now + FORGOTTEN_WITHIN
                )
        except Hang as hang:
            here.violation(f"hangs: {hang}; {run.unfinished()}; {oracle.leftovers(here)}")
        oracle.judge(here)
    finally:
        run.end()
        world.use(None)
    return Result(plan, here.violations, scheduler.trace, scheduler.steps, scheduler.now - 1000.0, len(here.calls))


class _Run:
    """Starts and ends processes as the plan says, and what ended is started again, as an orchestrator would."""

    def __init__(self, here: world.World) -> None:
        self._here, self._plan, self._scheduler = here, here.plan, here.scheduler
        self._workers: list[Process] = []
        self._api: harness.Api | None = None
        self._numbers = 0
        self._outstanding: list[world.Try] = []
        self._waiting: list[Request] = []
        self._open = {one.number for one in here.plan.requests}
        self._over = False
        self._last = max((at + length for at, _, length in here.plan.events), default=0.0)
        self._somebody = Process("somebody")
        self._foreign_due = len(here.plan.foreign)

    def start(self) -> None:
        self._plan.after_fault = self._stop_soon
        self._start_api()
        for _ in range(self._plan.workers):
            self._start_worker()
        at = self._scheduler.now
        for request in self._plan.requests:
            self._scheduler.call_later(request.at - at, lambda request=request: self._send(request))  # type: ignore[misc]
        for when, what, length in self._plan.events:
            self._scheduler.call_later(when - at, lambda what=what, length=length: self._event(what, length))  # type: ignore[misc]
        somebody = self._somebody
        self._here.processes.append(somebody)
        for number, when in enumerate(self._plan.foreign):

            def enqueue(name: str = f"foreign-{number}") -> None:
                harness.enqueue_foreign(name)
                self._foreign_due -= 1

            self._scheduler.call_later(
                when - at, lambda enqueue=enqueue: self._scheduler.spawn(somebody, "enqueue", enqueue)  # type: ignore[misc]
            )  # fmt: skip

    def end(self) -> None:
        self._over = True
        for process in self._here.processes:
            self._scheduler.kill(process)
            self._scheduler._bury(process)
        self._scheduler.close()

    def is_idle(self) -> bool:
        if self._here.violations:
            return True
        rows = self._here.postgres.tables["jobs"].values()
        return (
            not self._open
            and self._scheduler.now >= self._last
            and not self._foreign_due
            and all(row["state"] in ("done", "dead") for row in rows)
        )

    def unfinished(self) -> str:
        rows = self._here.postgres.tables["jobs"].values()
        jobs = [
            f"{str(row['id'])[:8]} {row['state']} attempt={row['attempt']}/{row['max_attempts']} by={row['claimed_by']}"
            for row in rows
            if row["state"] not in ("done", "dead")
        ]
        return f"requests open: {sorted(self._open)}; jobs open: {jobs}"

    # -- processes

    def _spawn(self, name: str, main: Callable[[], int | None]) -> Process:
        process = Process(name)
        self._here.processes.append(process)

        def body() -> None:
            code = main()
            self._scheduler.kill(process, code if code is not None else 0)

        self._scheduler.note(f"starts {name}")
        self._scheduler.spawn(process, "main", lambda: self._guarded(process, body))
        return process

    def _guarded(self, process: Process, body: Callable[[], None]) -> None:
        try:
            body()
        except Exception as error:  # noqa: BLE001 - that a process ended is what is judged
            import traceback

            where = traceback.extract_tb(error.__traceback__)[-1]
            self._here.violation(
                f"{process.name} ended by {type(error).__name__}: {error} ({where.name}:{where.lineno})"
            )
            self._scheduler.kill(process, 1)

    def _start_worker(self) -> None:
        self._numbers += 1
        process = self._spawn(f"worker-{self._numbers}", lambda: harness.worker(self._plan.concurrency))
        self._workers.append(process)

        def ended() -> None:
            self._scheduler.note(f"{process.name} ended with {process.exit_code}")
            self._workers.remove(process)
            oracle.process_ended(self._here, process)
            if not self._over:
                self._scheduler.call_later(self._scheduler.rng.uniform(0.1, 1.0), self._replace_worker)

        process.at_end.append(ended)

    def _replace_worker(self) -> None:
        if len(self._workers) < self._plan.workers and not self._over:
            self._start_worker()

    def _start_api(self) -> None:
        self._numbers += 1
        apis: list[harness.Api] = []

        def main() -> None:
            apis.append(harness.Api(self._plan.request_timeout))
            self._api = apis[0]
            for request in self._waiting:
                self._send(request)
            self._waiting.clear()
            apis[0].main()

        process = self._spawn(f"api-{self._numbers}", main)

        def ended() -> None:
            self._scheduler.note(f"{process.name} ended with {process.exit_code}")
            oracle.process_ended(self._here, process)
            self._api = None
            lost, self._outstanding = self._outstanding, []
            for one in lost:
                one.answer, one.ended = "unheard", self._scheduler.now
                self._answered(one)
            if not self._over:
                self._scheduler.call_later(0.5, self._start_api)

        process.at_end.append(ended)

    # -- requests

    def _send(self, request: Request) -> None:
        if self._over:
            return
        if self._api is None:
            self._waiting.append(request)
            return
        number = sum(one.request is request for one in self._here.tries)
        one = world.Try(request, number, self._scheduler.now, self._api.process.name)
        self._here.tries.append(one)
        self._outstanding.append(one)

        def answered() -> None:
            if one in self._outstanding:
                self._outstanding.remove(one)
                self._answered(one)

        self._api.submit(one, answered)

    def _answered(self, one: world.Try) -> None:
        self._scheduler.note(f"request {one.request.number} try {one.number}: {one.answer}")
        again = one.request.key is not None and one.answer in ("timeout", "unknown", "unheard") and one.number < 40
        if one.request.leaves is not None or not again:
            self._open.discard(one.request.number)
            return
        # With time enough at last: what is measured is what becomes of it, not the client's patience.
        self._scheduler.call_later(self._scheduler.rng.uniform(0.05, 0.5), lambda: self._send(one.request))

    # -- events

    def _stop_soon(self, process: Process) -> None:
        if process in self._workers:
            self._here.stops.setdefault(process.name, self._scheduler.now)
            self._scheduler.call_later(self._scheduler.rng.random() * 0.5, lambda: harness.signal(process))

    def _event(self, what: str, length: float) -> None:
        here, rng = self._here, self._scheduler.rng
        self._scheduler.note(f"event: {what} {length:g}")
        self._plan.injected.append((self._scheduler.now, what, "event"))
        worker = rng.choice(self._workers) if self._workers else None
        later = self._scheduler.call_later
        match what:
            case "kill worker" if worker:
                here.excused[worker.name] = "killed"
                self._scheduler.kill(worker)
            case "kill api" if self._api:
                self._scheduler.kill(self._api.process)
            case "stop worker" if worker:
                here.stops[worker.name] = self._scheduler.now
                harness.signal(worker)
            case "stop worker twice" if worker:
                here.stops[worker.name] = self._scheduler.now
                harness.signal(worker)
                later(1.0 + rng.random(), lambda: harness.signal(worker) if not worker.dead else None)
            case "pause worker" if worker:
                if length > 1:
                    here.excused[worker.name] = "paused"
                worker.paused_until = self._scheduler.now + length
            case "enqueue all":
                # As an operator may, or a sweep that Redis answered too late.
                ids = [
                    row["id"] for row in here.postgres.tables["jobs"].values() if row["state"] in ("pending", "running")
                ]
                rng.shuffle(ids)
                self._scheduler.spawn(self._somebody, "enqueue", lambda: harness.enqueue(ids))
            case "second worker":
                self._start_worker()
            case "redis down":
                here.redis_up = False
                later(length, lambda: setattr(here, "redis_up", True))
            case "redis emptied":
                here.redis.empty()
            case "redis read-only":
                here.redis_read_only = True
                later(length, lambda: setattr(here, "redis_read_only", False))
            case "postgres down" | "postgres crash":
                if what == "postgres crash":
                    here.postgres.crash()
                else:
                    here.postgres.stop()
                later(length, lambda: setattr(here.postgres, "up", True))
            case "postgres read-only":
                here.postgres.read_only = True
                later(length, lambda: setattr(here.postgres, "read_only", False))


def payload_of(row: dict[str, Any]) -> tuple[int, int]:
    """Which request and which try of it a delivery came of."""
    payload = json.loads(row["payload_text"])
    return payload["request"], payload["try"]
