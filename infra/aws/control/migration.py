"""The database made ready before anything new starts: its roles, then its schema."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi

from infra.aws.control.providers import TaskSequenceProvider
from infra.component import Component, ComponentArgs
from infra.contracts import Image
from infra.dynamic_provider import DynamicResource


@dataclass(frozen=True, kw_only=True)
class TaskRun:
    """One task to run to its end."""

    name: str
    """For messages and for finding it again: ``bootstrap``, ``migrate``."""
    task_definition: pulumi.Input[str]
    """ARN with its revision."""
    security_groups: Sequence[pulumi.Input[str]]
    timeout: int
    """Seconds after which it is stopped and has failed."""


@dataclass(frozen=True, kw_only=True)
class MigrationArgs(ComponentArgs):
    """`runs` go one after the other, each only after the one before ended well."""

    region: str
    cluster: pulumi.Input[str]
    """ARN."""
    image: Image
    runs: Sequence[TaskRun]
    subnets: pulumi.Input[Sequence[pulumi.Input[str]]]
    assign_public_ip: bool
    triggers: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Whatever else must have them run again when it changes: the identity of the database."""
    after: Sequence[pulumi.Resource] = ()
    """What must be there first and shows in no argument: rules between security groups, policies of roles."""


class TaskSequence(DynamicResource, module="slipway", name="EcsTaskSequence"):
    """Tasks that have run. Changing the image, a task definition or a trigger runs them again; nothing else does."""

    provider = TaskSequenceProvider()
    computed = ("tasks",)
    tasks: pulumi.Output[list[str]]


class Migration(Component):
    """Runs the one-off tasks, whenever the image, one of their task definitions or a trigger changed.

    Creates: nothing that stays. Costs: some minutes of Fargate. Exports: `tasks`, the ARNs of the tasks that ran; what
    depends on this component starts after all of them ended with exit code 0, or not at all. Replaces: nothing.
    Deleting it changes nothing in the database. An `up` that was cut off while a task ran finds that task again.
    """

    tasks: pulumi.Output[list[str]]

    def __init__(self, name: str, args: MigrationArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:Migration", name, opts, args.transforms)
        if not args.runs:
            raise ValueError("a migration needs at least one task to run")
        run = self.inner(
            "run",
            TaskSequence,
            {
                "region": args.region,
                "cluster": args.cluster,
                "image": args.image.reference,
                "steps": [{**vars(run), "security_groups": list(run.security_groups)} for run in args.runs],
                "subnets": args.subnets,
                "assign_public_ip": args.assign_public_ip,
                "triggers": dict(args.triggers),
            },
            depends_on=list(args.after),
        )
        self.tasks = run.tasks
        self.finish({"tasks": self.tasks})
