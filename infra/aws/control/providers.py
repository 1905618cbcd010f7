"""The providers of the control resources: each does something rather than keeps something. It is done when what it is
keyed on changes, and undone by nothing.

A preview makes no call and needs no permission: what is done follows from the inputs alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from infra.dynamic_provider import DynamicProvider


class Properties(BaseModel):
    """A resource's inputs. What else is in its property map is ignored."""

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


class TaskSequenceProvider(DynamicProvider[TaskSequence]):
    """Runs tasks one after the other; outputs: `tasks`, their ARNs. The first failure ends it."""

    properties = TaskSequence

    def identity(self, props: Mapping[str, Any], /) -> str:
        return str(props["cluster"]).rsplit("/", 1)[-1]

    def changed(self, olds: Mapping[str, Any], news: Mapping[str, Any], /) -> bool:
        return _keyed_on(olds) != _keyed_on(news)

    def apply(self, props: TaskSequence, _olds: Mapping[str, Any], /) -> dict[str, Any]:
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


class RolloutProvider(DynamicProvider[Rollout]):
    """Waits for the deployment of a task definition; outputs: `deployment`, its ARN or id."""

    properties = Rollout

    def identity(self, props: Mapping[str, Any], /) -> str:
        return str(props["service"])

    def changed(self, olds: Mapping[str, Any], news: Mapping[str, Any], /) -> bool:
        return any(olds.get(key) != news.get(key) for key in ("cluster", "service", "task_definition"))

    def apply(self, props: Rollout, _olds: Mapping[str, Any], /) -> dict[str, Any]:
        from infra.aws.control.clients import connect
        from infra.aws.control.rollout_waiter import RolloutTarget, await_rollout

        target = RolloutTarget(
            cluster=props.cluster,
            service=props.service,
            task_definition=props.task_definition,
            timeout=props.timeout,
        )
        return {"deployment": await_rollout(connect(props.region), target)}


def _keyed_on(props: Mapping[str, Any]) -> tuple[Any, ...]:
    """Networks and time limits are not part of it: no task runs for a change of those."""
    steps = props.get("steps")
    if isinstance(steps, list) and all(isinstance(step, Mapping) for step in steps):
        steps = [(step.get("name"), step.get("task_definition")) for step in steps]
    return (props.get("cluster"), props.get("image"), steps, props.get("triggers"))


def _key(props: TaskSequence, step: Step) -> str:
    triggers = "\n".join(f"{name}={value}" for name, value in sorted(props.triggers.items()))
    text = "\n".join([props.cluster, step.name, step.task_definition, props.image, triggers])
    return hashlib.sha256(text.encode()).hexdigest()
