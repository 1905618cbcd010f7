"""Container definitions as data: checked here, because ECS reports a wrong one only when it is registered.

No secret can be written into one: a plain variable is a `str` that the program knows, and a secret is the address of a
pinned version in Secrets Manager, which is checked when it becomes known.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import pulumi

from infra.contracts import CommandHealth, HttpHealth, SecretRef, ServiceSpec, TaskSpec
from infra.settings.tables import ECS_HEALTH, FARGATE_MEMORY_MIB, FARGATE_STOP_TIMEOUT_S, MIB

PINNED_SECRET: Final = re.compile(
    r"arn:[a-z-]+:secretsmanager:[a-z0-9-]+:\d{12}:secret:"
    r"(?:[A-Za-z0-9/_+=.@-]+"  # the secret
    r":[A-Za-z0-9_.-]*::[A-Za-z0-9-]{1,64}"  # key of its JSON, no stage, and the version's id
    r"|rds![A-Za-z0-9/_+=.@-]+:[A-Za-z0-9_.-]*::)"  # a master password, which RDS itself renews: the current one
)
"""The one form of `valueFrom` that these definitions take: a value that changes under a running service would show at
its next restart, one task after the other, with no deployment to roll back."""

USER: Final = "10001:10001"
"""The image's user, by number: the name would be looked up in the image, where another image may mean another."""

STOP_TIMEOUT: Final = (2, FARGATE_STOP_TIMEOUT_S)
TMP: Final = "tmp"
EXEC_VOLUMES: Final = {"ssm-lib": "/var/lib/amazon", "ssm-log": "/var/log/amazon"}
"""What the agent of `execute-command` writes to in a container whose root is read-only."""

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,255}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
Condition = Literal["START", "COMPLETE", "SUCCESS", "HEALTHY"]


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


_HEALTH_BOUNDS: Final = {
    "interval": ECS_HEALTH["interval"],
    "timeout": ECS_HEALTH["timeout"],
    "retries": ECS_HEALTH["retries"],
    "startPeriod": ECS_HEALTH["start_period"],
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


def pinned(name: str, address: pulumi.Input[str]) -> pulumi.Output[str]:
    """The address of a secret, checked when it is known: a value in its place would end up in the open."""

    def check(text: str) -> str:
        if not PINNED_SECRET.fullmatch(text):
            raise ValueError(f"{name} is not bound to a pinned version of a secret in Secrets Manager")
        return text

    # An address is no secret. Marked as one it would make the whole definition one, and previews of it blind.
    return pulumi.Output.unsecret(pulumi.Output.from_input(address).apply(check))


def secret_arn(address: str) -> str:
    """The secret's ARN out of `valueFrom`."""
    return ":".join(address.split(":")[:7])


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
