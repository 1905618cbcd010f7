"""How many replicas run: a service's scalable target, with its policies and their alarms."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.aws.alarms.monitored import MonitoredBalancer
from infra.aws.scaling_policies import ScalingPolicy, queue_policies, request_policies
from infra.component import Component, ComponentArgs
from infra.contracts import Scaling


@dataclass(frozen=True, kw_only=True)
class ScalingArgs(ComponentArgs):
    """`service` is its plain name, `service_name` and `cluster_name` those on AWS. With a `queue` its figures are
    followed, otherwise load and, behind a `balancer`, requests."""

    service: str
    service_name: pulumi.Input[str]
    cluster_name: pulumi.Input[str]
    minimum: int
    scaling: Scaling
    balancer: MonitoredBalancer | None = None
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
        target = self.inner(
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
        policies = (
            request_policies(args.scaling, args.balancer)
            if args.queue is None
            else queue_policies(args.scaling, args.queue, minimum=args.minimum)
        )
        for policy in policies:
            self._policy(policy, target, args.service)
        self.finish({})

    def _policy(self, policy: ScalingPolicy, target: aws.appautoscaling.Target, service: str) -> None:
        made = self.inner(
            policy.role,
            aws.appautoscaling.Policy,
            {
                # From the target's outputs, so that the policy is made after it.
                "service_namespace": target.service_namespace,
                "scalable_dimension": target.scalable_dimension,
                "resource_id": target.resource_id,
                **policy.properties,
            },
        )
        for alarm in policy.alarms:
            self.inner(
                f"{alarm.role}-alarm",
                aws.cloudwatch.MetricAlarm,
                {
                    **alarm.threshold(alarm.missing),
                    "alarm_description": f"{alarm.description} Service {service} of {pulumi.get_stack()}.",
                    "alarm_actions": [made.arn],
                },
            )
