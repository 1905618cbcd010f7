"""Runs one task to its end, once: a repeated call finds the task that is under way instead of starting a second."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from infra.aws.control.clients import AwsError, Clients
from infra.aws.control.errors import ControlError
from infra.aws.control.tasks import LogTail, advice, containers_of, describe, ended, log_tails, why_stopped
from infra.polling import poll

_POLL: Final = (2.0, 10.0)
"""Seconds between two looks at a task: the first, and the longest."""
_VISIBLE: Final = 60.0
"""Seconds until a started task must show: ECS's answers follow an eventual consistency model."""
_STOPPING: Final = 180.0
"""Seconds that a stopped task may take to end: Fargate's longest stop timeout is 120 s."""
_CAPACITY: Final = 300.0
"""Seconds for which a start is repeated when Fargate has no room, or IAM does not yet know a new role everywhere."""
_STARTS: Final = 10
"""Most client tokens to try: each failed attempt that ECS still remembers has used up one."""
_OLD: Final = timedelta(minutes=10)
"""Age at which a task counts as an earlier attempt's; far above any difference between this clock and AWS's."""

_FAILURES: Final = {
    "MISSING": "the cluster or the task definition is not there",
    "INACTIVE": "the cluster or the task definition is inactive",
    "AGENT": "the container agent is not connected",
}


@dataclass(frozen=True, kw_only=True)
class TaskRequest:
    """One task to run. The same `key` means the same work: while one is under way, no second is started."""

    name: str
    """For messages: ``bootstrap``, ``migrate``."""
    key: str
    cluster: str
    task_definition: str
    subnets: tuple[str, ...]
    security_groups: tuple[str, ...]
    assign_public_ip: bool
    timeout: float
    """Seconds from its start until it is stopped and has failed."""

    @property
    def started_by(self) -> str:
        """The mark by which a later call finds the task; at most 128 of the characters that ECS allows."""
        return f"slipway/{self.name}/{hashlib.sha256(self.key.encode()).hexdigest()[:40]}"

    def token(self, before: str) -> str:
        """The client token of the attempt that follows the task `before`: 64 characters, ECS's most.

        Without a state to remember attempts in, the task before distinguishes them: a call that is repeated because
        its answer was lost has the same predecessor, hence the same token; one after a failure has another.
        """
        return hashlib.sha256(f"{self.key}\n{before}".encode()).hexdigest()


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A task that ended well."""

    task: str
    attached: bool
    """Whether an earlier call had started it."""


def run_task(clients: Clients, wanted: TaskRequest) -> Finished:
    """Start the task, or find it, and wait for its end. Raises ControlError unless every container ended with 0."""
    task = _under_way(clients, wanted)
    attached = task is not None
    definitions = containers_of(clients, wanted.task_definition)
    task = _await_end(clients, wanted, task or _start(clients, wanted), definitions)
    if _never_ran(task) and _not_yet_allowed(task):
        # A role that this very update made: IAM needs some seconds until all of AWS knows it. Nothing has run.
        clients.clock.sleep(20.0)
        task = _await_end(clients, wanted, _start(clients, wanted), definitions)
    codes = ended(task, definitions)
    if not codes or any(code != 0 for code in codes.values()):
        raise _failed(clients, task, definitions, f"The {wanted.name} task {_how(task, codes)}")
    return Finished(task=str(task["taskArn"]), attached=attached)


def _under_way(clients: Clients, wanted: TaskRequest) -> dict[str, Any] | None:
    """The oldest task with this run's mark that has not ended."""
    # No other filter may go with startedBy (ECS API reference, ListTasks); the status filter is RUNNING then.
    arns = clients.pages("ecs", "list_tasks", "taskArns", cluster=wanted.cluster, startedBy=wanted.started_by)
    alive = [task for task in describe(clients, wanted.cluster, arns) if task.get("lastStatus") != "STOPPED"]
    return min(alive, key=_made_at) if alive else None


