"""What can be learnt of a task: why it stopped, how its containers ended, and what they wrote last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from infra.aws.control.clients import AwsError, Clients
from infra.aws.control.errors import ControlError
from infra.polling import poll

LAST_LINES: Final = 20
_LONGEST: Final = 500
"""Characters of a log line that an error message shows."""
_LOG_DELAY: Final = 12.0
"""Seconds to wait for lines: the log driver sends them in the background, and the last come after the task's end."""
_AT_ONCE: Final = 100
"""Tasks that DescribeTasks takes (ECS API reference)."""

_ADVICE: Final = (
    ("CannotPullContainerError", "Is the image in the registry, for this processor, and is there a way to it (NAT)?"),
    ("unable to pull secrets", "May the execution role read these secrets, and do their pinned versions exist?"),
    ("ResourceInitializationError", "Can the subnets reach AWS (NAT gateway or endpoints), and may the role do this?"),
    ("OutOfMemory", "Give it more memory: api.memory or worker.memory."),
    ("ELB health checks", "The load balancer got no good answer in time: see the log, api.port and api.health."),
    ("failed container health checks", "The container's own check failed: see the log and the health settings."),
)


@dataclass(frozen=True, kw_only=True)
class LogTail:
    """The last lines of one container, and the command that shows all."""

    container: str
    lines: tuple[str, ...]
    command: str
    trouble: str = ""
    """Why there are no lines, where that is known."""

    def text(self) -> str:
        """For an error message: indented, with its heading."""
        if not self.lines:
            return (
                f"  {self.container} has written nothing{f' ({self.trouble})' if self.trouble else ''}: {self.command}"
            )
        shown = "".join(f"\n    {line[:_LONGEST]}" for line in self.lines)
        return f"  Last lines of {self.container}:{shown}\n  All of them: {self.command}"


def describe(clients: Clients, cluster: str, arns: Sequence[str]) -> list[dict[str, Any]]:
    """The tasks with these ARNs, as far as ECS knows them: a new one may be missing for some seconds."""
    found: list[dict[str, Any]] = []
    for first in range(0, len(arns), _AT_ONCE):
        chunk = list(arns[first : first + _AT_ONCE])
        found += clients.call("ecs", "describe_tasks", cluster=cluster, tasks=chunk).get("tasks", [])
    return found


def containers_of(clients: Clients, task_definition: str) -> list[dict[str, Any]]:
    """The container definitions of a task definition."""
    answer = clients.call("ecs", "describe_task_definition", taskDefinition=task_definition)
    return list(answer["taskDefinition"].get("containerDefinitions", []))


def ended(task: Mapping[str, Any], definitions: Sequence[Mapping[str, Any]]) -> dict[str, int | None]:
    """Exit codes of the essential containers, None for one that never ran.

    Only what the definition names counts: GuardDuty adds containers of its own to Fargate tasks, and those end as they
    like.
    """
    essential = {str(one["name"]) for one in definitions if one.get("essential", True)}
    codes = {str(one["name"]): one.get("exitCode") for one in task.get("containers", [])}
    return {name: codes.get(name) for name in sorted(essential)}


def why_stopped(task: Mapping[str, Any]) -> str:
    """The end of a task in one line: ECS's reason, and each container's exit code and reason."""
    parts = [str(task.get("stoppedReason") or task.get("stopCode") or "no reason given").rstrip(".")]
    for container in task.get("containers", []):
        code, reason = container.get("exitCode"), container.get("reason")
        if code not in (None, 0) or reason:
            shown = [f"exit code {code}{_meaning(code)}"] if code is not None else []
            parts.append(f"{container['name']}: {', '.join([*shown, *([str(reason)] if reason else [])])}")
        elif container.get("healthStatus") == "UNHEALTHY":
            parts.append(f"{container['name']}: failed container health checks")
    return "; ".join(parts)


def advice(text: str) -> str:
    """What usually helps against a reason, with a space before it; empty when nothing is known."""
    return next((f" {hint}" for sign, hint in _ADVICE if sign in text), "")


def _meaning(code: int) -> str:
    return {137: " (killed: out of memory, or it did not stop in time)", 139: " (crashed)", 143: " (stopped)"}.get(
        code, ""
    )


def log_tails(
    clients: Clients, task: Mapping[str, Any], definitions: Sequence[Mapping[str, Any]], *, wait: bool = True
) -> list[LogTail]:
    """The last lines of the containers that log to CloudWatch. Never fails: it serves to explain a failure."""
    identifier = str(task["taskArn"]).rsplit("/", 1)[-1]
    tails = []
    for definition in definitions:
        config = definition.get("logConfiguration", {})
        options = config.get("options", {})
        group, prefix = options.get("awslogs-group"), options.get("awslogs-stream-prefix")
        if config.get("logDriver") != "awslogs" or not group or not prefix:
            continue
        stream = f"{prefix}/{definition['name']}/{identifier}"
        tails.append(_tail(clients, str(definition["name"]), group, stream, wait=wait))
    return tails


def _tail(clients: Clients, container: str, group: str, stream: str, *, wait: bool) -> LogTail:
    command = f"aws logs tail {group} --log-stream-names {stream} --since 1d --region {clients.region}"
    try:
        lines = _settled(clients, group, stream) if wait else _lines(clients, group, stream)
    except ControlError as error:
        return LogTail(container=container, lines=(), command=command, trouble=str(error))
    return LogTail(container=container, lines=lines, command=command)


def _settled(clients: Clients, group: str, stream: str) -> tuple[str, ...]:
    """The lines once there are some and no more come."""
    seen: tuple[str, ...] = ()

    def no_more() -> tuple[str, ...] | None:
        nonlocal seen
        before, seen = seen, _lines(clients, group, stream)
        return seen if seen and seen == before else None

    return poll(no_more, within=_LOG_DELAY, pause=2.0, clock=clients.clock) or seen


def _lines(clients: Clients, group: str, stream: str) -> tuple[str, ...]:
    try:
        answer = clients.call(
            "logs",
            "get_log_events",
            logGroupName=group,
            logStreamName=stream,
            limit=LAST_LINES,
            startFromHead=False,
        )
    except AwsError as error:
        if error.code == "ResourceNotFoundException":  # no stream before the first line
            return ()
        raise
    return tuple(line for event in answer.get("events", []) for line in str(event["message"]).splitlines())[
        -LAST_LINES:
    ]
