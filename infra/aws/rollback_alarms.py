"""Alarms that undo a rollout: what the circuit breaker cannot see, because the tasks themselves are healthy.

An alarm that is raised before a rollout begins does not stop it: ECS looks at the change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import pulumi

from infra.aws import queue_metrics as figures
from infra.aws.alarms.model import Formula, Threshold
from infra.aws.alarms.monitored import MonitoredBalancer

SLOWER: Final = 4
"""Times the alert's threshold of latency that undoes a rollout: a rush slows answers too, and is no fault of the new
version's."""
LEAST_REQUESTS: Final = 10
"""Answers in a minute below which a share means nothing: one error of two requests is half of them."""


@dataclass(frozen=True, kw_only=True)
class RollbackAlarm(Threshold):
    """Raised by two bad minutes of three. No traffic and no jobs are no reason to undo a version."""

    description: str
    periods: int = 3
    bad_periods: int | None = 2

    def properties(self) -> dict[str, Any]:
        """Inputs of `cloudwatch.MetricAlarm`."""
        return {"alarm_description": self.description, **self.threshold()}


def error_share(*, service: str, percent: int, balancer: MonitoredBalancer) -> RollbackAlarm:
    """Answers of the service with a 5xx status, in percent of all."""
    return RollbackAlarm(
        description=f"Undoes a rollout of {service} of {pulumi.get_stack()}: over {percent} % of its answers fail.",
        measure=Formula(
            id="share",
            expression=f"IF(requests >= {LEAST_REQUESTS}, 100 * FILL(errors, 0) / requests, 0)",
            label="failed answers, %",
            metrics={
                "errors": balancer.target("HTTPCode_Target_5XX_Count", "Sum"),
                "requests": balancer.target("RequestCount", "Sum"),
            },
        ),
        above=percent,
    )


def slow_answers(*, service: str, milliseconds: int, balancer: MonitoredBalancer) -> RollbackAlarm:
    """Answers of the service at the 95th percentile; `milliseconds` is what alerts begin at."""
    limit = SLOWER * milliseconds / 1000
    return RollbackAlarm(
        description=f"Undoes a rollout of {service} of {pulumi.get_stack()}: 95 % of answers took over {limit:g} s.",
        measure=balancer.target("TargetResponseTime", "p95"),
        above=limit,
    )


def failing_jobs(*, service: str, queue: str, jobs: int) -> RollbackAlarm:
    """Jobs of the queue that fail for good. Receivers that are away let jobs fail as well: where many do as a matter of
    course, `alerts.failed_jobs` must be above their number, for people and for rollouts."""
    return RollbackAlarm(
        description=f"Undoes a rollout of {service} of {pulumi.get_stack()}: {jobs} jobs or more failed for good.",
        measure=figures.queue_metric(pulumi.get_stack(), queue, figures.FAILED_JOBS),
        at_least=jobs,
    )