def _last_ended(clients: Clients, wanted: TaskRequest) -> str:
    """The newest ended task with this run's mark, for as long as ECS remembers it (about an hour); empty if none."""
    family = wanted.task_definition.rsplit("/", 1)[-1].rsplit(":", 1)[0]
    arns = clients.pages(
        "ecs", "list_tasks", "taskArns", cluster=wanted.cluster, family=family, desiredStatus="STOPPED"
    )
    ours = [task for task in describe(clients, wanted.cluster, arns) if task.get("startedBy") == wanted.started_by]
    return str(max(ours, key=_made_at)["taskArn"]) if ours else ""


def _start(clients: Clients, wanted: TaskRequest) -> dict[str, Any]:
    """A task that has not ended: a new one, or one whose start was answered, but the answer was lost."""
    before = _last_ended(clients, wanted)
    for _ in range(_STARTS):
        task = _ask(clients, wanted, wanted.token(before))
        if not _earlier(clients, task):
            return task
        now = describe(clients, wanted.cluster, [str(task["taskArn"])])
        if now and now[0].get("lastStatus") != "STOPPED":
            return now[0]
        before = str(task["taskArn"])  # an attempt that ended long ago: ECS forgets the task before its token
    raise ControlError(
        f"The {wanted.name} task could not be started: ECS answers every start with an earlier task ({before}). "
        "Run up again in an hour, when it has forgotten them."
    )


def _earlier(clients: Clients, task: Mapping[str, Any]) -> bool:
    """Whether a start was answered with the task of an earlier one."""
    made = task.get("createdAt")
    return task.get("lastStatus") == "STOPPED" or (made is not None and clients.clock.now() - made > _OLD)


def _ask(clients: Clients, wanted: TaskRequest, token: str) -> dict[str, Any]:
    """The task of one start, repeated while there is no room or a role is too new."""
    refusal: ControlError | None = None

    def start() -> dict[str, Any] | None:
        nonlocal refusal
        try:
            answer = clients.call("ecs", "run_task", **_request(wanted, token))
        except AwsError as error:
            if error.code == "ConflictException":
                return _conflicting(clients, wanted, error)
            if "assume the role" not in error.said:
                raise
            refusal = error
            return None
        if answer.get("tasks"):
            return dict(answer["tasks"][0])
        failures = answer.get("failures", [])
        refusal = ControlError(f"The {wanted.name} task could not be started: {_explained(failures)}")
        if not _no_room(failures):
            raise refusal
        return None

    task = poll(start, within=_CAPACITY, pause=15.0, clock=clients.clock)
    if task is None:
        assert refusal is not None
        raise refusal
    return task


def _request(wanted: TaskRequest, token: str) -> dict[str, Any]:
    return {
        "cluster": wanted.cluster,
        "taskDefinition": wanted.task_definition,
        "clientToken": token,
        "startedBy": wanted.started_by,
        "count": 1,
        # Not the cluster's default strategy, which may be Spot: a migration must not be taken away half-way.
        "launchType": "FARGATE",
        "networkConfiguration": {
            "awsvpcConfiguration": {
                "subnets": list(wanted.subnets),
                "securityGroups": list(wanted.security_groups),
                "assignPublicIp": "ENABLED" if wanted.assign_public_ip else "DISABLED",
            }
        },
        "propagateTags": "TASK_DEFINITION",
        "enableECSManagedTags": True,
    }


def _conflicting(clients: Clients, wanted: TaskRequest, error: AwsError) -> dict[str, Any]:
    """The task that an earlier call started with this token but other parameters: another subnet, say."""
    arns = [str(arn) for arn in error.details.get("resourceIds", [])]
    there = describe(clients, wanted.cluster, arns) if arns else []
    if there:
        return max(there, key=_made_at)
    if arns:  # ended so long ago that ECS no longer describes it
        return {"taskArn": arns[-1], "lastStatus": "STOPPED"}
    raise error


