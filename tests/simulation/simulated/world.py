"""What the parts of one simulation share: the clock, the servers, the plan, and what the oracle is to judge."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from simulated import shims
from simulated.plan import Plan
from simulated.postgres_server import PostgresServer
from simulated.redis_server import RedisServer
from simulated.scheduler import EPOCH, Process, Scheduler, Task


@dataclass
class Try:
    """One request over the wire."""

    request: Any
    number: int
    began: float
    process: str
    answer: str | None = None
    """accepted, replayed, timeout (told no), unknown, gone (told nothing) or an error's name."""
    delivery: Any = None
    ended: float = 0.0


@dataclass
class World:
    plan: Plan
    scheduler: Scheduler
    redis_up: bool = True
    redis_read_only: bool = False
    violations: list[str] = field(default_factory=list)
    tries: list[Try] = field(default_factory=list)
    calls: list[tuple[float, Any, str]] = field(default_factory=list)
    """Requests that reached the receiver: when, of which delivery, from which process."""
    runs: list[tuple[float, Any, int, str, str]] = field(default_factory=list)
    """Attempts that began: when, job, attempt, the worker by its own name, process."""
    unclaimed: list[tuple[float, Any, int, str, str]] = field(default_factory=list)
    """As `runs`: those under a claim that did not stand in Postgres at that moment."""
    facts: list[tuple[float, tuple[Any, ...]]] = field(default_factory=list)
    """What was committed."""
    logs: list[tuple[float, str, str, dict[str, Any]]] = field(default_factory=list)
    foreign_runs: list[tuple[float, str, str]] = field(default_factory=list)
    excused: dict[str, str] = field(default_factory=dict)
    """Processes that may leave an attempt behind, and why."""
    forgotten: set[Any] = field(default_factory=set)
    """Jobs of which a crash of Postgres forgot a claim."""
    worker_names: dict[str, str] = field(default_factory=dict)
    """Each worker's process, by the name that it gives itself."""
    processes: list[Process] = field(default_factory=list)
    stops: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        scheduler = self.scheduler
        self.redis = RedisServer(lambda: EPOCH + scheduler.now)
        self.redis.pushed = self._pushed
        self.postgres = PostgresServer(rng=scheduler.rng, now=lambda: scheduler.now, later=scheduler.call_later)
        self.postgres.committed = lambda fact: self.facts.append((scheduler.now, fact))
        self.postgres.forgotten = lambda fact: self.forgotten.add(fact[1]["id"]) if fact[0] == "claim" else None
        self.plan.now = lambda: scheduler.now
        self._push_waiters: dict[str, deque[Task]] = {}

    def violation(self, text: str) -> None:
        self.scheduler.note(f"VIOLATION {text}")
        self.violations.append(text)

    def script_name(self, sha: Any) -> str:
        source = self.redis._scripts.get(sha.encode() if isinstance(sha, str) else sha, b"")
        for name, part in _SCRIPTS.items():
            if part in source:
                return name
        return "?"

    # -- BLMOVE

    def _pushed(self, key: bytes) -> None:
        for task in self._push_waiters.pop(key.decode(), ()):
            self.scheduler.wake(task)

    def wait_for_push(self, key: str, seconds: float) -> bool:
        task = self.scheduler.alive()
        waiters = self._push_waiters.setdefault(key, deque())
        waiters.append(task)
        woken = self.scheduler.wait(seconds)
        if task in waiters:
            waiters.remove(task)
        return woken


_SCRIPTS = {
    "enqueue": b"enqueue_at_front', front",
    "dequeue": b"local taken = {}",
    "acknowledge": b"local parents = {}",
    "promote": b"local due = redis.call",
    "trim": b"local excess",
}

_current: World | None = None


def use(world: World | None) -> None:
    global _current
    _current = world
    shims.use(world.scheduler if world else None)


def current() -> World:
    assert _current is not None
    return _current
