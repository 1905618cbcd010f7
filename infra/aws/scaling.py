"""How many replicas run: the thresholds of the settings as Application Auto Scaling's policies.

Scaling out takes the largest number that any policy asks for; target tracking scales in only when all of its policies
agree. What an alarm does without data is said where it is made.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from infra.aws import queue_metrics as figures
from infra.component import Component, ComponentArgs
from infra.contracts import Scaling

MINUTE: Final = 60
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
class ScalingArgs(ComponentArgs):
    """`service` is its plain name, `service_name` and `cluster_name` those on AWS. With a `queue` its figures are
    followed, otherwise load and, given the two ARN suffixes, requests."""

    service: str
    service_name: pulumi.Input[str]
    cluster_name: pulumi.Input[str]
    minimum: int
    scaling: Scaling
    balancer_suffix: pulumi.Input[str] | None = None
    """``app/<name>/<id>``."""
    target_suffix: pulumi.Input[str] | None = None
    """``targetgroup/<name>/<id>``."""
    queue: str | None = None
    ends: pulumi.ResourceHook | None = None
    """What is done before the target goes: `infra.aws.control.desired_count.scaling_ends`."""


class ServiceScaling(Component):
    """The scaling of one service.

    Creates: a scalable target, a policy for each measure that `scaling` names, and the alarms of the step policies;
    target tracking makes its own. Costs: 0.10 USD a month for each alarm, two of them for each tracked measure.
    Exports: nothing. Replaces: nothing; a new threshold holds from the next minute on.
    """

    def __init__(self, name: str, args: ScalingArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:ServiceScaling", name, opts, args.transforms)
        self._args, self._scaling = args, args.scaling
        self._target = self.inner(
            "target",
            aws.appautoscaling.Target,
            {
                "service_namespace": "ecs",
                "scalable_dimension": "ecs:service:DesiredCount",
                "resource_id": pulumi.Output.concat("service/", args.cluster_name, "/", args.service_name),
                "min_capacity": args.minimum,
                "max_capacity": args.scaling.max_replicas,
            },
            hooks=pulumi.ResourceHookBinding(before_delete=[args.ends]) if args.ends else None,
        )
        if args.queue is None:
            self._follow_requests()
        else:
            self._follow_queue(args.queue)
        self.finish({})

    def _follow_requests(self) -> None:
        scaling, balancer, target = self._scaling, self._args.balancer_suffix, self._args.target_suffix
        if scaling.cpu_percent is not None:
            self._track("cpu", "ECSServiceAverageCPUUtilization", scaling.cpu_percent)
        if scaling.memory_percent is not None:
            self._track("memory", "ECSServiceAverageMemoryUtilization", scaling.memory_percent)
        if balancer is None or target is None:
            return
        if scaling.requests_per_second is not None:
            label = pulumi.Output.concat(balancer, "/", target)
            # The metric counts the requests of a minute.
            self._track("requests", "ALBRequestCountPerTarget", scaling.requests_per_second * MINUTE, label=label)
        if scaling.latency_p95_ms is not None:
            self._follow_latency(scaling.latency_p95_ms, balancer, target)

    def _follow_latency(self, limit: int, balancer: pulumi.Input[str], target: pulumi.Input[str]) -> None:
        """In steps: latency does not fall in proportion to replicas, as target tracking assumes. It never removes one;
        the load does, when it goes."""
        policy = self._step("latency", [_adjust(1, above=0)], self._scaling.out_cooldown)
        self._alarm(
            "latency",
            f"Adds a replica: 95 % of answers took up to more than {limit} ms for {SLOW_MINUTES} minutes.",
            policy,
            {
                "namespace": "AWS/ApplicationELB",
                "metric_name": "TargetResponseTime",
                "dimensions": {"LoadBalancer": balancer, "TargetGroup": target},
                "extended_statistic": "p95",
                # A percentile of a handful of requests says nothing.
                "evaluate_low_sample_count_percentiles": "ignore",
                "period": MINUTE,
            },
            above=limit / 1000,
            periods=SLOW_MINUTES,
            # No requests, no latency.
            missing="notBreaching",
        )

    def _follow_queue(self, queue: str) -> None:
        scaling = self._scaling
        if scaling.backlog_high is not None:
            self._add_for_backlog(queue, scaling.backlog_high)
        if scaling.backlog_low is not None:
            self._remove_when_short(queue, scaling.backlog_low)
        if scaling.cpu_percent is not None:
            # It only adds: a worker that waits on the network has an idle processor and a full queue.
            self._track("cpu", "ECSServiceAverageCPUUtilization", scaling.cpu_percent, disable_scale_in=True)
        if self._args.minimum == 0:
            self._wake(queue)

    def _add_for_backlog(self, queue: str, high: int) -> None:
        most, wait = self._scaling.max_replicas, self._scaling.wait
        steps = [
            _adjust(max(1, ceil(most * share)), above=times * high, below=end * high if end else None)
            for (times, share), end in zip(STEPS, [*(times for times, _ in STEPS[1:]), None], strict=True)
        ]
        # One policy for both alarms: its cooldown then keeps the second from adding what the first has just added.
        policy = self._step("out", steps, self._scaling.out_cooldown)
        self._alarm(
            "backlog",
            f"Adds workers: more than {high} jobs wait in {queue}.",
            policy,
            _figure(figures.QUEUE_DEPTH, queue),
            above=high,
            # Without figures nobody knows of a backlog, and a guess would cost money.
            missing="notBreaching",
        )
        if wait is None:
            return
        self._alarm(
            "wait",
            f"Adds workers: the oldest job in {queue} has been waiting for more than {wait} s.",
            policy,
            _figure(figures.OLDEST_WAIT, queue)
            if self._args.minimum
            else _formula(WORKERS_WAIT, queue, wait=figures.OLDEST_WAIT, workers=figures.WORKERS),
            above=wait,
            missing="notBreaching",
        )

    def _remove_when_short(self, queue: str, low: int) -> None:
        policy = self._step("in", [_adjust(-1, below=0)], self._scaling.in_cooldown)
        expression = spare(slots=self._scaling.slots or 1, last=self._args.minimum == 0)
        measured = _formula(
            expression, queue, depth=figures.QUEUE_DEPTH, running=figures.RUNNING_JOBS, workers=figures.WORKERS
        )
        self._alarm(
            "short",
            f"Removes a worker: fewer than {low} jobs have waited in {queue} for {SCALE_IN_MINUTES} minutes, "
            "and the other workers have room for those under way.",
            policy,
            measured,
            below=low,
            periods=SCALE_IN_MINUTES,
            # Without figures everything stays as it is.
            missing="ignore",
        )

    def _wake(self, queue: str) -> None:
        policy = self._step("wake", [_adjust(1, above=0)], WAKE_COOLDOWN)
        self._alarm(
            "wake",
            f"Starts the first worker: a job is due in {queue} and no worker is there.",
            policy,
            _formula(NO_WORKER_WAIT, queue, wait=figures.OLDEST_WAIT, workers=figures.WORKERS),
            above=WAKE_AFTER,
            missing="notBreaching",
        )

    # -- policies and alarms

    def _track(
        self,
        role: str,
        metric: str,
        target: float,
        *,
        label: pulumi.Input[str] | None = None,
        disable_scale_in: bool = False,
    ) -> None:
        self._policy(
            role,
            "TargetTrackingScaling",
            target_tracking_scaling_policy_configuration={
                "target_value": target,
                "predefined_metric_specification": {
                    "predefined_metric_type": metric,
                    **({"resource_label": label} if label is not None else {}),
                },
                "scale_out_cooldown": self._scaling.out_cooldown,
                "scale_in_cooldown": self._scaling.in_cooldown,
                "disable_scale_in": disable_scale_in,
            },
        )

    def _step(self, role: str, steps: Sequence[Mapping[str, Any]], cooldown: int) -> aws.appautoscaling.Policy:
        return self._policy(
            role,
            "StepScaling",
            step_scaling_policy_configuration={
                # Absolute numbers: any percentage of no replicas is none.
                "adjustment_type": "ChangeInCapacity",
                "metric_aggregation_type": "Maximum",
                "cooldown": cooldown,
                "step_adjustments": list(steps),
            },
        )

    def _policy(self, role: str, kind: str, **configuration: Any) -> aws.appautoscaling.Policy:
        return self.inner(
            role,
            aws.appautoscaling.Policy,
            {
                "policy_type": kind,
                # From the target's outputs, so that the policy is made after it.
                "service_namespace": self._target.service_namespace,
                "scalable_dimension": self._target.scalable_dimension,
                "resource_id": self._target.resource_id,
                **configuration,
            },
        )

    def _alarm(
        self,
        role: str,
        description: str,
        policy: aws.appautoscaling.Policy,
        measured: Mapping[str, Any],
        *,
        missing: str,
        above: float | None = None,
        below: float | None = None,
        periods: int = 1,
    ) -> None:
        self.inner(
            f"{role}-alarm",
            aws.cloudwatch.MetricAlarm,
            {
                "alarm_description": f"{description} Service {self._args.service} of {pulumi.get_stack()}.",
                **measured,
                "comparison_operator": "LessThanThreshold" if above is None else "GreaterThanThreshold",
                "threshold": below if above is None else above,
                "evaluation_periods": periods,
                "datapoints_to_alarm": periods,
                "treat_missing_data": missing,
                "alarm_actions": [policy.arn],
            },
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


def _figure(metric: str, queue: str) -> dict[str, Any]:
    return figures.figure(metric, stack=pulumi.get_stack(), queue=queue)


def _formula(expression: str, queue: str, **metrics: str) -> dict[str, Any]:
    """Several figures, by their ids in `expression`, as the measure of an alarm."""
    return {
        "metric_queries": [
            {"id": "measure", "expression": expression, "label": "measure", "return_data": True},
            *(figures.query(metrics[id_], id=id_, stack=pulumi.get_stack(), queue=queue) for id_ in sorted(metrics)),
        ]
    }
