"""When replicas come and go: the thresholds of the settings as Application Auto Scaling's policies, as data.

Scaling out takes the largest number that any policy asks for; target tracking scales in only when all of its policies
agree. What an alarm does without data is said where it is made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import pulumi

from infra.aws import queue_metrics as figures
from infra.aws.alarms.model import MINUTE, Formula, Metric, Missing, Threshold
from infra.aws.alarms.monitored import MonitoredBalancer
from infra.contracts import Scaling

SCALE_IN_MINUTES: Final = 5
"""A queue that is short for that long needs fewer workers; for less, it may be between two bursts."""
SLOW_MINUTES: Final = 3
"""One slow minute is no reason for another replica: it may be one slow query."""
WAKE_AFTER: Final = 5
"""Seconds that a job must have been due with no worker there. Less may be the moment between two figures."""
WAKE_COOLDOWN: Final = 240
"""Seconds in which a worker that was woken is not called again: Fargate takes one to two minutes to start it, and the
figure that shows it comes up to a minute later."""
STEPS: Final = ((0, 0.0), (3, 0.25), (9, 0.5))
"""What to add at how many thresholds' worth above the threshold, as a share of the most replicas, at least one: a
backlog of ten times the threshold would keep users waiting while single workers are added minute by minute."""

NO_WORKER_WAIT: Final = "IF(workers < 1, wait, 0)"
"""How long the oldest job has been due, where nobody is there to take it."""
WORKERS_WAIT: Final = "IF(workers < 1, 0, wait)"
"""How long it has been due although somebody is. Without the condition the wait of the job that wakes the first worker
would add a second one."""
MOST_BUSY: Final = 0.8
"""Share of the remaining workers' slots that may be taken when one is removed. A short queue alone says nothing of
that: busy workers that just keep up have one, too, and without this limit a steady load was served by 6 workers, then
by 2, and again by 6, with waits of half a minute each time (`slipway simulate --load steady:12`)."""
KEEP: Final = 1_000_000
"""More than any threshold: jobs that nobody would be left to do."""


@dataclass(frozen=True, kw_only=True)
class ScalingAlarm(Threshold):
    """What sets a step policy off."""

    role: str
    description: str
    missing: Missing = "notBreaching"


@dataclass(frozen=True, kw_only=True)
class ScalingPolicy:
    """`properties` are those of `appautoscaling.Policy`. A target tracking policy makes its alarms itself."""

    role: str
    properties: Mapping[str, Any]
    alarms: tuple[ScalingAlarm, ...] = ()


def request_policies(scaling: Scaling, balancer: MonitoredBalancer | None) -> Iterator[ScalingPolicy]:
    """Of a service that answers requests: by load and, behind a balancer, by requests and latency."""
    if scaling.cpu_percent is not None:
        yield _track("cpu", scaling, "ECSServiceAverageCPUUtilization", scaling.cpu_percent)
    if scaling.memory_percent is not None:
        yield _track("memory", scaling, "ECSServiceAverageMemoryUtilization", scaling.memory_percent)
    if balancer is None:
        return
    if scaling.requests_per_second is not None:
        label = pulumi.Output.concat(balancer.suffix, "/", balancer.target_suffix)
        # The metric counts the requests of a minute.
        yield _track("requests", scaling, "ALBRequestCountPerTarget", scaling.requests_per_second * MINUTE, label=label)
    if scaling.latency_p95_ms is not None:
        yield _latency(scaling, scaling.latency_p95_ms, balancer)


def queue_policies(scaling: Scaling, queue: str, *, minimum: int) -> Iterator[ScalingPolicy]:
    """Of the workers of a queue: by its figures."""
    if scaling.backlog_high is not None:
        yield _backlog(scaling, queue, scaling.backlog_high, minimum)
    if scaling.backlog_low is not None:
        yield _short(scaling, queue, scaling.backlog_low, minimum)
    if scaling.cpu_percent is not None:
        # It only adds: a worker that waits on the network has an idle processor and a full queue.
        yield _track("cpu", scaling, "ECSServiceAverageCPUUtilization", scaling.cpu_percent, disable_scale_in=True)
    if minimum == 0:
        yield _wake(queue)


def _latency(scaling: Scaling, limit: int, balancer: MonitoredBalancer) -> ScalingPolicy:
    """In steps: latency does not fall in proportion to replicas, as target tracking assumes. It never removes one;
    the load does, when it goes."""
    alarm = ScalingAlarm(
        role="latency",
        description=f"Adds a replica: 95 % of answers took up to more than {limit} ms for {SLOW_MINUTES} minutes.",
        measure=balancer.target("TargetResponseTime", "p95"),
        above=limit / 1000,
        periods=SLOW_MINUTES,
    )
    return _step("latency", [_adjust(1, above=0)], scaling.out_cooldown, alarm)


def _backlog(scaling: Scaling, queue: str, high: int, minimum: int) -> ScalingPolicy:
    """One policy for both alarms: its cooldown then keeps the second from adding what the first has just added."""
    wait = scaling.wait
    steps = [
        _adjust(max(1, ceil(scaling.max_replicas * share)), above=times * high, below=end * high if end else None)
        for (times, share), end in zip(STEPS, [*(times for times, _ in STEPS[1:]), None], strict=True)
    ]
    backlog = ScalingAlarm(
        role="backlog",
        description=f"Adds workers: more than {high} jobs wait in {queue}.",
        measure=_figure(figures.QUEUE_DEPTH, queue),
        above=high,
        # Without figures nobody knows of a backlog, and a guess would cost money.
        missing="notBreaching",
    )
    if wait is None:
        return _step("out", steps, scaling.out_cooldown, backlog)
    waiting = ScalingAlarm(
        role="wait",
        description=f"Adds workers: the oldest job in {queue} has been waiting for more than {wait} s.",
        measure=_figure(figures.OLDEST_WAIT, queue)
        if minimum
        else _formula(WORKERS_WAIT, queue, wait=figures.OLDEST_WAIT, workers=figures.WORKERS),
        above=wait,
    )
    return _step("out", steps, scaling.out_cooldown, backlog, waiting)


def _short(scaling: Scaling, queue: str, low: int, minimum: int) -> ScalingPolicy:
    figured = {"depth": figures.QUEUE_DEPTH, "running": figures.RUNNING_JOBS, "workers": figures.WORKERS}
    alarm = ScalingAlarm(
        role="short",
        description=f"Removes a worker: fewer than {low} jobs have waited in {queue} for {SCALE_IN_MINUTES} minutes, "
        "and the other workers have room for those under way.",
        measure=_formula(spare(slots=scaling.slots or 1, last=minimum == 0), queue, **figured),
        below=low,
        periods=SCALE_IN_MINUTES,
        # Without figures everything stays as it is.
        missing="ignore",
    )
    return _step("in", [_adjust(-1, below=0)], scaling.in_cooldown, alarm)


def _wake(queue: str) -> ScalingPolicy:
    alarm = ScalingAlarm(
        role="wake",
        description=f"Starts the first worker: a job is due in {queue} and no worker is there.",
        measure=_formula(NO_WORKER_WAIT, queue, wait=figures.OLDEST_WAIT, workers=figures.WORKERS),
        above=WAKE_AFTER,
    )
    return _step("wake", [_adjust(1, above=0)], WAKE_COOLDOWN, alarm)


def _track(
    role: str,
    scaling: Scaling,
    metric: str,
    target: float,
    *,
    label: pulumi.Input[str] | None = None,
    disable_scale_in: bool = False,
) -> ScalingPolicy:
    configuration = {
        "target_value": target,
        "predefined_metric_specification": {
            "predefined_metric_type": metric,
            **({"resource_label": label} if label is not None else {}),
        },
        "scale_out_cooldown": scaling.out_cooldown,
        "scale_in_cooldown": scaling.in_cooldown,
        "disable_scale_in": disable_scale_in,
    }
    return ScalingPolicy(
        role=role,
        properties={
            "policy_type": "TargetTrackingScaling",
            "target_tracking_scaling_policy_configuration": configuration,
        },
    )


def _step(role: str, steps: Sequence[Mapping[str, Any]], cooldown: int, *alarms: ScalingAlarm) -> ScalingPolicy:
    configuration = {
        # Absolute numbers: any percentage of no replicas is none.
        "adjustment_type": "ChangeInCapacity",
        "metric_aggregation_type": "Maximum",
        "cooldown": cooldown,
        "step_adjustments": list(steps),
    }
    return ScalingPolicy(
        role=role,
        properties={"policy_type": "StepScaling", "step_scaling_policy_configuration": configuration},
        alarms=alarms,
    )


def spare(*, slots: int, last: bool) -> str:
    """What keeps workers, in jobs: the backlog; those under way that the others would have no room for; and, where the
    `last` worker may go as well, for that one every single job."""
    others = f"IF(running > (workers - 1) * {slots * MOST_BUSY:g}, depth + {KEEP}, depth)"
    return f"IF(workers > 1, {others}, (depth + running) * {KEEP})" if last else others


def _adjust(change: int, *, above: float | None = None, below: float | None = None) -> dict[str, Any]:
    """A step. Its bounds are strings, relative to the alarm's threshold."""
    return {
        **({"metric_interval_lower_bound": f"{above:g}"} if above is not None else {}),
        **({"metric_interval_upper_bound": f"{below:g}"} if below is not None else {}),
        "scaling_adjustment": change,
    }


def _figure(metric: str, queue: str) -> Metric:
    return figures.queue_metric(pulumi.get_stack(), queue, metric)


def _formula(expression: str, queue: str, **metrics: str) -> Formula:
    """Several figures, by their ids in `expression`."""
    return Formula(
        id="measure",
        expression=expression,
        label="measure",
        metrics={id_: _figure(metrics[id_], queue) for id_ in sorted(metrics)},
    )
