"""One-off tasks: run once, found again, explained when they fail."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from infra.aws.control.clients import AwsError, Clients
from infra.aws.control.errors import ControlError
from infra.aws.control.run_task import TaskRequest, run_task


@pytest.fixture
def wanted(aws: Any, names: SimpleNamespace) -> TaskRequest:
    return TaskRequest(
        name="migrate",
        key="what it is keyed on",
        cluster=names.cluster,
        task_definition=aws.define(names.definition(7, "migrate")),
        subnets=("subnet-1", "subnet-2"),
        security_groups=("sg-1",),
        assign_public_ip=False,
        timeout=600,
    )


@pytest.fixture
def ends(aws: Any) -> Callable[..., None]:
    """Makes every task that starts end after some seconds, having written its lines."""

    def arrange(after: float = 40, lines: tuple[str, ...] = (), **end: Any) -> None:
        def on_run(task: dict[str, Any]) -> None:
            now = aws.clock.seconds
            if end.get("code", 0) is not None:
                aws.clock.at(now + after / 2, lambda: aws.run_task_to(task, "RUNNING"))
            aws.clock.at(now + after, lambda: (aws.write(task, *lines) if lines else None, aws.end_task(task, **end)))

        aws.on_run = on_run

    return arrange


def starts(aws: Any) -> list[dict[str, Any]]:
    return [request for name, request in aws.calls if name == "RunTask"]


def test_a_task_runs_to_its_end(aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None]) -> None:
    ends()
    done = run_task(clients, wanted)
    assert done.task in aws.tasks
    assert not done.attached
    (request,) = starts(aws)
    assert len(request["clientToken"]) == 64
    assert re.fullmatch(r"[A-Za-z0-9/_-]{1,128}", request["startedBy"])
    assert request["launchType"] == "FARGATE"
    assert request["networkConfiguration"]["awsvpcConfiguration"] == {
        "subnets": ["subnet-1", "subnet-2"],
        "securityGroups": ["sg-1"],
        "assignPublicIp": "DISABLED",
    }
    assert aws.clock.seconds < 60
    assert "GetLogEvents" not in aws.actions()


def test_a_failure_tells_the_reason_and_the_last_lines(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None]
) -> None:
    ends(code=1, lines=tuple(f"line {number}" for number in range(30)))
    with pytest.raises(ControlError) as caught:
        run_task(clients, wanted)
    text = str(caught.value)
    assert text.startswith("The migrate task failed with exit code 1; nothing new has been started")
    assert "Essential container in task exited; migrate: exit code 1" in text
    assert "line 29" in text
    assert "line 9\n" not in text
    assert "aws logs tail /slipway/migrate --log-stream-names migrate/migrate/" in text


def test_lines_that_come_after_the_end_are_waited_for(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None]
) -> None:
    ends(code=1)
    original = aws.end_task

    def end_then_write(task: dict[str, Any], **end: Any) -> None:
        original(task, **end)
        aws.clock.at(aws.clock.seconds + 3, lambda: aws.write(task, "the first"))
        aws.clock.at(aws.clock.seconds + 6, lambda: aws.write(task, "the decisive one"))

    aws.end_task = end_then_write
    with pytest.raises(ControlError, match="the decisive one"):
        run_task(clients, wanted)


def test_a_log_that_cannot_be_read_hides_nothing(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None], refusal: Any
) -> None:
    ends(code=3)
    aws.faults.append(("GetLogEvents", refusal("AccessDeniedException", "no")))
    with pytest.raises(ControlError, match=r"exit code 3[\s\S]*has written nothing \(logs:GetLogEvents was refused"):
        run_task(clients, wanted)


def test_a_run_after_a_crash_finds_the_task(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None], names: SimpleNamespace
) -> None:
    other = aws.add_task(98, wanted.task_definition, "somebody/else", "RUNNING")
    task = aws.add_task(99, wanted.task_definition, wanted.started_by, "RUNNING")
    aws.clock.at(30, lambda: aws.end_task(task))
    done = run_task(clients, wanted)
    assert (done.task, done.attached) == (task["taskArn"], True)
    assert not starts(aws)
    assert other["lastStatus"] == "RUNNING"


def test_a_start_whose_answer_was_lost_is_not_repeated(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None]
) -> None:
    """The crash came between the start and its answer, and the listing does not show the task yet."""
    ends(after=200)
    with pytest.raises(RuntimeError):
        crash(aws, clients, wanted)
    (arn,) = aws.tasks
    aws.hidden.add(arn)
    aws.clock.at(aws.clock.seconds + 20, aws.hidden.clear)
    assert run_task(clients, wanted).task == arn
    assert len(aws.tasks) == 1


def crash(aws: Any, clients: Clients, wanted: TaskRequest) -> None:
    class Dying:
        monotonic, now = aws.clock.monotonic, aws.clock.now

        def sleep(self, seconds: float) -> None:
            raise RuntimeError("the process dies")

    run_task(replace(clients, clock=Dying()), wanted)


def test_the_same_token_with_another_subnet_finds_the_task(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None]
) -> None:
    ends(after=200)
    with pytest.raises(RuntimeError):
        crash(aws, clients, wanted)
    aws.faults += [("ListTasks", {"taskArns": []})] * 2  # not listed yet, neither as running nor as stopped
    changed = replace(wanted, subnets=("subnet-3",))
    assert run_task(clients, changed).task in aws.tasks
    assert len(aws.tasks) == 1


def test_a_run_after_a_failure_starts_anew(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None]
) -> None:
    ends(code=1)
    with pytest.raises(ControlError):
        run_task(clients, wanted)
    ends(code=0)
    run_task(clients, wanted)
    first, second = starts(aws)
    assert first["clientToken"] != second["clientToken"]
    assert first["startedBy"] == second["startedBy"]


def test_a_failure_that_ecs_has_forgotten_does_not_block(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None]
) -> None:
    """ECS shows stopped tasks for an hour, and honours their client tokens for longer."""
    ends(code=1)
    with pytest.raises(ControlError):
        run_task(clients, wanted)
    aws.hidden.update(aws.tasks)
    aws.clock.sleep(3 * 3600)
    ends(code=0)
    run_task(clients, wanted)
    assert len(aws.tasks) == 2


def test_only_essential_containers_of_the_definition_count(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None]
) -> None:
    """GuardDuty adds a container of its own to Fargate tasks; when that ends badly, the migration has not failed."""
    aws.define(wanted.task_definition, sidecar=True)
    ends()
    original = aws.end_task

    def end(task: dict[str, Any], **how: Any) -> None:
        original(task, **how)
        task["containers"] += [{"name": "aws-guardduty-agent-1", "exitCode": 137}, {"name": "sidecar", "exitCode": 143}]

    aws.end_task = end
    run_task(clients, wanted)


@pytest.mark.parametrize(
    ("end", "message"),
    [
        (
            {"code": None, "stop_code": "TaskFailedToStart", "reason": "CannotPullContainerError: not found"},
            r"never ran;[\s\S]*CannotPullContainerError: not found\. Is the image in the registry",
        ),
        (
            {"code": None, "stop_code": "UserInitiated", "reason": "Task stopped by user"},
            r"never ran;[\s\S]*Task stopped by user",
        ),
        (
            {"code": 137, "container_reason": "OutOfMemoryError: Container killed due to memory usage"},
            r"exit code 137;[\s\S]*killed: out of memory[\s\S]*Give it more memory",
        ),
    ],
)
def test_other_ends_are_told_apart(
    clients: Clients, wanted: TaskRequest, ends: Callable[..., None], end: dict[str, Any], message: str
) -> None:
    ends(**end)
    with pytest.raises(ControlError, match=message):
        run_task(clients, wanted)


def test_a_task_that_takes_too_long_is_stopped(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None]
) -> None:
    ends(after=10_000, lines=())
    with pytest.raises(ControlError, match=r"took longer than 600 s and was stopped;[\s\S]*slipway: longer than 600 s"):
        run_task(clients, wanted)
    assert next(iter(aws.tasks.values()))["lastStatus"] == "STOPPED"
    assert 600 <= aws.clock.seconds < 700


def test_throttling_is_waited_out(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None], refusal: Any
) -> None:
    ends()
    for operation in ("ListTasks", "RunTask", "DescribeTasks", "DescribeTasks"):
        aws.faults.append((operation, refusal("ThrottlingException", "Rate exceeded")))
    aws.faults.append(("DescribeTaskDefinition", refusal("ServerException", "try again", status=500)))
    run_task(clients, wanted)
    assert len(aws.tasks) == 1


def test_throttling_without_end_is_a_failure(aws: Any, clients: Clients, wanted: TaskRequest, refusal: Any) -> None:
    aws.faults += [("ListTasks", refusal("ThrottlingException", "Rate exceeded")) for _ in range(1000)]
    with pytest.raises(ControlError, match=r"ecs:ListTasks: AWS has not answered for 300 s \(ThrottlingException"):
        run_task(clients, wanted)
    assert aws.clock.seconds <= 300


def test_a_refusal_names_the_permission(aws: Any, clients: Clients, wanted: TaskRequest, refusal: Any) -> None:
    aws.faults.append(("RunTask", refusal("AccessDeniedException", "User is not authorized")))
    with pytest.raises(AwsError, match=r"ecs:RunTask was refused[\s\S]*needs the permission ecs:RunTask"):
        run_task(clients, wanted)


def test_expired_credentials_are_told(aws: Any, clients: Clients, wanted: TaskRequest, refusal: Any) -> None:
    aws.faults.append(("ListTasks", refusal("ExpiredTokenException", "The security token has expired")))
    with pytest.raises(AwsError, match="Log in"):
        run_task(clients, wanted)


def test_a_role_that_iam_does_not_know_yet_is_waited_for(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None], refusal: Any
) -> None:
    ends()
    aws.faults.append(("RunTask", refusal("ClientException", "ECS was unable to assume the role 'arn:aws:iam::1'")))
    run_task(clients, wanted)


def test_a_task_that_a_new_role_kept_from_starting_is_tried_once_more(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None]
) -> None:
    denied = "ResourceInitializationError: unable to pull secrets: AccessDeniedException: not authorized to perform"
    ends(code=None, stop_code="TaskFailedToStart", reason=denied)
    with pytest.raises(ControlError, match=r"never ran[\s\S]*May the execution role read these secrets"):
        run_task(clients, wanted)
    assert len(starts(aws)) == 2


def test_no_room_is_waited_for(aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None]) -> None:
    ends()
    full = {"tasks": [], "failures": [{"reason": "Capacity is unavailable at this time. Please try again later"}]}
    aws.faults += [("RunTask", full), ("RunTask", full)]
    run_task(clients, wanted)
    assert len(starts(aws)) == 3


@pytest.mark.parametrize(
    ("failures", "message"),
    [
        ([{"reason": "MISSING", "arn": "arn:x"}], "MISSING - the cluster or the task definition is not there - arn:x"),
        ([], "ECS answered with neither a task nor a reason"),
        ([{"reason": "Capacity is unavailable at this time"}], "no room for five minutes"),
    ],
)
def test_failures_of_a_start_are_explained(
    aws: Any, clients: Clients, wanted: TaskRequest, failures: list[dict[str, str]], message: str
) -> None:
    aws.faults += [("RunTask", {"tasks": [], "failures": failures})] * 50
    with pytest.raises(ControlError, match=message):
        run_task(clients, wanted)
    assert aws.clock.seconds < 400


def test_a_task_that_never_shows_is_given_up(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None]
) -> None:
    aws.on_run = lambda task: aws.hidden.add(task["taskArn"])
    with pytest.raises(ControlError, match="is gone: ECS does not know it"):
        run_task(clients, wanted)
    assert aws.clock.seconds < 120


def test_many_listed_tasks_are_paged_through(
    aws: Any, clients: Clients, wanted: TaskRequest, ends: Callable[..., None]
) -> None:
    for number in range(5, 10):
        aws.end_task(aws.add_task(number, wanted.task_definition, wanted.started_by), code=1)
    ends()
    aws.clock.sleep(timedelta(minutes=1).total_seconds())
    run_task(clients, wanted)
    assert aws.actions().count("ListTasks") == 4
