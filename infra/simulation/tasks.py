"""The tasks of a service over simulated time: starting, running, finishing, and what they cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from infra.simulation.model import ScaledService

PRICES_AS_OF: Final = "2026-11, us-east-1 list prices"
_VCPU_HOUR: Final = {"arm": 0.03238, "x86": 0.04048}
_GIB_HOUR: Final = {"arm": 0.00356, "x86": 0.004445}
_SPOT_SHARE: Final = 0.3
"""Spot against ordinary Fargate; it moves with demand (about 70 % less)."""


def hourly(service: ScaledService, *, spot: bool) -> float:
    """USD for one task and hour."""
    kind = "arm" if service.arm else "x86"
    price = service.vcpu * _VCPU_HOUR[kind] + service.memory_gib * _GIB_HOUR[kind]
    return price * (_SPOT_SHARE if spot else 1.0)


@dataclass(eq=False)
class Task:
    """`busy` is how many jobs it does right now."""

    ready_at: float
    busy: int = 0
    draining: bool = False


@dataclass
class Fleet:
    """All tasks that are paid for, kept at the desired number."""

    service: ScaledService
    start_up: float
    """Seconds from the decision until a task takes work."""
    tasks: list[Task] = field(default_factory=list)
    cost: float = 0.0
    """USD so far."""
    _charged_until: float = 0.0

    def start_with(self, number: int) -> None:
        """Tasks that run at the beginning."""
        self.tasks = [Task(ready_at=0.0) for _ in range(number)]

    def set_desired_count(self, number: int, now: float) -> list[Task]:
        """Start or end tasks; returns those that were started. Those that still start go first, then idle ones; a busy
        one has scale-in protection, and goes when it has nothing more to do."""
        self.charge(now)
        kept = [task for task in self.tasks if not task.draining]
        if len(kept) <= number:
            started = [Task(ready_at=now + self.start_up) for _ in range(number - len(kept))]
            self.tasks += started
            return started
        order = sorted(kept, key=lambda task: (task.ready_at <= now, task.busy, -task.ready_at))
        for task in order[: len(kept) - number]:
            task.draining = True
        self.stop_drained(now)
        return []

    def stop_drained(self, now: float) -> None:
        """End the draining tasks that have nothing more to do."""
        self.charge(now)
        self.tasks = [task for task in self.tasks if not (task.draining and task.busy == 0)]

    def charge(self, now: float) -> None:
        """Add the cost since the last time. Fargate bills by the second from the start of the image's download."""
        hours = (now - self._charged_until) / 3600
        ordinary = len(self.tasks)
        if self.service.spot:
            ordinary = min(ordinary, self.service.on_demand_base)
        above = len(self.tasks) - ordinary
        self.cost += hours * (ordinary * hourly(self.service, spot=False) + above * hourly(self.service, spot=True))
        self._charged_until = now

    def ready(self, now: float) -> list[Task]:
        """The tasks that take work."""
        return [task for task in self.tasks if task.ready_at <= now and not task.draining]
