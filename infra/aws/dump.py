"""The daily dump: a task of three containers, and the schedule that starts it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from infra.aws import dump_scripts as scripts
from infra.aws.cluster import TaskPlatform
from infra.aws.iam import Statement, service_trust, tasks_of
from infra.aws.naming import description
from infra.aws.roles import role_with_policy
from infra.aws.task_definition import Container, TaskDefinition, TaskDefinitionArgs
from infra.component import Component
from infra.contracts import SecretRef, TaskSpec

VOLUME: Final = "dump"
ROOT: Final = "0:0"
"""The first container opens the volume, which on Fargate belongs to root, to the user of the others. It has no
capability, and the application's image."""
EPHEMERAL_GIB: Final = (21, 200)
"""Disk of a Fargate task (API reference, EphemeralStorage)."""


@dataclass(frozen=True, kw_only=True)
class ShellContainer(Container):
    """A container that runs a script, in an image that may be another than the application's, with an entry point of
    its own."""

    places: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    """Names of resources, by variable. Never a secret."""

    def to_definition(self, *, log: Mapping[str, pulumi.Input[str]], exec_enabled: bool) -> dict[str, Any]:
        definition = super().to_definition(log=log, exec_enabled=exec_enabled)
        named = [{"name": name, "value": self.places[name]} for name in sorted(self.places)]
        return {**definition, "entryPoint": ["sh", "-c"], "environment": [*definition["environment"], *named]}


@dataclass(frozen=True, kw_only=True)
class DumpArgs:
    """`spec` is the dump as the workload describes it; `libpq` binds its secret variables."""

    platform: TaskPlatform
    spec: TaskSpec
    schedule: str
    """Cron expression in UTC."""
    libpq: Mapping[str, SecretRef]
    application_image: pulumi.Input[str]
    dump_image: pulumi.Input[str]
    """With `pg_dump` and `pg_restore`; the application's has them."""
    upload_image: str
    repository_arns: Sequence[pulumi.Input[str]] = ()
    subnet_ids: Sequence[pulumi.Input[str]]
    security_group_id: pulumi.Input[str]
    assign_public_ip: bool = False
    after: Sequence[pulumi.Resource] = ()
    """What makes the login, before the schedule moves to it."""
    retention_days: int = 30
    copy_region: str | None = None
    """Another region for a copy of each dump; never with a key of one's own."""
    disk_gib: int = EPHEMERAL_GIB[0]
    protect: bool = True


def task(owner: Component, args: DumpArgs, to: aws.s3.Bucket) -> TaskDefinition:
    """The task definition, whose code may add objects to the bucket and can neither read nor delete any."""
    statements = [
        Statement(
            sid="AddDumps",
            actions=("s3:AbortMultipartUpload", "s3:PutObject"),
            resources=(pulumi.Output.concat(to.arn, f"/{_prefix()}/*"),),
        )
    ]
    if args.platform.key_arn is not None:
        # Parts of an upload are put together by S3 with the same key, which counts as reading.
        actions = ("kms:Decrypt", "kms:GenerateDataKey")
        statements.append(Statement(sid="DumpsKey", actions=actions, resources=(args.platform.key_arn,)))
    return TaskDefinition(
        owner,
        TaskDefinitionArgs(
            name="backup",
            platform=args.platform,
            containers=containers(args, bucket_name=to.bucket),
            cpu=args.spec.cpu,
            memory=args.spec.memory,
            repository_arns=args.repository_arns,
            statements=tuple(statements),
            ephemeral_gib=args.disk_gib,
            prefix="dump",
        ),
    )


