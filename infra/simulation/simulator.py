"""The simulation itself: events in the order of their time, from the first arrival to the last sample."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from infra.simulation.autoscaler import Autoscaler
from infra.simulation.cloudwatch import Metrics
from infra.simulation.load import Load
from infra.simulation.model import ScaledService
from infra.simulation.tasks import Fleet
from infra.simulation.work import Assumptions, Jobs, Requests

_TICK = 1.0
"""Seconds between two looks at the load curve."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    at: float
    """Seconds from the start."""
    rate: float
    desired: int
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
class ScalingActivity:
    at: float
    before: int
    after: int
    cause: str
    """The policy or alarm that asked for it."""


@dataclass(frozen=True, kw_only=True)
class Result:
    service: ScaledService
    load: Load
    duration: float
    samples: tuple[Sample, ...]
    activities: tuple[ScalingActivity, ...]
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
        signs = [activity.after > activity.before for activity in self.activities]
        return sum(1 for first, second in itertools.pairwise(signs) if first != second)


def simulate(
    service: ScaledService,
    load: Load,
    *,
    duration: float,
    assumptions: Assumptions | None = None,
    silent: Callable[[float], bool] = lambda _: False,
) -> Result:
    """Play `load` for `duration` seconds against the service's policies, beginning with its fewest tasks.

    `silent` says at which moments no datapoints are published, to see what missing data does.
    """
    return _Simulation(service, load, duration, assumptions or Assumptions(), silent).run()


@dataclass
class _Simulation:
    service: ScaledService
    load: Load
    duration: float
    assumptions: Assumptions
    silent: Callable[[float], bool]

    def __post_init__(self) -> None:
        self._fleet = Fleet(self.service, self.assumptions.start_up)
        work = self._fleet, self.assumptions
        self._work = Jobs(*work, self._at) if self.service.queue else Requests(*work)
        self._metrics = Metrics()
        self._scaler = Autoscaler(self.service)
        self._desired = self.service.min_capacity
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._order = itertools.count()
        self._samples: list[Sample] = []
        self._activities: list[ScalingActivity] = []

    def run(self) -> Result:
        self._fleet.start_with(self._desired)
        self._sample(0.0)
        self._at(_TICK, self._tick)
        self._at(60.0, self._minute)
        for moment in self.load.single:
            self._at(moment, lambda now: self._work.arrive(now, 1.0, 0.0))
        while self._events and self._events[0][0] <= self.duration:
            now, _, event = heapq.heappop(self._events)
            event(now)
        if self._samples[-1].at < self.duration:
            self._sample(self.duration)
        return Result(
            service=self.service,
            load=self.load,
            duration=self.duration,
            samples=tuple(self._samples),
            activities=tuple(self._activities),
            waits=tuple(self._work.waits),
        )

    def _at(self, moment: float, event: Callable[[float], None]) -> None:
        # The counter keeps the order of what happens at the same moment, and functions from being compared.
        heapq.heappush(self._events, (moment, next(self._order), event))

    def _tick(self, now: float) -> None:
        self._work.arrive(now, self.load.rate(now - _TICK) * _TICK, _TICK)
        self._at(now + _TICK, self._tick)

    def _minute(self, now: float) -> None:
        minute = round(now / 60) - 1
        if not self.silent(now):
            self._work.publish(self._metrics, minute, now)
        seen = minute - self.assumptions.metric_delay
        decision = self._scaler.decide(self._metrics, seen, now=now, current=self._desired) if seen >= 0 else None
        if decision:
            activity = ScalingActivity(at=now, before=self._desired, after=decision.desired, cause=decision.cause)
            self._activities.append(activity)
            self._desired = decision.desired
            for task in self._fleet.set_desired_count(decision.desired, now):
                self._at(task.ready_at, self._work.progress)
        self._sample(now)
        self._at(now + 60.0, self._minute)

    def _sample(self, now: float) -> None:
        self._fleet.charge(now)
        self._samples.append(
            Sample(
                at=now,
                rate=self.load.rate(now),
                desired=self._desired,
                running=len(self._fleet.ready(now)),
                paid=len(self._fleet.tasks),
                waiting=self._work.waiting(),
                wait=self._work.wait(now),
                cost=self._fleet.cost,
            )
        )
