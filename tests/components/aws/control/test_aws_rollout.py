"""A rollout has arrived, or `up` fails and says why: played on scripted streams of what ECS reports."""

from __future__ import annotations

import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from infra.aws.control.clients import Clients
from infra.aws.control.errors import ControlError
from infra.aws.control.rollout_waiter import RolloutTarget, await_rollout

OLD, NEW, OTHER = 41, 42, 43


class Stage:
    """A service that ran revision 41, written as ECS shows it."""

    def __init__(self, aws: Any, names: SimpleNamespace) -> None:
        self.aws = aws
        self.names = names
        for revision in (OLD, NEW, OTHER):
            aws.define(names.definition(revision))
        self._tasks = 0
        self._made = 0
        aws.service = {
            "serviceArn": f"{names.prefix}:service/slipway/api",
            "serviceName": "api",
            "clusterArn": names.cluster,
            "status": "ACTIVE",
            "desiredCount": 2,
            "runningCount": 2,
            "deployments": [],
            "events": [],
        }
        self.old = self.deploy(OLD)
        self.settle(self.old, OLD)

    @property
    def now(self) -> datetime.datetime:
        when: datetime.datetime = self.aws.clock.now()
        return when

    def at(self, seconds: float, *happenings: Any) -> None:
        for happening in happenings:
            self.aws.clock.at(seconds, happening)

    def deploy(self, revision: int) -> dict[str, Any]:
        """What an update does: a service deployment, and a new primary entry in the service."""
        self._made += 1
        deployment = {
            "serviceDeploymentArn": f"{self.names.prefix}:service-deployment/slipway/api/{self._made:021d}",
            "status": "IN_PROGRESS",
            "createdAt": self.now + datetime.timedelta(milliseconds=self._made),
            "targetServiceRevision": {"arn": f"{self.names.prefix}:service-revision/slipway/api/{revision}"},
            "deploymentCircuitBreaker": {"status": "MONITORING", "failureCount": 0, "threshold": 3},
            "alarms": {"status": "MONITORING", "alarmNames": ["api-5xx"], "triggeredAlarmNames": []},
        }
        self.aws.service_deployments.append(deployment)
        self.entry(revision)
        self.aws.service["currentServiceDeployment"] = deployment["serviceDeploymentArn"]
        return deployment

    def entry(self, revision: int) -> dict[str, Any]:
        for one in self.aws.service["deployments"]:
            one["status"] = "ACTIVE"
        entry = {
            "id": f"ecs-svc/{revision}{self._made}",
            "status": "PRIMARY",
            "taskDefinition": self.names.definition(revision),
            "desiredCount": 2,
            "runningCount": 0,
            "pendingCount": 2,
            "failedTasks": 0,
            "rolloutState": "IN_PROGRESS",
            "createdAt": self.now,
        }
        self.aws.service["deployments"].insert(0, entry)
        return entry

    def settle(self, deployment: dict[str, Any], revision: int) -> None:
        deployment["status"] = "SUCCESSFUL"
        self.complete(revision)

    def complete(self, revision: int) -> None:
        entries = self.aws.service["deployments"]
        entries[:] = [one for one in entries if one["taskDefinition"] == self.names.definition(revision)][:1]
        entries[0] |= {"rolloutState": "COMPLETED", "status": "PRIMARY", "runningCount": 2, "pendingCount": 0}

    def roll_back(self, deployment: dict[str, Any], **why: Any) -> None:
        """ECS makes a new primary entry of the old revision; the service deployment stays the same."""
        deployment |= {"status": "ROLLBACK_IN_PROGRESS", **why}
        deployment["rollback"] = {"reason": "rolling back", "startedAt": self.now}
        self.entry(OLD)

    def rolled_back(self, deployment: dict[str, Any]) -> None:
        deployment["status"] = "ROLLBACK_SUCCESSFUL"
        self.complete(OLD)

    def fail_task(self, revision: int = NEW, *, lines: tuple[str, ...] = (), **end: Any) -> None:
        self._tasks += 1
        task = self.aws.add_task(self._tasks, self.names.definition(revision), f"ecs-svc/{revision}{self._made}")
        self.aws.end_task(task, **end)
        if lines:
            self.aws.write(task, *lines)


