"""The simulation itself: events in the order of their time, from the first arrival to the last sample."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from .autoscaler import Autoscaler
from .cloudwatch import Metrics
from .load import Load
from .model import ScaledService
from .tasks import Fleet
from .work import Assumptions, Jobs, Requests

_TICK = 1.0
"""Seconds between two looks at the load curve."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How things stand at one moment."""

    at: float
    """Seconds from the start."""
    rate: float
    wanted: int
    running: int
    """Tasks that take work."""
    paid: int
    """Tasks that cost: starting, running and finishing."""
    waiting: float
    wait: float
    """Seconds that the oldest unit has waited."""
    cost: float
    """USD so far."""


@dataclass(frozen=True, kw_only=True)
class Change:
    """A scaling activity."""

    at: float
    before: int
    after: int
    because: str
    """The policy or alarm that asked for it."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of a simulation."""

    service: ScaledService
    load: Load
    duration: float
    samples: tuple[Sample, ...]
    changes: tuple[Change, ...]
    waits: tuple[float, ...]
    """Seconds that each unit waited: a job until it was taken; a request, each second, for a processor."""

    @property
    def cost(self) -> float:
        return self.samples[-1].cost

    @property
    def longest_wait(self) -> float:
        """Of all units, also those that wait still at the end."""
        return max([*self.waits, *(sample.wait for sample in self.samples)], default=0.0)

    @property
    def turns(self) -> int:
        """How often scaling changed its direction."""
        signs = [change.after > change.before for change in self.changes]
        return sum(1 for first, second in itertools.pairwise(signs) if first != second)


def simulate(
    service: ScaledService,
    load: Load,
    *,
    duration: float,
    assumptions: Assumptions | None = None,
    silent: Callable[[float], bool] = lambda _: False,
) -> Outcome:
    """Play `load` for `duration` seconds against the service's policies, beginning with its fewest tasks.

    `silent` says at which moments no figures are published, to see what missing data does.
    """
    return _Simulation(service, load, duration, assumptions or Assumptions(), silent).run()


class _Simulation:
    def __init__(
        self,
        service: ScaledService,
        load: Load,
        duration: float,
        assumptions: Assumptions,
        silent: Callable[[float], bool],
    ) -> None:
        self._service = service
        self._load = load
        self._duration = duration
        self._assumptions = assumptions
        self._silent = silent
        self._fleet = Fleet(service, assumptions.start_up)
        self._work = Jobs(self._fleet, assumptions, self._at) if service.queue else Requests(self._fleet, assumptions)
        self._metrics = Metrics()
        self._scaler = Autoscaler(service)
        self._wanted = service.minimum
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._samples: list[Sample] = []
        self._changes: list[Change] = []

    def run(self) -> Outcome:
        self._fleet.begin(self._wanted)
        self._sample(0.0)
        self._at(_TICK, self._tick)
        self._at(60.0, self._minute)
        for moment in self._load.single:
            self._at(moment, lambda now: self._work.arrive(now, 1.0, 0.0))
        while self._events and self._events[0][0] <= self._duration:
            now, _, happening = heapq.heappop(self._events)
            happening(now)
        if self._samples[-1].at < self._duration:
            self._sample(self._duration)
        return Outcome(
            service=self._service,
            load=self._load,
            duration=self._duration,
            samples=tuple(self._samples),
            changes=tuple(self._changes),
            waits=tuple(self._work.waits),
        )

    def _at(self, moment: float, happening: Callable[[float], None]) -> None:
        # The counter keeps the order of what happens at the same moment, and functions from being compared.
        heapq.heappush(self._events, (moment, next(self._order), happening))

    def _tick(self, now: float) -> None:
        self._work.arrive(now, self._load.rate(now - _TICK) * _TICK, _TICK)
        self._at(now + _TICK, self._tick)

    def _minute(self, now: float) -> None:
        minute = round(now / 60) - 1
        if not self._silent(now):
            self._work.publish(self._metrics, minute, now)
        seen = minute - self._assumptions.figure_delay
        decision = self._scaler.decide(self._metrics, seen, now=now, current=self._wanted) if seen >= 0 else None
        if decision:
            self._changes.append(Change(at=now, before=self._wanted, after=decision.wanted, because=decision.because))
            self._wanted = decision.wanted
            for task in self._fleet.want(decision.wanted, now):
                self._at(task.ready_at, self._work.progress)
        self._sample(now)
        self._at(now + 60.0, self._minute)

    def _sample(self, now: float) -> None:
        self._fleet.pay(now)
        self._samples.append(
            Sample(
                at=now,
                rate=self._load.rate(now),
                wanted=self._wanted,
                running=len(self._fleet.ready(now)),
                paid=len(self._fleet.tasks),
                waiting=self._work.waiting(),
                wait=self._work.wait(now),
                cost=self._fleet.cost,
            )
        )
