"""Alarms that undo a rollout: what the circuit breaker cannot see, because the tasks themselves are healthy.

An alarm that is raised before a rollout begins does not stop it: ECS looks at the change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi

from infra.aws import queue_metrics as figures

_MINUTE: Final = 60
SLOWER: Final = 4
"""Times the alert's threshold of latency that undoes a rollout: a rush slows answers too, and is no fault of the new
version's."""
LEAST_REQUESTS: Final = 10
"""Answers in a minute below which a share means nothing: one error of two requests is half of them."""


@dataclass(frozen=True, kw_only=True)
class RollbackAlarm:
    """The alarm as data."""

    description: str
    measure: Mapping[str, Any]
    threshold: float
    comparison: str = "GreaterThanThreshold"
    periods: int = 3
    breaching: int = 2

    def properties(self) -> dict[str, Any]:
        """Inputs of `cloudwatch.MetricAlarm`."""
        return {
            "alarm_description": self.description,
            **self.measure,
            "comparison_operator": self.comparison,
            "threshold": self.threshold,
            "evaluation_periods": self.periods,
            "datapoints_to_alarm": self.breaching,
            # No traffic and no jobs tell nothing against a version.
            "treat_missing_data": "notBreaching",
        }


def error_share(
    *, service: str, percent: int, balancer_suffix: pulumi.Input[str], target_suffix: pulumi.Input[str]
) -> RollbackAlarm:
    """Answers of the service with a 5xx status, in percent of all."""

    def count(name: str, id_: str) -> dict[str, Any]:
        return {
            "id": id_,
            "metric": {
                "namespace": "AWS/ApplicationELB",
                "metric_name": name,
                "dimensions": {"LoadBalancer": balancer_suffix, "TargetGroup": target_suffix},
                "period": _MINUTE,
                "stat": "Sum",
            },
            "return_data": False,
        }

    share = f"IF(requests >= {LEAST_REQUESTS}, 100 * FILL(errors, 0) / requests, 0)"
    return RollbackAlarm(
        description=f"Undoes a rollout of {service} of {pulumi.get_stack()}: over {percent} % of its answers fail.",
        measure={
            "metric_queries": [
                {"id": "share", "expression": share, "label": "failed answers, %", "return_data": True},
                count("HTTPCode_Target_5XX_Count", "errors"),
                count("RequestCount", "requests"),
            ]
        },
        threshold=percent,
    )


def slow_answers(
    *, service: str, milliseconds: int, balancer_suffix: pulumi.Input[str], target_suffix: pulumi.Input[str]
) -> RollbackAlarm:
    """Answers of the service at the 95th percentile; `milliseconds` is what alerts begin at."""
    limit = SLOWER * milliseconds / 1000
    return RollbackAlarm(
        description=f"Undoes a rollout of {service} of {pulumi.get_stack()}: 95 % of answers took over {limit:g} s.",
        measure={
            "namespace": "AWS/ApplicationELB",
            "metric_name": "TargetResponseTime",
            "dimensions": {"LoadBalancer": balancer_suffix, "TargetGroup": target_suffix},
            "extended_statistic": "p95",
            # A percentile of a handful of requests says nothing.
            "evaluate_low_sample_count_percentiles": "ignore",
            "period": _MINUTE,
        },
        threshold=limit,
    )


def failing_jobs(*, service: str, queue: str, jobs: int) -> RollbackAlarm:
    """Jobs of the queue that fail for good. Receivers that are away let jobs fail as well: where many do as a matter of
    course, `alerts.failed_jobs` must be above their number, for people and for rollouts."""
    return RollbackAlarm(
        description=f"Undoes a rollout of {service} of {pulumi.get_stack()}: {jobs} jobs or more failed for good.",
        measure=figures.figure(figures.FAILED_JOBS, stack=pulumi.get_stack(), queue=queue),
        threshold=jobs,
        comparison="GreaterThanOrEqualToThreshold",
    )
