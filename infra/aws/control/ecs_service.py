"""What ECS says about a service and its deployments, at one moment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from infra.aws.control.clients import Clients

FAILED: Final = frozenset(["STOPPED", "ROLLBACK_SUCCESSFUL", "ROLLBACK_FAILED"])
"""Ends of a service deployment other than SUCCESSFUL."""
ENDED: Final = FAILED | {"SUCCESSFUL"}

_AT_ONCE: Final = 20
"""Service deployments and revisions that one call describes (ECS API reference)."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """An entry of the service's `deployments`: what runs now."""

    id: str
    status: str
    """PRIMARY, ACTIVE (being replaced) or INACTIVE."""
    task_definition: str
    rollout: str
    """COMPLETED, FAILED or IN_PROGRESS."""
    reason: str
    desired: int
    running: int
    failed: int
    """Tasks in a row that failed."""


@dataclass(frozen=True, kw_only=True)
class ServiceDeployment:
    """A service deployment: one change of the service, from its start to its end."""

    arn: str
    task_definition: str
    """Empty where ECS no longer knows the revision."""
    status: str
    reason: str
    alarms: tuple[str, ...]
    """The alarms that stopped it."""
    breaker: tuple[int, int] | None
    """Failed tasks and the threshold, where the circuit breaker stopped it."""
    rollback_reason: str


@dataclass(frozen=True, kw_only=True)
class Service:
    """A service as it is."""

    name: str
    status: str
    current: str
    """ARN of the current service deployment; empty where ECS does not say."""
    deployments: tuple[Deployment, ...]
    events: tuple[str, ...]
    """The newest first."""

    @property
    def primary(self) -> Deployment | None:
        return next((one for one in self.deployments if one.status == "PRIMARY"), None)


class EcsService:
    """Asks ECS about one service. What a service revision holds never changes, and is asked once."""

    def __init__(self, clients: Clients, *, cluster: str, service: str) -> None:
        self._clients = clients
        self._cluster = cluster
        self._service = service
        self._definitions: dict[str, str] = {}
        """Task definitions by service revision."""

    def service(self) -> Service | None:
        """The service; None where ECS does not know it (yet)."""
        answer = self._clients.call("ecs", "describe_services", cluster=self._cluster, services=[self._service])
        if not answer.get("services"):
            return None
        seen = answer["services"][0]
        return Service(
            name=str(seen.get("serviceName", self._service)),
            status=str(seen.get("status", "")),
            current=str(seen.get("currentServiceDeployment", "")),
            deployments=tuple(_deployment(one) for one in seen.get("deployments", [])),
            events=tuple(str(event["message"]) for event in seen.get("events", [])),
        )

    def history(self) -> tuple[ServiceDeployment, ...]:
        """The latest service deployments, the newest first."""
        listed = self._clients.call(
            "ecs", "list_service_deployments", cluster=self._cluster, service=self._service, maxResults=_AT_ONCE
        ).get("serviceDeployments", [])
        if not listed:
            return ()
        arns = [str(one["serviceDeploymentArn"]) for one in listed]
        answer = self._clients.call("ecs", "describe_service_deployments", serviceDeploymentArns=arns)
        found = sorted(answer.get("serviceDeployments", []), key=lambda one: one["createdAt"], reverse=True)
        self._learn({_revision(one) for one in found})
        return tuple(_service_deployment(one, self._definitions.get(_revision(one), "")) for one in found)

    def _learn(self, revisions: set[str]) -> None:
        missing = sorted(revisions - self._definitions.keys() - {""})
        if not missing:
            return
        answer = self._clients.call("ecs", "describe_service_revisions", serviceRevisionArns=missing)
        for one in answer.get("serviceRevisions", []):
            self._definitions[str(one["serviceRevisionArn"])] = str(one.get("taskDefinition", ""))


def _revision(seen: Mapping[str, Any]) -> str:
    return str(seen.get("targetServiceRevision", {}).get("arn", ""))


def _deployment(seen: Mapping[str, Any]) -> Deployment:
    return Deployment(
        id=str(seen.get("id", "")),
        status=str(seen.get("status", "")),
        task_definition=str(seen.get("taskDefinition", "")),
        rollout=str(seen.get("rolloutState", "")),
        reason=str(seen.get("rolloutStateReason", "")),
        desired=int(seen.get("desiredCount", 0)),
        running=int(seen.get("runningCount", 0)),
        failed=int(seen.get("failedTasks", 0)),
    )


def _service_deployment(seen: Mapping[str, Any], definition: str) -> ServiceDeployment:
    alarms, breaker = seen.get("alarms", {}), seen.get("deploymentCircuitBreaker", {})
    tripped = breaker.get("status") == "TRIGGERED"
    return ServiceDeployment(
        arn=str(seen["serviceDeploymentArn"]),
        task_definition=definition,
        status=str(seen.get("status", "")),
        reason=str(seen.get("statusReason", "")),
        alarms=tuple(alarms.get("triggeredAlarmNames", ())) if alarms.get("status") == "TRIGGERED" else (),
        breaker=(int(breaker.get("failureCount", 0)), int(breaker.get("threshold", 0))) if tripped else None,
        rollback_reason=str(seen.get("rollback", {}).get("reason", "")),
    )
