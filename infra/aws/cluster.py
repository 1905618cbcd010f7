"""Where tasks run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pulumi
import pulumi_aws as aws

from infra.aws.image import Architecture
from infra.aws.naming import log_group_name
from infra.aws.network import Network
from infra.component import Component, ComponentArgs

Insights = Literal["disabled", "enabled", "enhanced"]
PROVIDERS = ("FARGATE", "FARGATE_SPOT")


@dataclass(frozen=True, kw_only=True)
class TaskPlatform:
    """What all tasks of a cluster share."""

    cluster_arn: pulumi.Input[str]
    region: pulumi.Input[str]
    architecture: Architecture = "arm64"
    log_retention_days: int = 30
    key_arn: pulumi.Input[str] | None = None
    """KMS key of secrets and logs; None: AWS's own."""
    exec_log_group_arn: pulumi.Input[str] | None = None
    """Where sessions of `execute-command` are recorded; None where it is switched off."""

    @property
    def exec_enabled(self) -> bool:
        return self.exec_log_group_arn is not None


@dataclass(frozen=True, kw_only=True)
class ClusterArgs(ComponentArgs):
    """`network` is where the cluster's tasks live. `region` is the stack's."""

    network: Network
    region: pulumi.Input[str]
    architecture: Architecture = "arm64"
    insights: Insights = "enabled"
    """Container Insights. `enhanced` has figures of single tasks, at several times the price."""
    log_retention_days: int = 30
    key_arn: pulumi.Input[str] | None = None
    """KMS key of secrets and logs; None: AWS's own."""
    exec_enabled: bool = False
    """Let people open a shell in running tasks; what they type is recorded."""


class Cluster(Component):
    """An ECS cluster of Fargate and Fargate Spot.

    Creates: the cluster, its capacity providers, and with `exec_enabled` the log group of sessions. Costs: nothing by
    itself; Container Insights about 0.30 USD a month for each of a service's dozen metrics. Exports: `arn`, `name`,
    `network`, `platform` for task definitions and `capacity` for services to depend on. Replaces: nothing.
    """

    arn: pulumi.Output[str]
    name: pulumi.Output[str]
    network: Network
    platform: TaskPlatform
    capacity: pulumi.Resource
    """The capacity providers: a service that outlives them could not be deleted."""

    def __init__(self, name: str, args: ClusterArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:Cluster", name, opts, args.transforms)
        self.network = args.network
        sessions = self._sessions(args) if args.exec_enabled else None
        cluster = self.inner(
            "cluster",
            aws.ecs.Cluster,
            {
                "settings": [{"name": "containerInsights", "value": args.insights}],
                "configuration": {"execute_command_configuration": _exec_configuration(args, sessions)},
            },
        )
        self.arn, self.name = cluster.arn, cluster.name
        self.capacity = self.inner(
            "capacity",
            aws.ecs.ClusterCapacityProviders,
            {
                "cluster_name": cluster.name,
                "capacity_providers": list(PROVIDERS),
                "default_capacity_provider_strategies": [{"capacity_provider": "FARGATE", "weight": 1}],
            },
        )
        self.platform = TaskPlatform(
            cluster_arn=cluster.arn,
            region=args.region,
            architecture=args.architecture,
            log_retention_days=args.log_retention_days,
            key_arn=args.key_arn,
            exec_log_group_arn=sessions.arn if sessions else None,
        )
        self.finish({"arn": self.arn, "name": self.name})

    def _sessions(self, args: ClusterArgs) -> aws.cloudwatch.LogGroup:
        return self.inner(
            "exec-log",
            aws.cloudwatch.LogGroup,
            {
                "name": log_group_name("exec"),
                "retention_in_days": args.log_retention_days,
                "kms_key_id": args.key_arn,
            },
        )


def _exec_configuration(args: ClusterArgs, sessions: aws.cloudwatch.LogGroup | None) -> dict[str, object]:
    if sessions is None:
        return {"logging": "NONE"}
    return {
        **({"kms_key_id": args.key_arn} if args.key_arn else {}),
        "logging": "OVERRIDE",
        "log_configuration": {
            "cloud_watch_log_group_name": sessions.name,
            "cloud_watch_encryption_enabled": args.key_arn is not None,
        },
    }
