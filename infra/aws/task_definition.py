"""Task definitions: containers, their size, their log, and their two roles.

Container definitions are checked here, because ECS reports a wrong one only when it is registered. No secret can be
written into one: a plain variable is a `str` that the program knows, and a secret is the address of a pinned version in
Secrets Manager, which is checked when it becomes known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import pulumi
import pulumi_aws as aws

from infra.aws.cluster import TaskPlatform
from infra.aws.iam import Statement
from infra.aws.image import Architecture
from infra.aws.naming import log_group_name, physical_name
from infra.aws.roles import exec_statements, execution_role, task_role
from infra.aws.secrets import pinned
from infra.component import Component
from infra.contracts import CommandHealth, HttpHealth, SecretRef, ServiceSpec, TaskSpec
from infra.settings.tables import ECS_HEALTH, FARGATE_MEMORY_MIB, FARGATE_STOP_TIMEOUT_S, MIB

USER: Final = "10001:10001"
"""The image's user, by number: the name would be looked up in the image, where another image may mean another."""

STOP_TIMEOUT: Final = (2, FARGATE_STOP_TIMEOUT_S)
TMP: Final = "tmp"
EXEC_VOLUMES: Final = {"ssm-lib": "/var/lib/amazon", "ssm-log": "/var/log/amazon"}
"""What the agent of `execute-command` writes to in a container whose root is read-only."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
Condition = Literal["START", "COMPLETE", "SUCCESS", "HEALTHY"]
_CPU_ARCHITECTURE: Mapping[Architecture, str] = {"arm64": "ARM64", "x86_64": "X86_64"}
_HEALTH_BOUNDS: Final = {
    "interval": ECS_HEALTH["interval"],
    "timeout": ECS_HEALTH["timeout"],
    "retries": ECS_HEALTH["retries"],
    "startPeriod": ECS_HEALTH["start_period"],
}


@dataclass(frozen=True, kw_only=True)
class Container:
    """One container of a task. `secrets` are addresses by variable; `mounts` paths by volume."""

    name: str
    image: pulumi.Input[str]
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    port: int | None = None
    health: Mapping[str, Any] | None = None
    """ECS's `healthCheck`."""
    stop_timeout: int = 30
    user: str | None = USER
    mounts: Mapping[str, str] = field(default_factory=lambda: {TMP: "/tmp"})  # noqa: S108 - a volume of the task's own
    after: Mapping[str, Condition] = field(default_factory=dict)
    """Containers of the same task that must have come that far before this one starts."""
    essential: bool = True

    def __post_init__(self) -> None:
        problems = [*self._problems()]
        if problems:
            raise ValueError(f"container {self.name}: {'; '.join(problems)}")

    def _problems(self) -> list[str]:
        found = []
        if not _NAME.fullmatch(self.name):
            found.append("its name must be 1 to 255 letters, digits, '-' or '_'")
        if not self.command:
            found.append("it has no command")
        found += [
            f"{name!r} is no variable" for name in (*self.environment, *self.secrets) if not _VARIABLE.match(name)
        ]
        found += [f"{name} is not a string" for name, value in self.environment.items() if not isinstance(value, str)]
        found += [f"{name} is both plain and secret" for name in self.environment if name in self.secrets]
        low, high = STOP_TIMEOUT
        if not low <= self.stop_timeout <= high:
            found.append(f"stop timeout {self.stop_timeout} s is not {low} to {high} s")
        if self.port is not None and not 1 <= self.port <= 65535:
            found.append(f"port {self.port} is none")
        for key, (least, most) in _HEALTH_BOUNDS.items():
            if self.health is not None and not least <= self.health[key] <= most:
                found.append(f"health check {key} {self.health[key]} is not {least} to {most}")
        if self.health is not None and self.health["timeout"] >= self.health["interval"]:
            found.append("the health check's timeout is not below its interval")
        return found

    def to_definition(self, *, log: Mapping[str, pulumi.Input[str]], exec_enabled: bool) -> dict[str, Any]:
        """In ECS's own words, with keys in a fixed order so that a preview shows only what changed."""
        mounts = {**self.mounts, **(EXEC_VOLUMES if exec_enabled else {})}
        return {
            "name": self.name,
            "image": self.image,
            "essential": self.essential,
            "command": list(self.command),
            **({"user": self.user} if self.user else {}),
            # An empty variable is one that is not set; ECS gives it back as none, which would show as a change.
            "environment": [
                {"name": name, "value": value} for name, value in sorted(self.environment.items()) if value
            ],
            "secrets": [{"name": name, "valueFrom": pinned(name, self.secrets[name])} for name in sorted(self.secrets)],
            "portMappings": [{"containerPort": self.port, "hostPort": self.port, "protocol": "tcp"}]
            if self.port
            else [],
            **({"healthCheck": dict(self.health)} if self.health else {}),
            "stopTimeout": self.stop_timeout,
            "readonlyRootFilesystem": True,
            "linuxParameters": {"initProcessEnabled": True, "capabilities": {"drop": ["ALL"]}},
            "mountPoints": [
                {"sourceVolume": volume, "containerPath": path, "readOnly": False}
                for volume, path in sorted(mounts.items())
            ],
            **(
                {"dependsOn": [{"containerName": name, "condition": self.after[name]} for name in sorted(self.after)]}
                if self.after
                else {}
            ),
            "logConfiguration": {
                "logDriver": "awslogs",
                "options": {
                    **log,
                    "awslogs-stream-prefix": self.name,
                    # A log service that is slow must not stop the application: lines are dropped instead.
                    "mode": "non-blocking",
                    "max-buffer-size": "25m",
                },
            },
        }


