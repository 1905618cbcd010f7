"""Tasks that run once and end: their definitions, without anything that runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from infra.aws.cluster import Cluster
from infra.aws.control.migration import TaskRun
from infra.aws.task_definition import TaskDefinition, TaskDefinitionArgs, of_task
from infra.component import Component, ComponentArgs
from infra.contracts import Image, SecretRef, TaskSpec


@dataclass(frozen=True, kw_only=True)
class OneOffTask:
    """A task and the secrets that it may read: every variable that `spec` asks for."""

    spec: TaskSpec
    secrets: Mapping[str, SecretRef]
    security_groups: Sequence[pulumi.Input[str]]


@dataclass(frozen=True, kw_only=True)
class OneOffTasksArgs(ComponentArgs):
    cluster: Cluster
    image: Image
    tasks: Sequence[OneOffTask]
    repository_arns: Sequence[pulumi.Input[str]] = ()


class OneOffTasks(Component):
    """The tasks that prepare the database, each with a role that reads its own secrets and no others.

    Creates: for each a log group, an execution role and a task definition. Costs: nothing but their logs. Exports:
    `runs`, in the given order, for `Migration` and for a run by hand. Replaces: nothing; a change is a new revision.
    """

    runs: tuple[TaskRun, ...]
    log_groups: Mapping[str, pulumi.Output[str]]

    def __init__(self, name: str, args: OneOffTasksArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:OneOffTasks", name, opts, args.transforms)
        defined = {task.spec.name: self._define(task, args) for task in args.tasks}
        self.runs = tuple(
            TaskRun(
                name=task.spec.name,
                task_definition=defined[task.spec.name].arn,
                security_groups=task.security_groups,
                timeout=task.spec.timeout,
            )
            for task in args.tasks
        )
        self.log_groups = {name: definition.log_group for name, definition in defined.items()}
        self.finish({"task_definitions": {name: definition.arn for name, definition in defined.items()}})

    def _define(self, task: OneOffTask, args: OneOffTasksArgs) -> TaskDefinition:
        spec = task.spec
        return TaskDefinition(
            self,
            TaskDefinitionArgs(
                name=spec.name,
                platform=args.cluster.platform,
                containers=(of_task(spec, image=args.image.reference, secrets=task.secrets),),
                cpu=spec.cpu,
                memory=spec.memory,
                repository_arns=args.repository_arns,
                prefix=spec.name,
            ),
        )
