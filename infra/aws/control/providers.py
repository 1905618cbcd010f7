"""The providers of the control resources. They have no state of their own, so several threads may use one at once.

They are found by name in the state file, never as code: moving or renaming a class here breaks the stacks that exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, ClassVar

from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    ResourceProvider,
    UpdateResult,
)
from pulumi.output import Unknown
from pulumi.runtime.rpc import UNKNOWN
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Properties(BaseModel):
    """A resource's inputs. What else is in its property map (outputs, the pickled provider) is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    region: str


class Step(BaseModel):
    """One task of a sequence."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{0,31}$")
    task_definition: str
    """ARN with its revision."""
    security_groups: tuple[str, ...]
    timeout: float = Field(gt=0)


class TaskSequence(Properties):
    cluster: str
    steps: tuple[Step, ...] = Field(min_length=1)
    subnets: tuple[str, ...] = Field(min_length=1)
    assign_public_ip: bool
    image: str
    triggers: dict[str, str]


class Rollout(Properties):
    cluster: str
    service: str
    task_definition: str
    timeout: float = Field(gt=0)
    triggers: dict[str, str]


class ControlProvider(ResourceProvider):
    """A deed rather than a thing: done when what it is keyed on changes, and undone by nothing."""

    properties: ClassVar[type[Properties]]

    def keyed_on(self, props: Mapping[str, Any], /) -> Any:
        """The part of the inputs whose change repeats the deed."""
        raise NotImplementedError

    def do(self, props: Any, /) -> dict[str, Any]:
        """Do it; returns the computed outputs. Raises ControlError when it fails."""
        raise NotImplementedError

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        if has_unknown(news):
            return CheckResult(news, [])
        try:
            self.properties.model_validate(news)
        except ValidationError as error:
            failures = [CheckFailure(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors()]
            return CheckResult(news, failures)
        return CheckResult(news, [])

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        """By the inputs alone: a preview makes no call and needs no permission."""
        return DiffResult(changes=self.keyed_on(_olds) != self.keyed_on(_news))

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(self.identity(props), self._done(props))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(self._done(_news))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        return ReadResult(id_, props)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Nothing: what was done stays done."""

    def identity(self, props: Mapping[str, Any], /) -> str:
        """The resource's id."""
        raise NotImplementedError

    def _done(self, news: dict[str, Any]) -> dict[str, Any]:
        inputs = {key: value for key, value in news.items() if not key.startswith("__")}
        return {**inputs, **self.do(self.properties.model_validate(inputs))}


class TaskSequenceProvider(ControlProvider):
    """Runs tasks one after the other; outputs: `tasks`, their ARNs. The first failure ends it."""

    properties = TaskSequence

    def keyed_on(self, props: Mapping[str, Any], /) -> Any:
        """Networks and time limits are how, not what: no task runs for a change of those."""
        steps = props.get("steps")
        if isinstance(steps, list) and all(isinstance(step, Mapping) for step in steps):
            steps = [(step.get("name"), step.get("task_definition")) for step in steps]
        return (props.get("cluster"), props.get("image"), steps, props.get("triggers"))

    def identity(self, props: Mapping[str, Any], /) -> str:
        return str(props["cluster"]).rsplit("/", 1)[-1]

    def do(self, props: TaskSequence, /) -> dict[str, Any]:
        from infra.aws.control.clients import connect
        from infra.aws.control.run_task import TaskRequest, run_task

        clients = connect(props.region)
        done = []
        for step in props.steps:
            wanted = TaskRequest(
                name=step.name,
                key=_key(props, step),
                cluster=props.cluster,
                task_definition=step.task_definition,
                subnets=props.subnets,
                security_groups=step.security_groups,
                assign_public_ip=props.assign_public_ip,
                timeout=step.timeout,
            )
            done.append(run_task(clients, wanted).task)
        return {"tasks": done}


class RolloutProvider(ControlProvider):
    """Waits for the deployment of a task definition; outputs: `deployment`, its ARN or id."""

    properties = Rollout

    def keyed_on(self, props: Mapping[str, Any], /) -> Any:
        return tuple(props.get(key) for key in ("cluster", "service", "task_definition", "triggers"))

    def identity(self, props: Mapping[str, Any], /) -> str:
        return str(props["service"])

    def do(self, props: Rollout, /) -> dict[str, Any]:
        from infra.aws.control.clients import connect
        from infra.aws.control.rollout_waiter import RolloutTarget, await_rollout

        target = RolloutTarget(
            cluster=props.cluster,
            service=props.service,
            task_definition=props.task_definition,
            timeout=props.timeout,
        )
        return {"deployment": await_rollout(connect(props.region), target)}


def _key(props: TaskSequence, step: Step) -> str:
    triggers = "\n".join(f"{name}={value}" for name, value in sorted(props.triggers.items()))
    text = "\n".join([props.cluster, step.name, step.task_definition, props.image, triggers])
    return hashlib.sha256(text.encode()).hexdigest()


def has_unknown(value: Any) -> bool:
    """Whether a preview does not know all of it yet."""
    match value:
        case Mapping():
            return any(has_unknown(item) for item in value.values())
        case list() | tuple():
            return any(has_unknown(item) for item in value)
    return isinstance(value, Unknown) or value == UNKNOWN