def of_service(spec: ServiceSpec, *, image: pulumi.Input[str], secrets: Mapping[str, SecretRef]) -> Container:
    """The container of a service; KeyError for a secret variable that nobody gives."""
    return Container(
        name=spec.name,
        image=image,
        command=spec.command,
        environment=spec.environment,
        secrets=_bound(spec.secrets, secrets),
        port=spec.port,
        health=_health(spec),
        stop_timeout=spec.stop_timeout,
    )


def of_task(spec: TaskSpec, *, image: pulumi.Input[str], secrets: Mapping[str, SecretRef]) -> Container:
    """The container of a process that runs once."""
    return Container(
        name=spec.name,
        image=image,
        command=spec.command,
        environment=spec.environment,
        secrets=_bound(spec.secrets, secrets),
        stop_timeout=FARGATE_STOP_TIMEOUT_S,
    )


@dataclass(frozen=True, kw_only=True)
class TaskDefinitionArgs:
    """`containers` in the order in which they start.

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
    log_group: pulumi.Output[str]
    """Name of its log group; streams are ``<container>/<container>/<task id>``."""
    execution_role_arn: pulumi.Output[str]
    task_role_arn: pulumi.Output[str] | None
    """None for a task whose code calls no AWS service."""

    def __init__(self, owner: Component, args: TaskDefinitionArgs) -> None:
        platform, prefix = args.platform, f"{args.prefix}-" if args.prefix else ""
        exec_log = platform.exec_log_group_arn if args.interactive else None
        exec_enabled = exec_log is not None
        cpu, memory = check_size(cpu=args.cpu, memory=args.memory)
        names = [container.name for container in args.containers]
        if len(set(names)) != len(names):
            raise ValueError(f"two containers of one task have the same name: {', '.join(names)}")
        group = owner.inner(
            f"{prefix}log",
            aws.cloudwatch.LogGroup,
            {
                "name": log_group_name(args.name),
                "retention_in_days": platform.log_retention_days,
                "kms_key_id": platform.key_arn,
            },
        )
        self.log_group = group.name
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
            statements=(
                *args.statements,
                *(exec_statements(exec_log, platform.key_arn) if exec_log is not None else ()),
            ),
        )
        log = {"awslogs-group": group.name, "awslogs-region": platform.region}
        mounted = {volume for container in args.containers for volume in container.mounts}
        volumes = sorted({*mounted, *(EXEC_VOLUMES if exec_enabled else ())})
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
        made = owner.inner(f"{prefix}task", aws.ecs.TaskDefinition, properties, depends_on=[started_by])
        self.arn = made.arn


def check_size(*, cpu: float, memory: int) -> tuple[str, str]:
    """Fargate's units of 1/1024 vCPU and MiB, as strings; ValueError for a pair that it does not have."""
    mebibytes = memory // MIB
    if mebibytes not in FARGATE_MEMORY_MIB.get(cpu, ()):
        raise ValueError(f"Fargate has no size of {cpu:g} vCPU with {mebibytes} MiB")
    return str(round(cpu * 1024)), str(mebibytes)


def _bound(names: tuple[str, ...], secrets: Mapping[str, SecretRef]) -> dict[str, pulumi.Input[str]]:
    return {name: secrets[name].value for name in names}


def _health(spec: ServiceSpec) -> dict[str, Any]:
    check: HttpHealth | CommandHealth = spec.health
    return {
        # ECS knows no HTTP check and the image holds no curl; CMD runs it without a shell.
        "command": ["CMD", *spec.health_command],
        "interval": check.interval,
        "timeout": check.timeout,
        "retries": check.retries,
        "startPeriod": check.start_period,
    }
