"""Alarms as data: what is measured, when it is too much, what no data means, and whom it concerns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import pulumi

Missing = Literal["breaching", "notBreaching", "ignore", "missing"]
"""CloudWatch's treatment of periods without data: as bad, as good, keep the state, or "insufficient data"."""
Trouble = Literal[
    "api-fails",
    "api-slow",
    "replicas-missing",
    "service-busy",
    "work-waits",
    "jobs-fail",
    "errors-logged",
    "figures-missing",
    "database-busy",
    "database-full",
    "database-events",
    "redis-full",
    "redis-busy",
    "dump-missing",
    "rollout-failed",
    "backup-failed",
    "certificate-expires",
    "nobody-is-told",
]
"""Heading of the troubleshooting page that says what to do."""

RUNBOOK: Final = "docs/aws/troubleshooting.md"
MINUTE: Final = 60
HOUR: Final = 3600
_STATISTICS: Final = ("Average", "Sum", "Maximum", "Minimum", "SampleCount")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A CloudWatch metric, and how the values of a period become one: a statistic, or a percentile such as ``p95``."""

    namespace: str
    name: str
    dimensions: Mapping[str, pulumi.Input[str]]
    statistic: str


@dataclass(frozen=True, kw_only=True)
class Formula:
    """CloudWatch metric math over named metrics."""

    expression: str
    label: str
    metrics: Mapping[str, Metric]


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """One alarm. Exactly one of `above` and `below` is set: the value, in the metric's unit, beyond which it is bad."""

    role: str
    """Ends the alarm's name; unique in the stack."""
    means: str
    """For whoever is woken: one sentence."""
    trouble: Trouble
    measure: Metric | Formula
    above: float | None = None
    below: float | None = None
    period: int = MINUTE
    """Seconds."""
    periods: int
    """Periods in a row that must be bad."""
    missing: Missing
    because: str
    """Why `missing` is right for this one."""
    told_by: str | None = None
    """Role of the composite alarm that speaks for this one; None when it speaks for itself."""

    def __post_init__(self) -> None:
        if (self.above is None) == (self.below is None):
            raise ValueError(f"alarm {self.role} needs one of above and below")

    @property
    def description(self) -> str:
        return describe(self.means, self.trouble)

    def properties(self) -> dict[str, Any]:
        """The inputs of `aws.cloudwatch.MetricAlarm`, without name and actions."""
        threshold, comparison = (
            (self.above, "GreaterThanThreshold") if self.above is not None else (self.below, "LessThanThreshold")
        )
        return {
            "alarm_description": self.description,
            "comparison_operator": comparison,
            "threshold": threshold,
            "evaluation_periods": self.periods,
            "datapoints_to_alarm": self.periods,
            "treat_missing_data": self.missing,
            **_measured(self.measure, self.period),
        }


@dataclass(frozen=True, kw_only=True)
class Composite:
    """Alarms that are one event seen several ways, told once."""

    role: str
    means: str
    trouble: Trouble
    members: tuple[str, ...]
    """Roles of the alarms of which any raises this one."""
    silenced_by: str | None = None
    """Role of an alarm that says worse: while it is raised, this one stays quiet."""

    @property
    def description(self) -> str:
        return describe(self.means, self.trouble)


def describe(means: str, trouble: Trouble) -> str:
    """What stands in the message: the meaning, and where to read on."""
    return f"{means} What to do: {RUNBOOK}#{trouble}"


def _measured(measure: Metric | Formula, period: int) -> dict[str, Any]:
    if isinstance(measure, Formula):
        whole = {"id": "result", "expression": measure.expression, "label": measure.label, "return_data": True}
        return {"metric_queries": [whole, *(_query(key, metric, period) for key, metric in measure.metrics.items())]}
    plain = {
        "namespace": measure.namespace,
        "metric_name": measure.name,
        "dimensions": dict(measure.dimensions),
        "period": period,
    }
    if measure.statistic in _STATISTICS:
        return {**plain, "statistic": measure.statistic}
    # A percentile of three requests says nothing: such a period changes no state.
    return {**plain, "extended_statistic": measure.statistic, "evaluate_low_sample_count_percentiles": "ignore"}


def _query(key: str, metric: Metric, period: int) -> dict[str, Any]:
    return {
        "id": key,
        "return_data": False,
        "metric": {
            "namespace": metric.namespace,
            "metric_name": metric.name,
            "dimensions": dict(metric.dimensions),
            "period": period,
            "stat": metric.statistic,
        },
    }
