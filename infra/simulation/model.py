"""A service and its scaling as its plan says, in the words of Application Auto Scaling and CloudWatch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

TreatMissingData = Literal["breaching", "notBreaching", "ignore", "missing"]


@dataclass(frozen=True, kw_only=True)
class AlarmMetric:
    """What an alarm evaluates: one metric with its statistic, or an expression over several."""

    metrics: Mapping[str, str]
    """Metric name by the id that `expression` uses."""
    expression: str
    """CloudWatch metric math over datapoints of one minute; just an id for a plain metric."""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    name: str
    metric: AlarmMetric
    comparison_operator: str
    threshold: float
    evaluation_periods: int
    datapoints_to_alarm: int
    treat_missing_data: TreatMissingData


@dataclass(frozen=True, kw_only=True)
class StepAdjustment:
    """Bounds are relative to the alarm's threshold, None for without end."""

    lower_bound: float | None
    upper_bound: float | None
    scaling_adjustment: int


@dataclass(frozen=True, kw_only=True)
class StepScalingPolicy:
    name: str
    adjustment_type: str
    """ChangeInCapacity, ExactCapacity or PercentChangeInCapacity."""
    step_adjustments: tuple[StepAdjustment, ...]
    cooldown: int
    min_adjustment_magnitude: int
    alarms: tuple[Alarm, ...]
    """Those that call it."""


@dataclass(frozen=True, kw_only=True)
class TargetTrackingPolicy:
    """It makes its own alarms."""

    name: str
    metric: str
    target_value: float
    scale_out_cooldown: int
    scale_in_cooldown: int
    scale_in: bool


@dataclass(frozen=True, kw_only=True)
class ScaledService:
    """A service with its limits and policies. Without policies, `min_capacity` tasks always run."""

    name: str
    min_capacity: int
    max_capacity: int
    target_tracking: tuple[TargetTrackingPolicy, ...]
    step_scaling: tuple[StepScalingPolicy, ...]
    vcpu: float
    memory_gib: float
    arm: bool
    on_demand_base: int
    """Tasks on ordinary Fargate; those above it run on Spot where `spot` says so."""
    spot: bool
    queue: str | None
    """The queue whose metrics its alarms follow; None for a service that answers requests."""