@pytest.fixture
def stage(aws: Any, names: SimpleNamespace) -> Stage:
    return Stage(aws, names)


@pytest.fixture
def target(names: SimpleNamespace) -> RolloutTarget:
    return RolloutTarget(
        cluster=names.cluster,
        service=f"{names.prefix}:service/slipway/api",
        task_definition=names.definition(NEW),
        timeout=1800,
    )


BREAKER = {"deploymentCircuitBreaker": {"status": "TRIGGERED", "failureCount": 3, "threshold": 3}}
ALARM = {"alarms": {"status": "TRIGGERED", "alarmNames": ["api-5xx", "api-p95"], "triggeredAlarmNames": ["api-p95"]}}


def fails(clients: Clients, target: RolloutTarget) -> str:
    with pytest.raises(ControlError) as caught:
        await_rollout(clients, target)
    return str(caught.value)


def test_success(aws: Any, clients: Clients, stage: Stage, target: RolloutTarget) -> None:
    new = stage.deploy(NEW)
    stage.at(200, lambda: stage.settle(new, NEW))
    assert await_rollout(clients, target) == new["serviceDeploymentArn"]
    assert 200 <= aws.clock.seconds < 220


def test_a_service_that_was_never_deployed_before(
    clients: Clients, stage: Stage, aws: Any, target: RolloutTarget
) -> None:
    aws.service["deployments"].clear()
    aws.service_deployments.clear()
    new = stage.deploy(NEW)
    stage.at(90, lambda: stage.settle(new, NEW))
    assert await_rollout(clients, target) == new["serviceDeploymentArn"]


def test_a_service_without_tasks(clients: Clients, stage: Stage, aws: Any, target: RolloutTarget) -> None:
    """Workers that scaling has taken to none: the rollout is complete at once."""
    new = stage.deploy(NEW)
    stage.settle(new, NEW)
    aws.service |= {"desiredCount": 0, "runningCount": 0}
    assert await_rollout(clients, target) == new["serviceDeploymentArn"]
    assert aws.clock.seconds == 0


def test_a_deployment_that_ecs_no_longer_lists(clients: Clients, stage: Stage, aws: Any, target: RolloutTarget) -> None:
    stage.settle(stage.deploy(NEW), NEW)
    aws.service_deployments.clear()
    assert await_rollout(clients, target).startswith("ecs-svc/")


def test_breaker(aws: Any, clients: Clients, stage: Stage, target: RolloutTarget) -> None:
    new = stage.deploy(NEW)
    for second in (40, 80, 120):
        stage.at(second, lambda: stage.fail_task(code=1, lines=("Traceback", "KeyError: 'DATABASE_URL'")))
    stage.at(130, lambda: stage.roll_back(new, **BREAKER))
    stage.at(200, lambda: stage.rolled_back(new))
    text = fails(clients, target)
    assert text.startswith(
        "The rollout of api to api:42 was rolled back, and the version before it serves again: the circuit breaker "
        "counted 3 failed tasks (threshold 3)."
    )
    assert "pulumi up --refresh" in text
    assert "3 tasks stopped: Essential container in task exited; api: exit code 1" in text
    assert "KeyError: 'DATABASE_URL'" in text
    assert "aws logs tail /slipway/api" in text
    assert aws.clock.seconds >= 200


def test_alarm(clients: Clients, stage: Stage, target: RolloutTarget) -> None:
    new = stage.deploy(NEW)
    stage.at(300, lambda: stage.roll_back(new, **ALARM))
    stage.at(400, lambda: stage.rolled_back(new))
    assert "serves again: alarm api-p95 went off." in fails(clients, target)


