"""Events that AWS reports and no metric shows, as EventBridge patterns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from infra.aws.alarms.model import Notice
from infra.aws.alarms.monitored import Monitored


@dataclass(frozen=True, kw_only=True)
class Event(Notice):
    """Events of one kind are sent on as one sentence; the names in `<>` in `means` are filled from the event."""

    source: str
    kind: str
    """EventBridge's `detail-type`."""
    detail: Mapping[str, Any]
    """The pattern that the event's own values match."""
    resources: Sequence[pulumi.Input[str]] = ()
    """ARNs, of which the event names one; of any resource without."""
    paths: Mapping[str, str]
    """Where in the event each name is."""

    @property
    def pattern(self) -> dict[str, Any]:
        where = {"resources": list(self.resources)} if self.resources else {}
        return {"source": [self.source], "detail-type": [self.kind], **where, "detail": self.detail}

    @property
    def template(self) -> str:
        """EventBridge puts the values in; the quotes make the whole a JSON text."""
        return f'"{self.description}"'


def events(monitored: Monitored) -> Iterator[Event]:
    services = [service.arn for service in monitored.services]
    yield Event(
        role="rollout-failed",
        means="ECS gave up a rollout of <service>: <reason>",
        trouble="rollout-failed",
        source="aws.ecs",
        kind="ECS Deployment State Change",
        resources=services,
        detail={"eventName": ["SERVICE_DEPLOYMENT_FAILED"]},
        paths={"service": "$.resources[0]", "reason": "$.detail.reason"},
    )
    unable = ("SERVICE_TASK_CONFIGURATION_FAILURE", "SERVICE_TASK_PLACEMENT_FAILURE", "SERVICE_TASK_START_IMPAIRED")
    yield Event(
        role="replicas-not-starting",
        means="ECS cannot start replicas of <service>: <event> (<reason>).",
        trouble="replicas-missing",
        source="aws.ecs",
        kind="ECS Service Action",
        resources=services,
        detail={"eventName": list(unable)},
        paths={"service": "$.resources[0]", "event": "$.detail.eventName", "reason": "$.detail.reason"},
    )
    yield Event(
        role="out-of-memory",
        means="A replica of <group> was killed because it used all of its memory.",
        trouble="service-busy",
        source="aws.ecs",
        kind="ECS Task State Change",
        detail={
            "clusterArn": [monitored.cluster_arn],
            "lastStatus": ["STOPPED"],
            "containers": {"reason": [{"prefix": "OutOfMemoryError"}]},
        },
        paths={"group": "$.detail.group"},
    )
    if monitored.postgres is not None:
        yield from _database(monitored.postgres.arn)


def _database(arn: pulumi.Input[str]) -> Iterator[Event]:
    yield Event(
        role="database-events",
        means="RDS tells of <database>: <message>",
        trouble="database-events",
        source="aws.rds",
        kind="RDS DB Instance Event",
        resources=[arn],
        detail={"EventCategories": ["failover", "failure", "low storage", "read replica", "recovery"]},
        paths={"database": "$.detail.SourceIdentifier", "message": "$.detail.Message"},
    )
    yield Event(
        role="backup-failed",
        means="AWS Backup has no new recovery point of <resource>: the job ended as <state>. <message>",
        trouble="backup-failed",
        source="aws.backup",
        kind="Backup Job State Change",
        detail={"state": ["ABORTED", "EXPIRED", "FAILED"], "resourceArn": [arn]},
        paths={"resource": "$.detail.resourceArn", "state": "$.detail.state", "message": "$.detail.statusMessage"},
    )
    yield Event(
        role="restore-failed",
        # A restore job does not name the database that it came from, so that every one of the account is reported.
        means="AWS Backup could not restore a database in this account (<status>): a restore test has failed, or "
        "somebody's restore. <message>",
        trouble="backup-failed",
        source="aws.backup",
        kind="Restore Job State Change",
        detail={"status": ["ABORTED", "FAILED"], "resourceType": ["RDS"]},
        paths={"status": "$.detail.status", "message": "$.detail.statusMessage"},
    )