def _no_room(failures: Sequence[Mapping[str, Any]]) -> bool:
    return bool(failures) and all("apacity" in str(failure.get("reason", "")) for failure in failures)


def _explained(failures: Sequence[Mapping[str, Any]]) -> str:
    if not failures:
        return "ECS answered with neither a task nor a reason."
    shown = []
    for failure in failures:
        reason = str(failure.get("reason", "no reason given"))
        parts = [reason, _FAILURES.get(reason, ""), str(failure.get("detail") or ""), str(failure.get("arn") or "")]
        shown.append(" - ".join(part for part in parts if part))
    return "; ".join(shown) + (". Fargate has had no room for five minutes; try again later." * _no_room(failures))


def _await_end(
    clients: Clients, wanted: TaskRequest, task: dict[str, Any], definitions: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The task once it has stopped; one that takes too long is stopped, and has failed."""
    clock, arn = clients.clock, str(task["taskArn"])
    begun = clock.monotonic()
    seen = False

    def stopped() -> dict[str, Any] | None:
        nonlocal task, seen
        if task.get("lastStatus") == "STOPPED":
            return task
        if found := describe(clients, wanted.cluster, [arn]):
            task, seen = found[0], True
        elif seen or clock.monotonic() - begun > _VISIBLE:
            raise ControlError(f"The {wanted.name} task {arn} is gone: ECS does not know it any more. Run up again.")
        return task if task.get("lastStatus") == "STOPPED" else None

    ended = poll(stopped, within=wanted.timeout, pause=_POLL[0], growth=1.5, longest=_POLL[1], clock=clock)
    if ended is None:
        took = f"The {wanted.name} task took longer than {wanted.timeout:g} s and was stopped"
        raise _failed(clients, _stop(clients, wanted, arn), definitions, took)
    return ended


def _stop(clients: Clients, wanted: TaskRequest, arn: str) -> dict[str, Any]:
    """The task once it has ended, or as it is after the longest time that an end may take."""
    reason = f"slipway: longer than {wanted.timeout:g} s"
    task = dict(clients.call("ecs", "stop_task", cluster=wanted.cluster, task=arn, reason=reason)["task"])

    def ended() -> bool | None:
        nonlocal task
        task = next(iter(describe(clients, wanted.cluster, [arn])), task)
        return True if task.get("lastStatus") == "STOPPED" else None

    poll(ended, within=_STOPPING, pause=_POLL[1] / 2, clock=clients.clock)
    return task


def _failed(
    clients: Clients, task: Mapping[str, Any], definitions: Sequence[Mapping[str, Any]], what: str
) -> ControlError:
    reason = why_stopped(task)
    tails: list[LogTail] = [] if _never_ran(task) else log_tails(clients, task, definitions)
    lines = [
        f"{what}; nothing new has been started, and what served before serves still.",
        f"  Reason: {reason}.{advice(reason)}",
        *(tail.text() for tail in tails),
        f"  Task: {task['taskArn']}",
    ]
    return ControlError("\n".join(lines))


def _how(task: Mapping[str, Any], codes: Mapping[str, int | None]) -> str:
    bad = sorted({code for code in codes.values() if code not in (None, 0)})
    if bad:
        return f"failed with exit code {', '.join(map(str, bad))}"
    return "never ran" if _never_ran(task) else "was stopped before it ended"


def _never_ran(task: Mapping[str, Any]) -> bool:
    ran = any(container.get("exitCode") is not None for container in task.get("containers", []))
    return not ran and (task.get("stopCode") == "TaskFailedToStart" or not task.get("startedAt"))


def _not_yet_allowed(task: Mapping[str, Any]) -> bool:
    reason = why_stopped(task)
    return any(sign in reason for sign in ("AccessDenied", "not authorized to perform", "assume the role"))


def _made_at(task: Mapping[str, Any]) -> tuple[float, str]:
    made = task.get("createdAt")
    return (made.timestamp() if made else 0.0, str(task["taskArn"]))