def test_a_rollback_that_fails(clients: Clients, stage: Stage, target: RolloutTarget) -> None:
    new = stage.deploy(NEW)
    stage.at(100, lambda: stage.roll_back(new, **BREAKER))
    stage.at(400, lambda: new.update(status="ROLLBACK_FAILED"))
    assert "failed, and so did the rollback: look at the service now" in fails(clients, target)


def test_timeout(aws: Any, clients: Clients, stage: Stage, target: RolloutTarget) -> None:
    new = stage.deploy(NEW)
    aws.service["deployments"][0] |= {"runningCount": 1, "failedTasks": 4}
    aws.service["events"] = [{"id": "1", "createdAt": stage.now, "message": "(service api) is unable to place a task"}]
    text = fails(clients, target)
    assert "has not settled after 1800 s (1 of 2 tasks run, 4 failed)" in text
    assert f"aws ecs stop-service-deployment --service-deployment-arn {new['serviceDeploymentArn']}" in text
    assert "unable to place a task" in text
    assert 1800 <= aws.clock.seconds < 1801


@pytest.mark.parametrize("revision", [OTHER, NEW])
def test_a_second_deployment_at_the_same_time(
    aws: Any, clients: Clients, stage: Stage, target: RolloutTarget, revision: int
) -> None:
    """Also one of the same task definition: what runs then is not what this `up` started, whoever was right."""
    new = stage.deploy(NEW)

    def second() -> None:
        new["status"] = "STOPPED"
        stage.deploy(revision)

    stage.at(60, second)
    text = fails(clients, target)
    assert "was overtaken by a second deployment at the same time" in text
    assert f"of api:{revision}" in text
    assert ("the same task definition" in text) == (revision == NEW)
    assert aws.clock.seconds < 90


def test_a_deployment_that_somebody_stopped(clients: Clients, stage: Stage, target: RolloutTarget) -> None:
    new = stage.deploy(NEW)
    stage.at(60, lambda: new.update(status="STOP_REQUESTED"))
    stage.at(80, lambda: new.update(status="STOPPED", statusReason="Stopped by user"))
    assert "was stopped: Stopped by user." in fails(clients, target)


def test_a_service_changed_right_after(clients: Clients, stage: Stage, target: RolloutTarget, aws: Any) -> None:
    """The deployment ended well, and what runs is something else: outside Pulumi, without a deployment on record."""
    new = stage.deploy(NEW)

    def change() -> None:
        stage.settle(new, NEW)
        aws.service["deployments"][0]["taskDefinition"] = stage.names.definition(OTHER)

    stage.at(60, change)
    assert "ended well, but the service runs api:43" in fails(clients, target)


def test_no_deployment_begins(aws: Any, clients: Clients, stage: Stage, target: RolloutTarget) -> None:
    text = fails(clients, target)
    assert "no deployment of api:42 has begun, and the service runs api:41" in text
    assert aws.clock.seconds < 90


def test_a_service_that_is_gone(aws: Any, clients: Clients, stage: Stage, target: RolloutTarget) -> None:
    aws.service["status"] = "DRAINING"
    assert "the service is draining" in fails(clients, target)
    aws.service = None
    assert "ECS knows no such service" in fails(clients, target)


def test_answers_that_come_late(aws: Any, clients: Clients, stage: Stage, target: RolloutTarget) -> None:
    """The service, its deployment and its new state show one after the other: eventual consistency."""
    shown, aws.service = aws.service, None
    stage.at(10, lambda: setattr(aws, "service", shown))
    made: list[dict[str, Any]] = []
    stage.at(20, lambda: made.append(stage.deploy(NEW)))
    stage.at(100, lambda: made[0].update(status="SUCCESSFUL"))
    stage.at(130, lambda: stage.complete(NEW))
    assert await_rollout(clients, target) == made[0]["serviceDeploymentArn"]
    assert aws.clock.seconds >= 130


