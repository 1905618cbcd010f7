"""Waits for a rollout's end, and says what went wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.aws.control.clients import Clients
from infra.aws.control.ecs_service import ENDED, EcsService, Service, ServiceDeployment
from infra.aws.control.errors import ControlError
from infra.aws.control.tasks import advice, containers_of, describe, log_tails, why_stopped
from infra.aws.control.verdict import State, Verdict, find, judge, short

_POLL: Final = (3.0, 15.0)
"""Seconds between two looks: the first, and the longest."""
_SETTLE: Final = 60.0
"""Seconds for which answers may contradict each other before that counts as a failure."""
_EVENTS: Final = 3
"""Service events that an error shows."""
_REASONS: Final = 4
"""Different ends of tasks that an error shows."""


@dataclass(frozen=True, kw_only=True)
class RolloutTarget:
    """What should come to run where."""

    cluster: str
    service: str
    """ARN or name."""
    task_definition: str
    timeout: float = 0.0
    """Seconds; `watch` alone needs it."""


def await_rollout(clients: Clients, target: RolloutTarget) -> str:
    """Wait until the deployment of the target's task definition is complete and the primary one.

    Returns the ARN of the service deployment, or the deployment's id where ECS has no record of it any more. Raises
    ControlError with the reason, the tasks that stopped and their last log lines.
    """
    ecs = EcsService(clients, cluster=target.cluster, service=target.service)
    begun = clients.clock.monotonic()
    pause, longest = _POLL
    ours: ServiceDeployment | None = None
    seen_under_way = False
    unsettled_since: float | None = None
    while True:
        service, past = ecs.service(), ecs.history()
        waited = clients.clock.monotonic() - begun
        ours = _same(ours, past) if seen_under_way else find(target.task_definition, past)
        seen_under_way = seen_under_way or (ours is not None and ours.status not in ENDED)
        verdict = judge(target.task_definition, ours, service, past)
        if verdict.state is State.FAILED and not seen_under_way:
            # An earlier deployment of the same task definition, most likely, while the one that
            # `up` has just started does not show yet.
            verdict = Verdict(state=State.UNSETTLED, text=verdict.text)
        match verdict.state:
            case State.DONE:
                return _name(ours, service)
            case State.FAILED:
                raise _failure(clients, target, service, verdict.text)
            case State.WAIT:
                unsettled_since = None
            case State.UNSETTLED:
                unsettled_since = waited if unsettled_since is None else unsettled_since
                if waited - unsettled_since >= _SETTLE:
                    raise _failure(clients, target, service, verdict.text)
        if waited >= target.timeout:
            raise _failure(clients, target, service, _timed_out(target, ours, service))
        clients.clock.sleep(min(pause, max(target.timeout - waited, 0.1)))
        pause = min(pause * 1.3, longest)


def _same(ours: ServiceDeployment | None, past: tuple[ServiceDeployment, ...]) -> ServiceDeployment | None:
    """The deployment under watch as it is now; once it was seen under way, no other takes its place."""
    return next((one for one in past if ours is not None and one.arn == ours.arn), ours)


def _name(ours: ServiceDeployment | None, service: Service | None) -> str:
    if ours is not None:
        return ours.arn
    primary = service.primary if service else None
    return primary.id if primary else ""


def _timed_out(target: RolloutTarget, ours: ServiceDeployment | None, service: Service | None) -> str:
    entry = _entry(target, service)
    progress = f" ({entry.running} of {entry.desired} tasks run, {entry.failed} failed)" if entry else ""
    stop = (
        f" It goes on. To end it: aws ecs stop-service-deployment --service-deployment-arn {ours.arn} "
        "--stop-type ROLLBACK"
        if ours
        else ""
    )
    return f"has not settled after {target.timeout:g} s{progress}.{stop}"


def _entry(target: RolloutTarget, service: Service | None) -> Any:
    entries = [one for one in service.deployments if one.task_definition == target.task_definition] if service else []
    return entries[0] if entries else None


def evidence(clients: Clients, target: RolloutTarget) -> str:
    """What the tasks of the target's task definition left behind, and what the service says. Raises ControlError."""
    service = EcsService(clients, cluster=target.cluster, service=target.service).service()
    return "\n".join([*_tasks_left(clients, target), *_events(service)])


def _failure(clients: Clients, target: RolloutTarget, service: Service | None, text: str) -> ControlError:
    name = target.service.rsplit("/", 1)[-1]
    lines = [f"The rollout of {name} to {short(target.task_definition)} {text}"]
    try:
        lines += _tasks_left(clients, target)
    except ControlError as error:
        lines.append(f"  Its tasks could not be looked at: {error}")
    return ControlError("\n".join([*lines, *_events(service)]))


def _events(service: Service | None) -> list[str]:
    if service is None or not service.events:
        return []
    shown = [f"    {event}" for event in service.events[:_EVENTS]]
    return ["  Latest events of the service, the newest first:", *shown]


def _tasks_left(clients: Clients, target: RolloutTarget) -> list[str]:
    """How the tasks of the wanted task definition ended, and the last lines of the latest."""
    stopped, unwell = _bad_tasks(clients, target)
    ends = Counter(why_stopped(task) for task in stopped)
    lines = [f"  {_count(times)} stopped: {why}.{advice(why)}" for why, times in ends.most_common(_REASONS)]
    if unwell:
        lines.append(f"  {_count(len(unwell))} running, but failing the container health check.")
    shown = max(stopped, key=_ended_at) if stopped else next(iter(unwell), None)
    if shown is not None:
        definitions = containers_of(clients, target.task_definition)
        lines += [tail.text() for tail in log_tails(clients, shown, definitions, wait=bool(stopped))]
    return lines


def _bad_tasks(clients: Clients, target: RolloutTarget) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Tasks of the wanted task definition that stopped (ECS remembers an hour), and those that run unwell."""
    found = []
    for status in ("STOPPED", "RUNNING"):
        arns = clients.pages(
            "ecs",
            "list_tasks",
            "taskArns",
            cluster=target.cluster,
            serviceName=target.service.rsplit("/", 1)[-1],
            desiredStatus=status,
        )
        tasks = describe(clients, target.cluster, arns)
        found.append([task for task in tasks if task.get("taskDefinitionArn") == target.task_definition])
    stopped, running = found
    # What the scheduler ends in the course of a rollback did not fail by itself; it counts when there is nothing else.
    failed = [task for task in stopped if "caling activity initiated by" not in str(task.get("stoppedReason"))]
    return failed or stopped, [task for task in running if task.get("healthStatus") == "UNHEALTHY"]


def _count(number: int) -> str:
    return f"{number} task{'s' if number != 1 else ''}"


def _ended_at(task: Mapping[str, Any]) -> float:
    when = task.get("stoppedAt") or task.get("createdAt")
    return float(when.timestamp()) if when else 0.0