def containers(args: DumpArgs, *, bucket_name: pulumi.Input[str]) -> tuple[Container, ...]:
    """In the order in which they run, each only after the one before has ended with 0. The last is the task's own: when
    one before it fails, it never starts, and the task has failed. All but the first run as the application's user,
    whatever the image."""
    # A home, too: images of others do not know the user.
    common = {"DUMP_FOLDER": scripts.FOLDER, "DUMP_TIMEOUT": str(args.spec.timeout), "HOME": scripts.FOLDER}
    shared: dict[str, Any] = {"mounts": {VOLUME: scripts.FOLDER}}
    libpq = {name: secret.value for name, secret in args.libpq.items()}
    return (
        Container(
            name="certificates",
            image=args.application_image,
            command=("python", "-c", scripts.CERTIFICATES),
            environment=common,
            secrets={"PGSSLROOTCERT": libpq["PGSSLROOTCERT"]},
            essential=False,
            user=ROOT,
            **shared,
        ),
        ShellContainer(
            name="dump",
            image=args.dump_image,
            command=(scripts.DUMP, "dump", *args.spec.command),
            environment=common,
            secrets=libpq,
            after={"certificates": "SUCCESS"},
            essential=False,
            **shared,
        ),
        ShellContainer(
            name="upload",
            image=args.upload_image,
            command=(scripts.UPLOAD,),
            environment={**common, "DUMP_PREFIX": _prefix(), "DUMP_STACK": pulumi.get_stack()},
            places={"AWS_REGION": args.platform.region, "DUMP_BUCKET": bucket_name},
            after={"dump": "SUCCESS"},
            **shared,
        ),
    )


def schedule(
    owner: Component, args: DumpArgs, definition: TaskDefinition, *, after: Sequence[pulumi.Resource]
) -> aws.scheduler.Schedule:
    """Start the task every day, as soon as `after` is there. A start that fails is repeated for an hour; then the
    missing dump is an alarm."""
    role, allowed = role_with_policy(
        owner,
        "schedule-role",
        service_trust(
            "scheduler.amazonaws.com",
            args.platform.cluster_arn,
            # A schedule without a group of its own is in ``default``, and Scheduler names the group, not the schedule.
            source="arn:{partition}:scheduler:{region}:{account}:schedule-group/default",
        ),
        description("starts the dump"),
        *_starting(args, definition),
    )
    return owner.inner(
        "schedule",
        aws.scheduler.Schedule,
        {
            "description": description("daily dump"),
            "schedule_expression": aws_cron(args.schedule),
            "schedule_expression_timezone": "UTC",
            "flexible_time_window": {"mode": "OFF"},
            "target": {
                "arn": args.platform.cluster_arn,
                "role_arn": role.arn,
                "ecs_parameters": {
                    "task_definition_arn": definition.arn,
                    "task_count": 1,
                    "launch_type": "FARGATE",
                    "enable_ecs_managed_tags": True,
                    "propagate_tags": "TASK_DEFINITION",
                    "network_configuration": {
                        "subnets": list(args.subnet_ids),
                        "security_groups": [args.security_group_id],
                        "assign_public_ip": args.assign_public_ip,
                    },
                },
                "retry_policy": {"maximum_retry_attempts": 5, "maximum_event_age_in_seconds": 3600},
            },
        },
        depends_on=[allowed, *after, *args.after],
    )


def aws_cron(expression: str) -> str:
    """Five fields in AWS's form, which has a year and lets only one of the two kinds of day be given."""
    minute, hour, day, month, weekday = expression.split()
    if weekday != "*":
        raise ValueError(f"{expression}: AWS counts the days of the week from another one; give the day of the month")
    return f"cron({minute} {hour} {day} {month} ? *)"


def _prefix() -> str:
    return f"{pulumi.get_project()}/{pulumi.get_stack()}"


def _starting(args: DumpArgs, definition: TaskDefinition) -> tuple[Statement, ...]:
    """Any revision of this one family, in this one cluster, with this task's roles."""
    roles = [definition.execution_role_arn, definition.task_role_arn]
    family = definition.arn.apply(lambda arn: f"{arn.rpartition(':')[0]}:*")
    return (
        Statement(
            sid="Start",
            actions=("ecs:RunTask",),
            resources=(family,),
            conditions={"ArnEquals": {"ecs:cluster": args.platform.cluster_arn}},
        ),
        Statement(sid="TagTask", actions=("ecs:TagResource",), resources=(tasks_of(args.platform.cluster_arn),)),
        Statement(
            sid="PassRoles",
            actions=("iam:PassRole",),
            resources=[role for role in roles if role is not None],
            conditions={"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}},
        ),
    )
