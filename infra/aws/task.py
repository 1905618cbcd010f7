"""Task definitions: containers, their size, their log, and their two roles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pulumi
import pulumi_aws as aws

from infra.aws.containers import EXEC_VOLUMES, Container, check_size
from infra.aws.iam import Statement
from infra.aws.naming import log_group_name, physical_name
from infra.aws.roles import exec_statements, execution_role, task_role
from infra.component import Component

Architecture = Literal["arm64", "x86_64"]
_CPU_ARCHITECTURE: Mapping[Architecture, str] = {"arm64": "ARM64", "x86_64": "X86_64"}


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
class TaskDefinitionArgs:
    """`containers` in the order in which they start; the first essential one is the task's own.

    `prefix` stands before the roles of the inner resources, for components with more than one task definition.
    """

    name: str
    """``api``: in the names of its family and its log group."""
    platform: TaskPlatform
    containers: tuple[Container, ...]
    cpu: float
    memory: int
    """Bytes."""
    repository_arns: Sequence[pulumi.Input[str]] = ()
    """ECR repositories that the images come from; images from elsewhere must be public."""
    statements: tuple[Statement, ...] = ()
    """What the code of the task may do."""
    volumes: tuple[str, ...] = ()
    """Further volumes, besides those that the containers mount."""
    ephemeral_gib: int | None = None
    """Disk of the task in GiB, 21 to 200; None: 20, which cost nothing."""
    prefix: str = ""
    interactive: bool = False
    """Whether `execute-command` may reach it, where the cluster allows that."""


class TaskDefinition:
    """One task definition as inner resources of `owner`: log group, execution role, task role, the definition.

    A change makes a new revision, and the one before stays registered: a rollback needs it. Costs: nothing but its
    logs.
    """

    arn: pulumi.Output[str]
    family: pulumi.Output[str]
    container: str
    """Name of the task's own container."""
    log_group: pulumi.Output[str]
    """Name of its log group; streams are ``<container>/<container>/<task id>``."""
    log_group_arn: pulumi.Output[str]
    execution_role_arn: pulumi.Output[str]
    task_role_arn: pulumi.Output[str] | None
    """None for a task whose code calls no AWS service."""
    resource: aws.ecs.TaskDefinition
    """To depend on."""

    def __init__(self, owner: Component, args: TaskDefinitionArgs) -> None:
        platform, prefix = args.platform, f"{args.prefix}-" if args.prefix else ""
        exec_enabled = args.interactive and platform.exec_enabled
        cpu, memory = check_size(cpu=args.cpu, memory=args.memory)
        names = [container.name for container in args.containers]
        if len(set(names)) != len(names):
            raise ValueError(f"two containers of one task have the same name: {', '.join(names)}")
        self.container = next(container.name for container in args.containers if container.essential)
        group = owner.inner(
            f"{prefix}log",
            aws.cloudwatch.LogGroup,
            {
                "name": log_group_name(args.name),
                "retention_in_days": platform.log_retention_days,
                "kms_key_id": platform.key_arn,
            },
        )
        self.log_group, self.log_group_arn = group.name, group.arn
        self.execution_role_arn, started_by = execution_role(
            owner,
            f"{prefix}execution-role",
            task=args.name,
            cluster_arn=platform.cluster_arn,
            log_group_arn=group.arn,
            secrets=[address for container in args.containers for address in container.secrets.values()],
            repository_arns=args.repository_arns,
            key_arn=platform.key_arn,
        )
        self.task_role_arn = task_role(
            owner,
            f"{prefix}task-role",
            task=args.name,
            cluster_arn=platform.cluster_arn,
            statements=(*args.statements, *(self._exec(platform) if exec_enabled else ())),
        )
        log = {"awslogs-group": group.name, "awslogs-region": platform.region}
        volumes = sorted({*_mounted(args.containers), *args.volumes, *(EXEC_VOLUMES if exec_enabled else ())})
        properties: dict[str, Any] = {
            "family": physical_name(args.name),
            "container_definitions": pulumi.Output.json_dumps(
                [container.to_definition(log=log, exec_enabled=exec_enabled) for container in args.containers]
            ),
            "cpu": cpu,
            "memory": memory,
            "network_mode": "awsvpc",
            "requires_compatibilities": ["FARGATE"],
            "execution_role_arn": self.execution_role_arn,
            "task_role_arn": self.task_role_arn,
            "runtime_platform": {
                "cpu_architecture": _CPU_ARCHITECTURE[platform.architecture],
                "operating_system_family": "LINUX",
            },
            "volumes": [{"name": volume} for volume in volumes],
            "ephemeral_storage": {"size_in_gib": args.ephemeral_gib} if args.ephemeral_gib else None,
            # Otherwise each change takes the revision away that a rollback would go back to.
            "skip_destroy": True,
        }
        # A task that starts before its execution role can read its secrets fails, and counts against the breaker.
        self.resource = owner.inner(f"{prefix}task", aws.ecs.TaskDefinition, properties, depends_on=[started_by])
        self.arn, self.family = self.resource.arn, self.resource.family

    @staticmethod
    def _exec(platform: TaskPlatform) -> tuple[Statement, ...]:
        assert platform.exec_log_group_arn is not None
        return exec_statements(log_group_arn=platform.exec_log_group_arn, key_arn=platform.key_arn)


def _mounted(containers: Sequence[Container]) -> set[str]:
    return {volume for container in containers for volume in container.mounts}
