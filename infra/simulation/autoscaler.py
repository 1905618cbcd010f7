"""Decides how many tasks to run, as Application Auto Scaling does.

Scaling out takes the largest number that any policy asks for. While the cooldown of a policy's scale-out lasts, what it
has added counts towards its next demand, so that only a larger step adds more. Scaling in waits for the cooldown of the
last scale-in, never blocks scaling out, gives way to any policy that asks for more, and by target tracking happens only
when all tracking policies agree (Application Auto Scaling user guide, step scaling and target tracking).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from .cloudwatch import AlarmState, Metrics
from .model import Alarm, Measure, ScaledService, Step, StepPolicy, TrackingPolicy

_HIGH_MINUTES: Final = 3
_LOW_MINUTES: Final = 15
"""Datapoints of the alarms that target tracking makes for ECS (as its alarms in CloudWatch show)."""
_LOW_SHARE: Final = 0.9
"""Below this share of the target its second alarm goes off (the same alarms)."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A change of the wanted number."""

    wanted: int
    because: str


@dataclass
class _Rule:
    """What a policy remembers: its last scale-out."""

    name: str
    out_cooldown: float
    in_cooldown: float
    base: int = 0
    """The number before the last scale-out."""
    until: float = -math.inf
    """End of that scale-out's cooldown."""

    def start(self, now: float, current: int) -> int:
        """What an adjustment counts from."""
        return self.base if now < self.until else current

    def grew(self, now: float, before: int) -> None:
        if now >= self.until:
            self.base = before
        self.until = now + self.out_cooldown


@dataclass
class _Demand:
    rule: _Rule
    wanted: int
    because: str


@dataclass
class _Tracker:
    policy: TrackingPolicy
    rule: _Rule
    high: AlarmState
    low: AlarmState


@dataclass
class _Stepper:
    policy: StepPolicy
    rule: _Rule
    alarms: list[AlarmState] = field(default_factory=list)


class Autoscaler:
    """The policies of one service, and what they remember."""

    def __init__(self, service: ScaledService) -> None:
        self._service = service
        self._trackers = [_tracker(policy) for policy in service.tracking]
        self._steppers = [
            _Stepper(
                policy, _Rule(policy.name, policy.cooldown, policy.cooldown), [AlarmState(a) for a in policy.alarms]
            )
            for policy in service.stepping
        ]
        self._in_until = -math.inf

    def decide(self, metrics: Metrics, minute: int, *, now: float, current: int) -> Decision | None:
        """The new number after the datapoints up to `minute`, or None when it stays. `now` is in seconds."""
        demands = [*self._steps(metrics, minute, now, current), *self._tracks(metrics, minute, now, current)]
        more = [one for one in demands if one.wanted > current]
        if more:
            return self._grow(max(more, key=lambda one: one.wanted), now, current)
        # A policy in alarm that asks for no more than there is still speaks against having less.
        holding = any(one.wanted == current for one in demands)
        fewer = [one for one in demands if one.wanted < current]
        if not fewer or holding or now < self._in_until:
            return None
        chosen = max(fewer, key=lambda one: one.wanted)
        wanted = self._bounded(chosen.wanted)
        if wanted >= current:
            return None
        self._in_until = now + chosen.rule.in_cooldown
        return Decision(wanted=wanted, because=chosen.because)

    def _grow(self, chosen: _Demand, now: float, current: int) -> Decision | None:
        wanted = self._bounded(chosen.wanted)
        if wanted <= current:
            return None
        chosen.rule.grew(now, current)
        return Decision(wanted=wanted, because=chosen.because)

    def _bounded(self, wanted: int) -> int:
        return min(max(wanted, self._service.minimum), self._service.maximum)

    def _steps(self, metrics: Metrics, minute: int, now: float, current: int) -> Iterator[_Demand]:
        for stepper in self._steppers:
            for alarm in stepper.alarms:
                if not alarm.look(metrics, minute) or alarm.value is None:
                    continue
                step = _step(stepper.policy, alarm.value - alarm.alarm.threshold)
                if step is None:
                    continue
                change = _change(stepper.policy, step, current)
                start = stepper.rule.start(now, current) if change > 0 else current
                wanted = step.adjustment if stepper.policy.adjustment == "ExactCapacity" else start + change
                # A step up that its cooldown makes smaller than what there is asks for nothing, and not for less.
                yield _Demand(stepper.rule, max(wanted, current) if change > 0 else wanted, alarm.alarm.name)

    def _tracks(self, metrics: Metrics, minute: int, now: float, current: int) -> Iterator[_Demand]:
        lows: list[_Demand] = []
        for tracker in self._trackers:
            policy, high = tracker.policy, tracker.high.look(metrics, minute)
            low = tracker.low.look(metrics, minute)
            value = tracker.high.value
            if high and value is not None and current:
                wanted = math.ceil(tracker.rule.start(now, current) * value / policy.target)
                yield _Demand(tracker.rule, max(wanted, current), policy.name)
            if low and value is not None and policy.scale_in:
                lows.append(_Demand(tracker.rule, max(math.ceil(current * value / policy.target), 0), policy.name))
        scaling_in = [tracker for tracker in self._trackers if tracker.policy.scale_in]
        if scaling_in and len(lows) == len(scaling_in):
            yield max(lows, key=lambda one: one.wanted)


def _tracker(policy: TrackingPolicy) -> _Tracker:
    def alarm(kind: str, comparison: str, threshold: float, minutes: int) -> AlarmState:
        measure = Measure(metrics={"value": policy.metric}, expression="value")
        return AlarmState(
            Alarm(
                name=f"{policy.name} {kind}",
                measure=measure,
                comparison=comparison,
                threshold=threshold,
                periods=minutes,
                datapoints=minutes,
                missing="missing",
            )
        )

    return _Tracker(
        policy=policy,
        rule=_Rule(policy.name, policy.out_cooldown, policy.in_cooldown),
        high=alarm("high", "GreaterThanThreshold", policy.target, _HIGH_MINUTES),
        low=alarm("low", "LessThanThreshold", policy.target * _LOW_SHARE, _LOW_MINUTES),
    )


def _step(policy: StepPolicy, distance: float) -> Step | None:
    """The step for a breach by that much. Above the threshold the lower bound belongs to a step, below it the upper."""
    for step in policy.steps:
        lower = -math.inf if step.lower is None else step.lower
        upper = math.inf if step.upper is None else step.upper
        if (lower <= distance < upper) if distance >= 0 else (lower < distance <= upper):
            return step
    return None


def _change(policy: StepPolicy, step: Step, current: int) -> int:
    if policy.adjustment == "ExactCapacity":
        return step.adjustment - current
    if policy.adjustment == "ChangeInCapacity":
        return step.adjustment
    change = current * step.adjustment / 100
    # Rounded away from zero below one, towards it above (the guide's rule for PercentChangeInCapacity).
    whole = math.copysign(1, change) if 0 < abs(change) < 1 else float(math.trunc(change))
    least = policy.minimum_magnitude
    return int(math.copysign(max(abs(whole), least), change)) if change else 0
