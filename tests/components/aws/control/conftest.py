"""A simulated ECS and CloudWatch Logs behind real botocore clients.

What the code sends passes botocore's own checks and the service model's enums, patterns and ranges; what the simulation
answers is held against the same model, so that a test cannot pass on an answer that AWS could not give.
"""

from __future__ import annotations

import dataclasses
import datetime
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from botocore.model import ListShape, MapShape, Shape, StructureShape
from botocore.session import get_session
from botocore.validate import ParamValidator

from infra.aws.control.clients import FACTORY, Clients

REGION = "eu-central-1"
PREFIX = f"arn:aws:ecs:{REGION}:123456789012"
CLUSTER = f"{PREFIX}:cluster/slipway"
START = datetime.datetime(2026, 11, 1, 12, 0, tzinfo=datetime.UTC)


def definition(revision: int, family: str = "api") -> str:
    return f"{PREFIX}:task-definition/{family}:{revision}"


class SimulatedClock:
    """Time passes only while somebody sleeps; each moment of the script happens on the way."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._script: list[tuple[float, Callable[[], None]]] = []

    def at(self, seconds: float, happening: Callable[[], None]) -> None:
        self._script.append((seconds, happening))
        self._script.sort(key=lambda one: one[0])
        self._play()

    def monotonic(self) -> float:
        return self.seconds

    def now(self) -> datetime.datetime:
        return START + datetime.timedelta(seconds=self.seconds)

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.seconds += seconds
        assert self.seconds < 100_000, "waits without bound"
        self._play()

    def _play(self) -> None:
        while self._script and self._script[0][0] <= self.seconds:
            self._script.pop(0)[1]()


class Refusal(Exception):
    def __init__(self, code: str, message: str = "", status: int = 400, **members: Any) -> None:
        super().__init__(code)
        self.answer = {"Error": {"Code": code, "Message": message or code}, **members}
        self.status = status


class SimulatedAws:
    """State that tests write directly, and the operations that read it."""

    def __init__(self) -> None:
        self.clock = SimulatedClock()
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.faults: list[tuple[str, Refusal | Mapping[str, Any]]] = []
        """Answers to the next calls of an operation, in place of the right ones."""
        self.tasks: dict[str, dict[str, Any]] = {}
        self.hidden: set[str] = set()
        """Tasks that the API does not show yet."""
        self.tokens: dict[str, tuple[str, dict[str, Any]]] = {}
        self.definitions: dict[str, dict[str, Any]] = {}
        self.logs: dict[str, list[str]] = {}
        self.service: dict[str, Any] | None = None
        self.service_deployments: list[dict[str, Any]] = []
        self.on_run: Callable[[dict[str, Any]], None] = lambda task: None

    def actions(self) -> list[str]:
        return [name for name, _ in self.calls]

    def define(self, arn: str, *, sidecar: bool = False) -> str:
        family = arn.rsplit("/", 1)[1].split(":")[0]
        containers = [
            {
                "name": family,
                "essential": True,
                "logConfiguration": {
                    "logDriver": "awslogs",
                    "options": {
                        "awslogs-group": f"/slipway/{family}",
                        "awslogs-stream-prefix": family,
                        "awslogs-region": REGION,
                    },
                },
            }
        ]
        if sidecar:
            containers.append({"name": "sidecar", "essential": False})
        self.definitions[arn] = {"taskDefinitionArn": arn, "family": family, "containerDefinitions": containers}
        return arn

    def add_task(
        self, number: int, task_definition: str, started_by: str, status: str = "PROVISIONING"
    ) -> dict[str, Any]:
        arn = f"{PREFIX}:task/slipway/{number:032x}"
        family = task_definition.rsplit("/", 1)[1].split(":")[0]
        self.tasks[arn] = {
            "taskArn": arn,
            "clusterArn": CLUSTER,
            "taskDefinitionArn": task_definition,
            "startedBy": started_by,
            "lastStatus": status,
            "desiredStatus": "RUNNING",
            "createdAt": self.clock.now(),
            "containers": [{"name": family, "lastStatus": "PENDING"}],
        }
        return self.tasks[arn]

    def run_task_to(self, task: dict[str, Any], status: str) -> None:
        task["lastStatus"] = status
        task.setdefault("startedAt", self.clock.now())

    def end_task(
        self,
        task: dict[str, Any],
        *,
        code: int | None = 0,
        reason: str = "Essential container in task exited",
        stop_code: str = "EssentialContainerExited",
        container_reason: str | None = None,
    ) -> None:
        task |= {
            "lastStatus": "STOPPED",
            "desiredStatus": "STOPPED",
            "stoppedAt": self.clock.now(),
            "stoppedReason": reason,
            "stopCode": stop_code,
        }
        if code is not None:
            task.setdefault("startedAt", self.clock.now())
            task["containers"][0]["exitCode"] = code
        if container_reason:
            task["containers"][0]["reason"] = container_reason

    def write(self, task: Mapping[str, Any], *lines: str) -> None:
        family = task["taskDefinitionArn"].rsplit("/", 1)[1].split(":")[0]
        stream = f"/slipway/{family}|{family}/{family}/{task['taskArn'].rsplit('/', 1)[1]}"
        self.logs.setdefault(stream, []).extend(lines)

    # The operations, by their names in the API.

    def RunTask(self, request: dict[str, Any]) -> dict[str, Any]:
        token = request["clientToken"]
        if token in self.tokens:
            arn, earlier = self.tokens[token]
            if earlier != request:
                raise Refusal("ConflictException", "the token is in use", resourceIds=[arn])
            return {"tasks": [self.tasks.get(arn) or {"taskArn": arn, "lastStatus": "STOPPED"}], "failures": []}
        task = self.add_task(len(self.tasks) + 1, request["taskDefinition"], request["startedBy"])
        self.tokens[token] = (task["taskArn"], request)
        self.on_run(task)
        return {"tasks": [task], "failures": []}

    def StopTask(self, request: dict[str, Any]) -> dict[str, Any]:
        task = self.tasks[request["task"]]
        task |= {"desiredStatus": "STOPPED", "lastStatus": "DEACTIVATING"}

        def end() -> None:
            self.end_task(task, code=137, reason=request["reason"], stop_code="UserInitiated")

        self.clock.at(self.clock.seconds + 30, end)
        return {"task": task}

    def ListTasks(self, request: dict[str, Any]) -> dict[str, Any]:
        if "startedBy" in request:
            assert set(request) <= {"cluster", "startedBy", "nextToken", "maxResults"}, "it must be the only filter"
        found = [task for arn, task in self.tasks.items() if arn not in self.hidden]
        found = [task for task in found if task["desiredStatus"] == request.get("desiredStatus", "RUNNING")]
        if "startedBy" in request:
            found = [task for task in found if task["startedBy"] == request["startedBy"]]
        if "family" in request:
            found = [t for t in found if t["taskDefinitionArn"].rsplit("/", 1)[1].split(":")[0] == request["family"]]
        if "serviceName" in request:
            found = [task for task in found if task["startedBy"].startswith("ecs-svc/")]
        first = int(request.get("nextToken", 0))
        page: dict[str, Any] = {"taskArns": [task["taskArn"] for task in found[first : first + 2]]}
        return {**page, "nextToken": str(first + 2)} if len(found) > first + 2 else page

    def DescribeTasks(self, request: dict[str, Any]) -> dict[str, Any]:
        assert 1 <= len(request["tasks"]) <= 100
        there = [arn for arn in request["tasks"] if arn in self.tasks and arn not in self.hidden]
        missing = [{"arn": arn, "reason": "MISSING"} for arn in request["tasks"] if arn not in there]
        return {"tasks": [self.tasks[arn] for arn in there], "failures": missing}

    def DescribeTaskDefinition(self, request: dict[str, Any]) -> dict[str, Any]:
        return {"taskDefinition": self.definitions[request["taskDefinition"]]}

    def DescribeServices(self, request: dict[str, Any]) -> dict[str, Any]:
        if self.service is None:
            return {"services": [], "failures": [{"arn": request["services"][0], "reason": "MISSING"}]}
        return {"services": [self.service], "failures": []}

    def ListServiceDeployments(self, request: dict[str, Any]) -> dict[str, Any]:
        briefs = [
            {
                **{key: one[key] for key in ("serviceDeploymentArn", "createdAt", "status")},
                "targetServiceRevisionArn": one["targetServiceRevision"]["arn"],
            }
            for one in self.service_deployments
        ]
        return {"serviceDeployments": briefs}

    def DescribeServiceDeployments(self, request: dict[str, Any]) -> dict[str, Any]:
        assert 1 <= len(request["serviceDeploymentArns"]) <= 20
        found = [
            one for one in self.service_deployments if one["serviceDeploymentArn"] in request["serviceDeploymentArns"]
        ]
        return {"serviceDeployments": found}

    def DescribeServiceRevisions(self, request: dict[str, Any]) -> dict[str, Any]:
        # A revision's ARN ends in the number of its task definition here.
        revisions = [
            {"serviceRevisionArn": arn, "taskDefinition": definition(int(arn.rsplit("/", 1)[1]))}
            for arn in request["serviceRevisionArns"]
        ]
        return {"serviceRevisions": revisions}

    def GetLogEvents(self, request: dict[str, Any]) -> dict[str, Any]:
        stream = f"{request['logGroupName']}|{request['logStreamName']}"
        if stream not in self.logs:
            raise Refusal("ResourceNotFoundException", "The specified log stream does not exist.")
        return {"events": [{"timestamp": 1, "message": line} for line in self.logs[stream][-request["limit"] :]]}

    def answer(self, operation: str, request: dict[str, Any]) -> Mapping[str, Any]:
        self.calls.append((operation, request))
        for place, (name, fault) in enumerate(self.faults):
            if name == operation:
                del self.faults[place]
                if isinstance(fault, Refusal):
                    raise fault
                return fault
        found: Mapping[str, Any] = getattr(self, operation)(request)
        return found


def violations(shape: Shape, value: Any, path: str) -> Iterator[str]:
    """Where a value breaks enums, patterns and lengths, which botocore's own validator does not look at."""
    match shape:
        case StructureShape():
            for name, item in value.items():
                yield from violations(shape.members[name], item, f"{path}.{name}")
        case ListShape():
            for place, item in enumerate(value):
                yield from violations(shape.member, item, f"{path}[{place}]")
        case MapShape():
            for name, item in value.items():
                yield from violations(shape.value, item, f"{path}.{name}")
        case _ if shape.type_name == "string":
            if getattr(shape, "enum", None) and value not in shape.enum:
                yield f"{path}: {value!r} is none of {shape.enum}"
            if shape.metadata.get("pattern") and not re.fullmatch(shape.metadata["pattern"], value):
                yield f"{path}: {value!r} does not match {shape.metadata['pattern']}"
            if len(value) > shape.metadata.get("max", len(value)):
                yield f"{path}: longer than {shape.metadata['max']}"


