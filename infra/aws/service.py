"""The application's long-running processes on ECS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from infra.aws.balancer import Balancer
from infra.aws.cluster import Cluster
from infra.aws.control.explain import explained
from infra.aws.roles import scale_in_protection
from infra.aws.rollback_alarms import RollbackAlarm, error_share, failing_jobs, slow_answers
from infra.aws.scaling import ScalingArgs, ServiceScaling
from infra.aws.task_definition import TaskDefinition, TaskDefinitionArgs, of_service
from infra.component import Component, ComponentArgs
from infra.contracts import Image, SecretRef, ServiceSpec

ON_DEMAND: Final = "FARGATE"
SPOT: Final = "FARGATE_SPOT"
_MARGIN: Final = 120
"""Seconds for the provider to see the end of a rollout that used all of its time."""


@dataclass(frozen=True, kw_only=True)
class ServiceArgs(ComponentArgs):
    """`secrets` must hold every variable that `spec` asks for; `after` is what must be done before a task starts."""

    cluster: Cluster
    image: Image
    spec: ServiceSpec
    secrets: Mapping[str, SecretRef]
    repository_arns: Sequence[pulumi.Input[str]] = ()
    after: Sequence[pulumi.Resource] = ()
    scaling_ends: pulumi.ResourceHook | None = None
    """What is done before scaling goes: `infra.aws.control.desired_count.scaling_ends`."""


@dataclass(frozen=True, kw_only=True)
class ApiServiceArgs(ServiceArgs):
    balancer: Balancer
    error_percent: int
    """Share of answers with a 5xx status that undoes a rollout."""
    latency_p95_ms: int
    """Latency at which alerts begin; `infra.aws.rollback_alarms.SLOWER` times as much undoes a rollout."""


@dataclass(frozen=True, kw_only=True)
class WorkerServiceArgs(ServiceArgs):
    failed_jobs: int
    """Jobs that fail for good within five minutes of a rollout and undo it."""


class Service(Component):
    """What services have in common: task definition, service, rollback alarm, scaling."""

    name: pulumi.Output[str]
    arn: pulumi.Output[str]
    task_definition_arn: pulumi.Output[str]
    log_group: pulumi.Output[str]
    spec: ServiceSpec
    resource: aws.ecs.Service
    """To depend on: it is there once the rollout has settled."""

    def _build(
        self,
        args: ServiceArgs,
        *,
        group: pulumi.Input[str],
        alarms: Mapping[str, RollbackAlarm],
        more: Mapping[str, Any],
        after: Sequence[pulumi.Resource],
    ) -> None:
        spec, cluster = args.spec, args.cluster
        self.spec = spec
        task = TaskDefinition(
            self,
            TaskDefinitionArgs(
                name=spec.name,
                platform=cluster.platform,
                containers=(of_service(spec, image=args.image.reference, secrets=args.secrets),),
                cpu=spec.cpu,
                memory=spec.memory,
                repository_arns=args.repository_arns,
                statements=(scale_in_protection(cluster.arn),) if spec.queue else (),
                interactive=True,
            ),
        )
        undo = [self.inner(role, aws.cloudwatch.MetricAlarm, alarm.properties()) for role, alarm in alarms.items()]
        self.resource = self.inner(
            "service",
            aws.ecs.Service,
            {
                "cluster": cluster.arn,
                "task_definition": task.arn,
                "desired_count": spec.replicas,
                "capacity_provider_strategies": capacity(spec),
                "platform_version": "LATEST",
                "network_configuration": {
                    "subnets": cluster.network.task_subnets,
                    "security_groups": [group],
                    "assign_public_ip": cluster.network.assign_public_ip,
                },
                "deployment_minimum_healthy_percent": spec.rollout.minimum_healthy_percent,
                "deployment_maximum_percent": spec.rollout.maximum_percent,
                "deployment_circuit_breaker": {"enable": True, "rollback": True},
                "alarms": {"alarm_names": [alarm.name for alarm in undo], "enable": True, "rollback": True},
                # It moves tasks by starting new ones first, which needs room above the wanted number.
                "availability_zone_rebalancing": "ENABLED" if spec.rollout.maximum_percent > 100 else "DISABLED",
                "enable_ecs_managed_tags": True,
                "propagate_tags": "SERVICE",
                "enable_execute_command": cluster.platform.exec_enabled,
                # Otherwise `up` would end well while ECS takes the new version back.
                "wait_for_steady_state": True,
                # Not with `sigint_rollback`: releases 6.53 and 6.54 of the upstream provider took the end of each poll
                # for a Ctrl-C and healthy versions back (terraform-provider-aws#49031), and what comes after the stop
                # is still being mended there (#49243). ECS ends a rollout without anybody watching, by the breaker and
                # the alarms, and the next `up` waits for it.
                **more,
            },
            depends_on=[cluster.capacity, *after],
            # Scaling sets the number from then on: `up` must not take replicas away under load. Nothing would show as
            # changed when scaling goes, so its target sets the number then (`scaling_ends`).
            ignore_changes=["desired_count"] if spec.scaling else None,
            custom_timeouts=_timeouts(spec.rollout.timeout + _MARGIN),
            hooks=explained(spec.name),
        )
        self.name, self.arn = self.resource.name, self.resource.arn
        self.task_definition_arn, self.log_group = task.arn, task.log_group

    def _scale(self, name: str, args: ServiceArgs, **measured: Any) -> None:
        """Scale where the settings ask for it, on what `measured` says of `ScalingArgs`."""
        spec = args.spec
        if spec.scaling is None:
            return
        ServiceScaling(
            f"{name}-scaling",
            ScalingArgs(
                service=spec.name,
                service_name=self.name,
                cluster_name=args.cluster.name,
                minimum=spec.replicas,
                scaling=spec.scaling,
                ends=args.scaling_ends,
                **measured,
            ),
            pulumi.ResourceOptions(parent=self),
        )


class ApiService(Service):
    """The API on Fargate, behind the load balancer.

    Creates: a log group, one or two roles, a task definition, alarms that undo a bad rollout, the service, and its
    scaling where the settings ask for it. Costs: at 0.5 vCPU and 1 GiB on ARM about 14 USD a month and replica.
    Exports: `name`, `arn`, `task_definition_arn`, `log_group`, `url`. Replaces: nothing; every change of code, setting
    or secret is a new task definition, which takes over replica by replica, and is taken back when its tasks do not get
    healthy or its answers fail.
    """

    url: pulumi.Output[str]

    def __init__(self, name: str, args: ApiServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:ApiService", name, opts, args.transforms)
        spec, balancer = args.spec, args.balancer
        answers: dict[str, Any] = {"service": spec.name, "balancer": balancer.monitored}
        self._build(
            args,
            group=args.cluster.network.groups.api,
            alarms={
                "rollback-errors": error_share(percent=args.error_percent, **answers),
                "rollback-latency": slow_answers(milliseconds=args.latency_p95_ms, **answers),
            },
            more={
                "load_balancers": [
                    {
                        "target_group_arn": balancer.target_group_arn,
                        "container_name": spec.name,
                        "container_port": spec.port,
                    }
                ],
                "health_check_grace_period_seconds": spec.health.start_period,
            },
            after=[*balancer.before_traffic, *args.after],
        )
        self.url = balancer.url
        self._scale(name, args, balancer=balancer.monitored)
        self.finish({"name": self.name, "arn": self.arn, "url": self.url})


class WorkerService(Service):
    """The workers of one queue on Fargate; with `spec.spot` those above the floor on Fargate Spot.

    Creates: a log group, two roles, a task definition, an alarm that undoes a bad rollout, the service, and its scaling
    where the settings ask for it. Costs: at 0.5 vCPU and 1 GiB on ARM about 14 USD a month and replica, on Spot about
    30 % of that. Exports: `name`, `arn`, `task_definition_arn`, `log_group`. Replaces: nothing. A worker that is
    stopped finishes its jobs within its stop timeout; a busy one asks ECS to stop an idle one instead.
    """

    def __init__(self, name: str, args: WorkerServiceArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:WorkerService", name, opts, args.transforms)
        spec = args.spec
        if spec.queue is None:
            raise ValueError(f"{spec.name} serves no queue and is no worker")
        self._build(
            args,
            group=args.cluster.network.groups.worker,
            alarms={"rollback-failed-jobs": failing_jobs(service=spec.name, queue=spec.queue, jobs=args.failed_jobs)},
            # Without it the provider replaces the service when its strategies change, as they do with the floor.
            more={"force_new_deployment": True},
            after=args.after,
        )
        self._scale(name, args, queue=spec.queue)
        self.finish({"name": self.name, "arn": self.arn})


def capacity(spec: ServiceSpec) -> list[dict[str, Any]]:
    """Strategies from the first day on: a service that began with a launch type would be replaced to get them."""
    if not spec.spot:
        return [{"capacity_provider": ON_DEMAND, "base": 0, "weight": 1}]
    above = {"capacity_provider": SPOT, "base": 0, "weight": 1}
    if spec.replicas == 0:
        return [above]
    # The floor cannot be taken away; only what comes on top of it can.
    return [{"capacity_provider": ON_DEMAND, "base": spec.replicas, "weight": 0}, above]


def _timeouts(seconds: int) -> pulumi.CustomTimeouts:
    return pulumi.CustomTimeouts(create=f"{seconds}s", update=f"{seconds}s", delete=f"{seconds}s")