@pytest.mark.parametrize("before", ["rolled back", "succeeded", "succeeded, then another"])
def test_an_earlier_deployment_of_the_same_revision_is_not_mistaken(
    aws: Any, clients: Clients, stage: Stage, target: RolloutTarget, before: str
) -> None:
    """`up --refresh` after a rollback deploys the same task definition again; the old record shows first."""
    earlier = stage.deploy(NEW)
    if before == "rolled back":
        stage.roll_back(earlier, **BREAKER)
        stage.rolled_back(earlier)
    else:
        stage.settle(earlier, NEW)
        stage.settle(stage.deploy(OTHER if "another" in before else OLD), OTHER if "another" in before else OLD)
    made: list[dict[str, Any]] = []
    stage.at(15, lambda: made.append(stage.deploy(NEW)))
    stage.at(120, lambda: stage.settle(made[0], NEW))
    assert await_rollout(clients, target) == made[0]["serviceDeploymentArn"]


def test_up_again_after_a_rollback_tells_what_happened(
    aws: Any, clients: Clients, stage: Stage, target: RolloutTarget
) -> None:
    """Without --refresh, nothing is deployed: the state has the new revision already."""
    earlier = stage.deploy(NEW)
    stage.roll_back(earlier, **BREAKER)
    stage.rolled_back(earlier)
    text = fails(clients, target)
    assert "was rolled back" in text
    assert "pulumi up --refresh" in text
    assert aws.clock.seconds < 90


def test_throttling_on_the_way(aws: Any, clients: Clients, stage: Stage, target: RolloutTarget, refusal: Any) -> None:
    new = stage.deploy(NEW)
    stage.at(100, lambda: stage.settle(new, NEW))
    for operation in ("DescribeServices", "ListServiceDeployments", "DescribeServiceDeployments") * 3:
        aws.faults.append((operation, refusal("ThrottlingException", "Rate exceeded")))
    assert await_rollout(clients, target) == new["serviceDeploymentArn"]


def test_ends_of_tasks_are_grouped_and_the_schedulers_own_left_out(
    clients: Clients, stage: Stage, target: RolloutTarget
) -> None:
    new = stage.deploy(NEW)
    elb = "Task failed ELB health checks in (target-group arn:aws:elasticloadbalancing:x)"
    for _ in range(3):
        stage.fail_task(code=0, reason=elb, stop_code="ServiceSchedulerInitiated")
    stage.fail_task(code=None, reason="ResourceInitializationError: no route", stop_code="TaskFailedToStart")
    stage.fail_task(
        code=143, reason="Scaling activity initiated by (deployment ecs-svc/1)", stop_code="ServiceSchedulerInitiated"
    )
    stage.fail_task(OLD, code=1, reason="of the old revision")
    stage.at(100, lambda: stage.roll_back(new, **BREAKER), lambda: stage.rolled_back(new))
    text = fails(clients, target)
    assert f"3 tasks stopped: {elb}. The load balancer got no good answer" in text
    assert "1 task stopped: ResourceInitializationError: no route. Can the subnets reach AWS" in text
    assert "Scaling activity" not in text
    assert "of the old revision" not in text


def test_tasks_that_run_unwell(aws: Any, clients: Clients, stage: Stage, target: RolloutTarget) -> None:
    stage.deploy(NEW)
    task = aws.add_task(50, stage.names.definition(NEW), "ecs-svc/422", "RUNNING")
    task["healthStatus"] = "UNHEALTHY"
    aws.write(task, "waiting for the database")
    text = fails(clients, target)
    assert "1 task running, but failing the container health check" in text
    assert "waiting for the database" in text


def test_evidence_that_cannot_be_read_hides_nothing(
    aws: Any, clients: Clients, stage: Stage, target: RolloutTarget, refusal: Any
) -> None:
    new = stage.deploy(NEW)
    stage.at(10, lambda: stage.roll_back(new, **BREAKER), lambda: stage.rolled_back(new))
    aws.faults.append(("ListTasks", refusal("AccessDeniedException", "no")))
    text = fails(clients, target)
    assert "the circuit breaker counted 3" in text
    assert "Its tasks could not be looked at: ecs:ListTasks was refused" in text
