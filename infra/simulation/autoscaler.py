"""Decides how many tasks to run, as Application Auto Scaling does.

Scaling out takes the largest count that any policy asks for. While the cooldown of a policy's scale-out lasts, what it
has added counts towards its next demand, so that only a larger step adds more. Scaling in waits for the cooldown of the
last scale-in, never blocks scaling out, gives way to any policy that asks for more, and by target tracking happens only
when all tracking policies agree (Application Auto Scaling user guide, step scaling and target tracking).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from infra.simulation.cloudwatch import AlarmState, Metrics
from infra.simulation.model import (
    Alarm,
    AlarmMetric,
    ScaledService,
    StepAdjustment,
    StepScalingPolicy,
    TargetTrackingPolicy,
)

_HIGH_MINUTES: Final = 3
_LOW_MINUTES: Final = 15
"""Datapoints of the alarms that target tracking makes for ECS (as its alarms in CloudWatch show)."""
_LOW_SHARE: Final = 0.9
"""Below this share of the target its second alarm goes off (the same alarms)."""


@dataclass(frozen=True, kw_only=True)
class Decision:
    """A change of the desired count; `cause` is the policy or the alarm that asked for it."""

    desired: int
    cause: str


class _Cooldowns:
    """The cooldowns of a policy, and its last scale-out."""

    def __init__(self, scale_out: float, scale_in: float) -> None:
        self._scale_out = scale_out
        self.scale_in = scale_in
        self._base = 0
        """The count before the last scale-out."""
        self._until = -math.inf

    def base(self, now: float, current: int) -> int:
        """What an adjustment counts from."""
        return self._base if now < self._until else current

    def scaled_out(self, now: float, before: int) -> None:
        if now >= self._until:
            self._base = before
        self._until = now + self._scale_out


@dataclass
class _Demand:
    cooldowns: _Cooldowns
    desired: int
    cause: str


class _StepScaling:
    def __init__(self, policy: StepScalingPolicy) -> None:
        self._policy = policy
        self._cooldowns = _Cooldowns(policy.cooldown, policy.cooldown)
        self._alarms = [AlarmState(alarm) for alarm in policy.alarms]

    def demands(self, metrics: Metrics, minute: int, now: float, current: int) -> Iterator[_Demand]:
        for state in self._alarms:
            if not state.evaluate(metrics, minute) or state.value is None:
                continue
            step = _step(self._policy, state.value - state.alarm.threshold)
            if step is None:
                continue
            change = _change(self._policy, step, current)
            desired = current + change
            if change > 0 and self._policy.adjustment_type != "ExactCapacity":
                desired = self._cooldowns.base(now, current) + change
            # A step up that its cooldown makes smaller than what there is asks for nothing, and not for less.
            yield _Demand(self._cooldowns, max(desired, current) if change > 0 else desired, state.alarm.name)


class _TargetTracking:
    def __init__(self, policy: TargetTrackingPolicy) -> None:
        self.policy = policy
        self._cooldowns = _Cooldowns(policy.scale_out_cooldown, policy.scale_in_cooldown)
        self._high = self._alarm("GreaterThanThreshold", policy.target_value, _HIGH_MINUTES)
        self._low = self._alarm("LessThanThreshold", policy.target_value * _LOW_SHARE, _LOW_MINUTES)

    def _alarm(self, comparison_operator: str, threshold: float, minutes: int) -> AlarmState:
        return AlarmState(
            Alarm(
                name=self.policy.name,
                metric=AlarmMetric(metrics={"value": self.policy.metric}, expression="value"),
                comparison_operator=comparison_operator,
                threshold=threshold,
                evaluation_periods=minutes,
                datapoints_to_alarm=minutes,
                treat_missing_data="missing",
            )
        )

    def demands(self, metrics: Metrics, minute: int, now: float, current: int) -> tuple[_Demand | None, _Demand | None]:
        """What it asks for when the metric is too high, and what it would scale in to when that is low."""
        high, low = self._high.evaluate(metrics, minute), self._low.evaluate(metrics, minute)
        value, more, fewer = self._high.value, None, None
        if high and value is not None and current:
            desired = math.ceil(self._cooldowns.base(now, current) * value / self.policy.target_value)
            more = _Demand(self._cooldowns, max(desired, current), self.policy.name)
        if low and value is not None and self.policy.scale_in:
            desired = math.ceil(current * value / self.policy.target_value)
            fewer = _Demand(self._cooldowns, max(desired, 0), self.policy.name)
        return more, fewer


class Autoscaler:
    """The policies of one service, with their alarms and cooldowns."""

    def __init__(self, service: ScaledService) -> None:
        self._service = service
        self._tracking = [_TargetTracking(policy) for policy in service.target_tracking]
        self._stepping = [_StepScaling(policy) for policy in service.step_scaling]
        self._scale_in_from = -math.inf

    def decide(self, metrics: Metrics, minute: int, *, now: float, current: int) -> Decision | None:
        """The new count after the datapoints up to `minute`, or None when it stays. `now` is in seconds."""
        demands = list(self._demands(metrics, minute, now, current))
        most = max((demand.desired for demand in demands), default=current)
        # A policy in alarm that asks for no more than there is still speaks against having less.
        if most == current or (most < current and now < self._scale_in_from):
            return None
        chosen = next(demand for demand in demands if demand.desired == most)
        desired = min(max(most, self._service.min_capacity), self._service.max_capacity)
        if desired == current or (desired > current) is not (most > current):
            return None
        if desired > current:
            chosen.cooldowns.scaled_out(now, current)
        else:
            self._scale_in_from = now + chosen.cooldowns.scale_in
        return Decision(desired=desired, cause=chosen.cause)

    def _demands(self, metrics: Metrics, minute: int, now: float, current: int) -> Iterator[_Demand]:
        for policy in self._stepping:
            yield from policy.demands(metrics, minute, now, current)
        scale_in: list[_Demand] = []
        for tracking in self._tracking:
            more, fewer = tracking.demands(metrics, minute, now, current)
            if more:
                yield more
            if fewer:
                scale_in.append(fewer)
        if scale_in and len(scale_in) == sum(1 for tracking in self._tracking if tracking.policy.scale_in):
            yield max(scale_in, key=lambda demand: demand.desired)


def _step(policy: StepScalingPolicy, distance: float) -> StepAdjustment | None:
    """The step for a breach by that much. Above the threshold the lower bound belongs to a step, below it the upper."""
    for step in policy.step_adjustments:
        lower = -math.inf if step.lower_bound is None else step.lower_bound
        upper = math.inf if step.upper_bound is None else step.upper_bound
        if (lower <= distance < upper) if distance >= 0 else (lower < distance <= upper):
            return step
    return None


def _change(policy: StepScalingPolicy, step: StepAdjustment, current: int) -> int:
    if policy.adjustment_type == "ExactCapacity":
        return step.scaling_adjustment - current
    if policy.adjustment_type == "ChangeInCapacity":
        return step.scaling_adjustment
    change = current * step.scaling_adjustment / 100
    # Rounded away from zero below one, towards it above (the guide's rule for PercentChangeInCapacity).
    whole = math.copysign(1, change) if 0 < abs(change) < 1 else float(math.trunc(change))
    least = policy.min_adjustment_magnitude
    return int(math.copysign(max(abs(whole), least), change)) if change else 0
