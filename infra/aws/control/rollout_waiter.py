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
from infra.polling import poll

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
    """Seconds; `await_rollout` alone needs it."""


def await_rollout(clients: Clients, target: RolloutTarget) -> str:
    """Wait until the deployment of the target's task definition is complete and the primary one.

    Returns the ARN of the service deployment, or the deployment's id where ECS has no record of it any more. Raises
    ControlError with the reason, the tasks that stopped and their last log lines.
    """
    rollout = _Rollout(clients, target)
    pause, longest = _POLL
    arrived = poll(
        rollout.arrived, within=target.timeout, pause=pause, growth=1.3, longest=longest, clock=clients.clock
    )
    if arrived is None:
        raise rollout.failure(rollout.timed_out())
    return arrived


class _Rollout:
    """One rollout from look to look."""

    def __init__(self, clients: Clients, target: RolloutTarget) -> None:
        self._clients = clients
        self._target = target
        self._ecs = EcsService(clients, cluster=target.cluster, service=target.service)
        self._service: Service | None = None
        self._ours: ServiceDeployment | None = None
        self._seen_under_way = False
        self._unsettled_since: float | None = None

    def arrived(self) -> str | None:
        """Its name once it is there, None while it is under way; raises ControlError once it has failed."""
        self._service, past = self._ecs.service(), self._ecs.history()
        if self._seen_under_way:
            # Once the deployment was seen under way, no other takes its place.
            self._ours = next((one for one in past if self._ours and one.arn == self._ours.arn), self._ours)
        else:
            self._ours = find(self._target.task_definition, past)
            self._seen_under_way = self._ours is not None and self._ours.status not in ENDED
        verdict = judge(self._target.task_definition, self._ours, self._service, past)
        if verdict.state is State.FAILED and not self._seen_under_way:
            # An earlier deployment of the same task definition, most likely, while the one that
            # `up` has just started does not show yet.
            verdict = Verdict(state=State.UNSETTLED, text=verdict.text)
        match verdict.state:
            case State.DONE:
                return self._name()
            case State.FAILED:
                raise self.failure(verdict.text)
            case State.WAIT:
                self._unsettled_since = None
            case State.UNSETTLED:
                now = self._clients.clock.monotonic()
                self._unsettled_since = now if self._unsettled_since is None else self._unsettled_since
                if now - self._unsettled_since >= _SETTLE:
                    raise self.failure(verdict.text)
        return None

    def timed_out(self) -> str:
        """Why the wait is over, as a clause of `failure`."""
        service, ours = self._service, self._ours
        entries = service.deployments if service else ()
        entry = next((one for one in entries if one.task_definition == self._target.task_definition), None)
        progress = f" ({entry.running} of {entry.desired} tasks run, {entry.failed} failed)" if entry else ""
        stop = (
            f" It goes on. To end it: aws ecs stop-service-deployment --service-deployment-arn {ours.arn} "
            "--stop-type ROLLBACK"
            if ours
            else ""
        )
        return f"has not settled after {self._target.timeout:g} s{progress}.{stop}"

    def failure(self, text: str) -> ControlError:
        """The error, with what the tasks left behind."""
        name = self._target.service.rsplit("/", 1)[-1]
        lines = [f"The rollout of {name} to {short(self._target.task_definition)} {text}"]
        try:
            lines += _tasks_left(self._clients, self._target)
        except ControlError as error:
            lines.append(f"  Its tasks could not be looked at: {error}")
        return ControlError("\n".join([*lines, *_events(self._service)]))

    def _name(self) -> str:
        if self._ours is not None:
            return self._ours.arn
        primary = self._service.primary if self._service else None
        return primary.id if primary else ""


def evidence(clients: Clients, target: RolloutTarget) -> str:
    """What the tasks of the target's task definition left behind, and what the service says. Raises ControlError."""
    service = EcsService(clients, cluster=target.cluster, service=target.service).service()
    return "\n".join([*_tasks_left(clients, target), *_events(service)])


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