def conforms(shape: Shape | None, value: Mapping[str, Any], what: str) -> None:
    if shape is None:
        return
    report = ParamValidator().validate(value, shape)
    assert not report.has_errors(), f"{what}: {report.generate_report()}"
    assert not list(violations(shape, value, what))


@pytest.fixture(scope="session")
def wired() -> SimpleNamespace:
    """Real clients, without credentials or network, that ask `wired.aws` in place of AWS."""
    session = get_session()
    wiring = SimpleNamespace(aws=None)
    for name in ("ecs", "logs"):
        client = session.create_client(name, region_name=REGION, aws_access_key_id="none", aws_secret_access_key="none")
        wiring.__dict__[name] = client
        requests: list[dict[str, Any]] = []

        def keep(params: dict[str, Any], requests: list[dict[str, Any]] = requests, **_: Any) -> None:
            requests.append(dict(params))

        def respond(model: Any, requests: list[dict[str, Any]] = requests, **_: Any) -> tuple[Any, dict[str, Any]]:
            request = requests.pop()
            assert not list(violations(model.input_shape, request, model.name))
            try:
                answer = dict(wiring.aws.answer(model.name, request))
            except Refusal as refusal:
                metadata = {"HTTPStatusCode": refusal.status}
                known = {error.name for error in model.error_shapes}
                common = {"ThrottlingException", "AccessDeniedException", "ExpiredTokenException", "InternalFailure"}
                if refusal.answer["Error"]["Code"] not in known | common:
                    raise AssertionError(f"{model.name} does not fail with {refusal}") from None
                return SimpleNamespace(status_code=refusal.status), {**refusal.answer, "ResponseMetadata": metadata}
            conforms(model.output_shape, answer, f"the answer of {model.name}")
            return SimpleNamespace(status_code=200), {**answer, "ResponseMetadata": {"HTTPStatusCode": 200}}

        client.meta.events.register(f"provide-client-params.{name}", keep)
        client.meta.events.register(f"before-call.{name}", respond)
    return wiring


@pytest.fixture
def aws(wired: SimpleNamespace) -> SimulatedAws:
    wired.aws = SimulatedAws()
    return wired.aws


@pytest.fixture
def clients(wired: SimpleNamespace, aws: SimulatedAws) -> Clients:
    return Clients(region=REGION, ecs=wired.ecs, logs=wired.logs, clock=aws.clock)


@pytest.fixture
def refusal() -> type[Refusal]:
    return Refusal


@pytest.fixture
def names() -> SimpleNamespace:
    return SimpleNamespace(region=REGION, cluster=CLUSTER, prefix=PREFIX, definition=definition)


@pytest.fixture
def factory(clients: Clients, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("simulated_clients")
    module.__dict__["make"] = lambda region: dataclasses.replace(clients, region=region)
    monkeypatch.setitem(sys.modules, "simulated_clients", module)
    monkeypatch.setenv(FACTORY, "simulated_clients:make")
