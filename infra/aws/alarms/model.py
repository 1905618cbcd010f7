"""Alarms as data: what is measured, when it is too much, and what no data means."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass
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


Metrics = Callable[[str, str], Metric]
"""Makes metrics of one resource, by name and statistic."""


def metrics(namespace: str, dimensions: Mapping[str, pulumi.Input[str]]) -> Metrics:
    return lambda name, statistic: Metric(namespace=namespace, name=name, dimensions=dimensions, statistic=statistic)


@dataclass(frozen=True, kw_only=True)
class Formula:
    """CloudWatch metric math over named metrics."""

    expression: str
    label: str
    metrics: Mapping[str, Metric]
    id: str = "result"


@dataclass(frozen=True)
class Threshold:
    """When an alarm is raised. Exactly one of `above`, `at_least` and `below` is set: the value, in the metric's unit,
    beyond which it is bad."""

    measure: Metric | Formula
    _: KW_ONLY
    above: float | None = None
    at_least: float | None = None
    below: float | None = None
    period: int = MINUTE
    """Seconds."""
    periods: int = 1
    """Periods in a row that are looked at."""
    bad_periods: int | None = None
    """How many of them must be bad; None: all."""

    def __post_init__(self) -> None:
        if len([*self._limits()]) != 1:
            raise ValueError(f"{self} needs one of above, at_least and below")

    def threshold(self, missing: Missing = "notBreaching") -> dict[str, Any]:
        """The inputs of `aws.cloudwatch.MetricAlarm`, without description, name and actions."""
        ((comparison, threshold),) = self._limits()
        return {
            "comparison_operator": comparison,
            "threshold": threshold,
            "evaluation_periods": self.periods,
            "datapoints_to_alarm": self.bad_periods or self.periods,
            "treat_missing_data": missing,
            **_measured(self.measure, self.period),
        }

    def _limits(self) -> Iterator[tuple[str, float]]:
        limits = {
            "GreaterThanThreshold": self.above,
            "GreaterThanOrEqualToThreshold": self.at_least,
            "LessThanThreshold": self.below,
        }
        return ((comparison, limit) for comparison, limit in limits.items() if limit is not None)


@dataclass(frozen=True)
class Silence:
    """What periods without data mean for an alarm, and why that is right for this one."""

    missing: Missing
    because: str


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What people are notified of."""

    role: str
    """Ends the name of the alarm or rule; unique in the stack."""
    means: str
    """For whoever is woken: one sentence."""
    trouble: Trouble

    @property
    def description(self) -> str:
        """What stands in the message: the meaning, and where to read on."""
        return f"{self.means} What to do: {RUNBOOK}#{self.trouble}"


@dataclass(frozen=True, kw_only=True)
class Alarm(Notice):
    """An alarm that notifies people."""

    when: Threshold
    silence: Silence
    notified_by: str | None = None
    """Role of the composite alarm that notifies in place of this one; None when it does so itself."""

    def properties(self) -> dict[str, Any]:
        """The inputs of `aws.cloudwatch.MetricAlarm`, without name and actions."""
        return {"alarm_description": self.description, **self.when.threshold(self.silence.missing)}


@dataclass(frozen=True, kw_only=True)
class Composite(Notice):
    """Alarms that are one event seen several ways, of which people are notified once."""

    members: tuple[str, ...]
    """Roles of the alarms of which any raises this one."""
    silenced_by: str | None = None
    """Role of an alarm that says worse: while it is raised, this one stays quiet."""


def _measured(measure: Metric | Formula, period: int) -> dict[str, Any]:
    if isinstance(measure, Formula):
        whole = {"id": measure.id, "expression": measure.expression, "label": measure.label, "return_data": True}
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
