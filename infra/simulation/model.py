"""A service and its scaling as its plan says: what Application Auto Scaling and CloudWatch would be given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Missing = Literal["breaching", "notBreaching", "ignore", "missing"]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What an alarm looks at: one metric with its statistic, or an expression over several."""

    metrics: Mapping[str, str]
    """Metric name by the id that `expression` uses."""
    expression: str
    """CloudWatch metric math over datapoints of one minute; just an id for a plain metric."""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    name: str
    measure: Measure
    comparison: str
    threshold: float
    periods: int
    """Latest datapoints that are looked at."""
    datapoints: int
    """How many of them must breach."""
    missing: Missing


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step; bounds are relative to the alarm's threshold, None for without end."""

    lower: float | None
    upper: float | None
    adjustment: int


@dataclass(frozen=True, kw_only=True)
class StepPolicy:
    """Step scaling, with the alarms that call it."""

    name: str
    adjustment: str
    """ChangeInCapacity, ExactCapacity or PercentChangeInCapacity."""
    steps: tuple[Step, ...]
    cooldown: int
    minimum_magnitude: int
    alarms: tuple[Alarm, ...]


@dataclass(frozen=True, kw_only=True)
class TrackingPolicy:
    """Target tracking, which makes its own alarms."""

    name: str
    metric: str
    target: float
    out_cooldown: int
    in_cooldown: int
    scale_in: bool


@dataclass(frozen=True, kw_only=True)
class ScaledService:
    """A service with its limits and policies. Without policies, `minimum` tasks always run."""

    name: str
    minimum: int
    maximum: int
    tracking: tuple[TrackingPolicy, ...]
    stepping: tuple[StepPolicy, ...]
    vcpu: float
    memory_gib: float
    arm: bool
    on_demand_base: int
    """Tasks on ordinary Fargate; those above it run on Spot where `spot` says so."""
    spot: bool
    queue: str | None
    """The queue whose figures its alarms follow; None for a service that answers requests."""
    warnings: tuple[str, ...] = field(default=())
    """What the simulation leaves out of account."""
