"""What Fargate does with tasks and services, which moto only keeps in lists.

A task starts only if every secret of its definition can be fetched at the version that it names, its image is a
digest and its log group exists; a one-off task then ends with exit code 0, or with what a test has set for its family.
A service is stable at once when its tasks can start, and its deployment has failed when they cannot.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

_DIGEST: Final = re.compile(r".+@sha256:[0-9a-f]{64}")
_SECRET: Final = re.compile(
    r"(?P<arn>arn:aws:secretsmanager:[a-z0-9-]+:\d{12}:secret:[^:]+):(?P<key>[^:]*):(?P<stage>[^:]*):(?P<version>[^:]*)"
)


class Fargate:
    def __init__(self, client: Callable[[str], Any]) -> None:
        self._client = client
        self.exit_codes: dict[str, int] = {}
        """By family, for one-off tasks."""
        self.output: dict[str, list[str]] = {}
        """Log lines by family that a one-off task writes."""
        self.broken_services: set[str] = set()
        """Images that services cannot pull."""
        self.deployments: dict[str, list[dict[str, Any]]] = {}
        """Service deployments by service ARN, the newest first."""
        self.tasks: dict[str, dict[str, Any]] = {}
        """Everything that was ever started, by ARN."""
        self._tokens: dict[str, list[str]] = {}

    def observe(self, operation: str, params: Mapping[str, Any], answer: dict[str, Any]) -> None:
        """Put into moto's answer about services what runs."""
        if operation in ("CreateService", "UpdateService"):
            self._deploy(answer["service"], operation, params)
        if operation in ("CreateService", "UpdateService", "DescribeServices"):
            for service in [*answer.get("services", []), *filter(None, [answer.get("service")])]:
                self._settle(service)

    def resolved(self, task_definition: str) -> dict[str, dict[str, str]]:
        """The secrets of a definition by container and variable; raises LookupError when one cannot be fetched."""
        definition = self._definition(task_definition)
        return {
            container["name"]: {item["name"]: self._secret(item["valueFrom"]) for item in container.get("secrets", [])}
            for container in definition["containerDefinitions"]
        }

    def why_not(self, task_definition: str) -> str:
        """Why a task of this definition could not start; empty when it can."""
        definition = self._definition(task_definition)
        for container in definition["containerDefinitions"]:
            if not _DIGEST.fullmatch(container["image"]):
                return f"CannotPullContainerError: {container['image']} is no digest"
            group = container.get("logConfiguration", {}).get("options", {}).get("awslogs-group")
            if group and not self._log_group(group):
                return f"ResourceInitializationError: the log group {group} does not exist"
        try:
            self.resolved(task_definition)
        except LookupError as error:
            return f"ResourceInitializationError: unable to pull secrets: {error}"
        return ""

    def _why_no_deployment(self, task_definition: str) -> str:
        images = {container["image"] for container in self._definition(task_definition)["containerDefinitions"]}
        gone = sorted(images & self.broken_services)
        return f"CannotPullContainerError: {gone[0]} was not found" if gone else self.why_not(task_definition)

    def _definition(self, arn: str) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._client("ecs").describe_task_definition(taskDefinition=arn)["taskDefinition"]
        return found

    def _log_group(self, name: str) -> bool:
        groups = self._client("logs").describe_log_groups(logGroupNamePrefix=name)["logGroups"]
        return any(group["logGroupName"] == name for group in groups)

    def _secret(self, value_from: str) -> str:
        import json

        match = _SECRET.fullmatch(value_from)
        arn, key, version = (match["arn"], match["key"], match["version"]) if match else (value_from, "", "")
        manager = self._client("secretsmanager")
        try:
            answer = manager.get_secret_value(SecretId=arn, **({"VersionId": version} if version else {}))
        except manager.exceptions.ClientError as error:
            raise LookupError(f"{value_from}: {error}") from None
        text: str = answer["SecretString"]
        if not key:
            return text
        try:
            return str(json.loads(text)[key])
        except (ValueError, KeyError):
            raise LookupError(f"{value_from}: the secret has no key {key!r}") from None

    def run(self, params: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Start tasks that end at once; a client token that was used before tells of the tasks that it started."""
        token = params.get("clientToken")
        if token in self._tokens:
            return [self.tasks[arn] for arn in self._tokens[token]]
        definition = self._definition(params["taskDefinition"])
        family = definition["family"]
        reason = self.why_not(definition["taskDefinitionArn"])
        started = []
        for _ in range(params.get("count", 1)):
            task = self._task(params["cluster"], definition, group=params.get("group", f"family:{family}"))
            task["startedBy"] = params.get("startedBy", "")
            # The answer to a start tells of a task that has not begun: its end shows when it is asked about.
            waiting = [{**container, "lastStatus": "PENDING"} for container in task["containers"]]
            started.append({**task, "lastStatus": "PROVISIONING", "containers": waiting})
            self._end(task, reason, self.exit_codes.get(family, 0))
            if not reason:
                self._write(task["taskArn"], definition)
        if token:
            self._tokens[token] = [task["taskArn"] for task in started]
        return started

    def _task(self, cluster: str, definition: Mapping[str, Any], *, group: str) -> dict[str, Any]:
        cluster_arn = self._client("ecs").describe_clusters(clusters=[cluster])["clusters"][0]["clusterArn"]
        arn = f"{cluster_arn.replace(':cluster/', ':task/')}/{uuid.uuid4().hex}"
        now = datetime.now(UTC)
        task: dict[str, Any] = {
            "taskArn": arn,
            "clusterArn": cluster_arn,
            "taskDefinitionArn": definition["taskDefinitionArn"],
            "group": group,
            "launchType": "FARGATE",
            "lastStatus": "RUNNING",
            "desiredStatus": "RUNNING",
            "createdAt": now,
            "startedAt": now,
            "containers": [
                {
                    "name": container["name"],
                    "containerArn": f"{arn.replace(':task/', ':container/')}/{uuid.uuid4()}",
                    "taskArn": arn,
                    "lastStatus": "RUNNING",
                }
                for container in definition["containerDefinitions"]
            ],
        }
        self.tasks[arn] = task
        return task

    def _end(self, task: dict[str, Any], reason: str, code: int) -> None:
        task.update(
            lastStatus="STOPPED",
            desiredStatus="STOPPED",
            stoppedAt=datetime.now(UTC),
            stopCode="TaskFailedToStart" if reason else "EssentialContainerExited",
            stoppedReason=reason or "Essential container in task exited",
        )
        for container in task["containers"]:
            container["lastStatus"] = "STOPPED"
            if not reason:
                container["exitCode"] = code

    def _write(self, arn: str, definition: Mapping[str, Any]) -> None:
        lines = self.output.get(definition["family"], [f"{definition['family']} done"])
        logs = self._client("logs")
        for container in definition["containerDefinitions"]:
            options = container.get("logConfiguration", {}).get("options", {})
            if "awslogs-group" not in options:
                continue
            stream = f"{options.get('awslogs-stream-prefix', 'task')}/{container['name']}/{arn.rsplit('/', 1)[-1]}"
            logs.create_log_stream(logGroupName=options["awslogs-group"], logStreamName=stream)
            at = int(datetime.now(UTC).timestamp() * 1000)
            events = [{"timestamp": at + n, "message": line} for n, line in enumerate(lines)]
            logs.put_log_events(logGroupName=options["awslogs-group"], logStreamName=stream, logEvents=events)

    def _deploy(self, service: dict[str, Any], operation: str, params: Mapping[str, Any]) -> None:
        """A deployment begins when a service is made, or gets another definition or forceNewDeployment."""
        known = self.deployments.setdefault(service["serviceArn"], [])
        wanted = service["taskDefinition"]
        same = operation == "UpdateService" and known and known[0]["taskDefinition"] == wanted
        if same and not params.get("forceNewDeployment"):
            return
        number = uuid.uuid4().hex[:22]
        arn = service["serviceArn"].replace(":service/", ":service-deployment/")
        revision = service["serviceArn"].replace(":service/", ":service-revision/")
        reason = self._why_no_deployment(wanted)
        breaker = service.get("deploymentConfiguration", {}).get("deploymentCircuitBreaker", {})
        now = datetime.now(UTC)
        if reason:
            definition = self._definition(wanted)
            task = self._task(service["clusterArn"], definition, group=f"service:{service['serviceName']}")
            self._end(task, reason, 1)
        known.insert(
            0,
            {
                "id": f"ecs-svc/{uuid.uuid4().int % 10**19:019d}",
                "taskDefinition": wanted,
                "serviceDeploymentArn": f"{arn}/{number}",
                "revision": f"{revision}/{number}",
                "status": ("ROLLBACK_SUCCESSFUL" if breaker.get("rollback") else "STOPPED") if reason else "SUCCESSFUL",
                "reason": reason,
                "at": now,
            },
        )

    def _settle(self, service: dict[str, Any]) -> None:
        known = self.deployments.get(service["serviceArn"])
        if not known or service.get("status") == "INACTIVE":
            return
        # What runs is the newest deployment that could: a failed one was rolled back.
        running = next((item for item in known if not item["reason"]), None)
        count = service.get("desiredCount", 0) if running else 0
        shown = running or known[0]
        service["taskDefinition"] = shown["taskDefinition"]
        service["runningCount"], service["pendingCount"] = count, 0
        service["deployments"] = [
            {
                "id": shown["id"],
                "status": "PRIMARY",
                "taskDefinition": shown["taskDefinition"],
                "desiredCount": service.get("desiredCount", 0),
                "runningCount": count,
                "pendingCount": 0,
                "failedTasks": 0 if running else 3,
                "rolloutState": "COMPLETED" if running else "FAILED",
                "rolloutStateReason": shown["reason"] or f"ECS deployment {shown['id']} completed.",
                "createdAt": shown["at"],
                "updatedAt": shown["at"],
            }
        ]
