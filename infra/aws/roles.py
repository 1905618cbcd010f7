"""The two roles of a task: what ECS may do to start it, and what its own code may do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from infra.aws.iam import Statement, document, place, policy, task_trust, tasks_of
from infra.aws.secrets import secret_arn
from infra.component import Component

EXEC_CHANNELS: Final = (
    "ssmmessages:CreateControlChannel",
    "ssmmessages:CreateDataChannel",
    "ssmmessages:OpenControlChannel",
    "ssmmessages:OpenDataChannel",
)


def execution_role(
    owner: Component,
    role: str,
    *,
    task: str,
    cluster_arn: pulumi.Input[str],
    log_group_arn: pulumi.Input[str],
    secrets: Sequence[pulumi.Input[str]],
    repository_arns: Sequence[pulumi.Input[str]],
    key_arn: pulumi.Input[str] | None = None,
) -> tuple[pulumi.Output[str], pulumi.Resource]:
    """Make the role with which ECS starts a task; its ARN, and the policy to wait for.

    It reads exactly the secrets in `secrets` (addresses as in `valueFrom`), pulls from exactly these repositories, and
    writes to exactly one log group.
    """
    made = _role(owner, role, task_trust(cluster_arn), _purpose(f"Starts {task}"))
    inputs = pulumi.Output.all(
        log_group=log_group_arn,
        secrets=pulumi.Output.all(*map(_unsecret, secrets)),
        repositories=pulumi.Output.all(*repository_arns),
        key=key_arn,
    )
    attached = owner.inner(
        f"{role}-policy",
        aws.iam.RolePolicy,
        {"role": made.id, "policy": pulumi.Output.json_dumps(inputs.apply(lambda known: _execution_policy(**known)))},
    )
    return made.arn, attached


def task_role(
    owner: Component, role: str, *, task: str, cluster_arn: pulumi.Input[str], statements: Sequence[Statement]
) -> pulumi.Output[str] | None:
    """Make the role of a task's own code; its ARN. None for code that calls no AWS service: no credentials then exist
    in the task that could be stolen."""
    if not statements:
        return None
    made, attached = role_with_policy(
        owner, role, task_trust(cluster_arn), _purpose(f"The code of {task}"), *statements
    )
    # The ARN is there only with its policy: a task that starts before it would find itself without permissions.
    return pulumi.Output.all(made.arn, attached.id).apply(lambda parts: str(parts[0]))


def scale_in_protection(cluster_arn: pulumi.Input[str]) -> Statement:
    """Leave for a busy worker to say that it must not be stopped now."""
    actions = ("ecs:GetTaskProtection", "ecs:UpdateTaskProtection")
    return Statement(sid="ScaleInProtection", actions=actions, resources=(tasks_of(cluster_arn),))


def exec_statements(log_group_arn: pulumi.Input[str], key_arn: pulumi.Input[str] | None) -> tuple[Statement, ...]:
    """What a task needs for `aws ecs execute-command`, and for its record."""
    group = pulumi.Output.concat(log_group_arn, ":*")
    statements = (
        # Session Manager's channels have no ARN.
        Statement(sid="ExecChannels", actions=EXEC_CHANNELS, resources=("*",)),
        # Lists groups by prefix; IAM knows no narrower resource for it.
        Statement(sid="ExecLogGroups", actions=("logs:DescribeLogGroups",), resources=("*",)),
        Statement(
            sid="ExecLog",
            actions=("logs:CreateLogStream", "logs:DescribeLogStreams", "logs:PutLogEvents"),
            resources=(group,),
        ),
    )
    if key_arn is None:
        return statements
    return (*statements, Statement(sid="ExecKey", actions=("kms:Decrypt",), resources=(key_arn,)))


def _execution_policy(
    *,
    log_group: str,
    secrets: Sequence[str],
    repositories: Sequence[str],
    key: str | None,
) -> dict[str, Any]:
    where = place(log_group)
    pulled = sorted(set(repositories))
    kept = sorted({secret_arn(address) for address in secrets})
    statements = [
        Statement(sid="Log", actions=("logs:CreateLogStream", "logs:PutLogEvents"), resources=(f"{log_group}:*",))
    ]
    if pulled:
        statements += [
            # The registry's login has no ARN.
            Statement(sid="RegistryLogin", actions=("ecr:GetAuthorizationToken",), resources=("*",)),
            Statement(
                sid="Pull",
                actions=("ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"),
                resources=pulled,
            ),
        ]
    if kept:
        statements.append(Statement(sid="Secrets", actions=("secretsmanager:GetSecretValue",), resources=kept))
    if kept and key:
        statements.append(
            Statement(
                sid="SecretsKey",
                actions=("kms:Decrypt",),
                resources=(key,),
                conditions={"StringEquals": {"kms:ViaService": f"secretsmanager.{where.region}.amazonaws.com"}},
            )
        )
    return document(*statements)


def _unsecret(address: pulumi.Input[str]) -> pulumi.Output[str]:
    return pulumi.Output.unsecret(pulumi.Output.from_input(address))


def role_with_policy(
    owner: Component, role: str, trust: pulumi.Input[str], description: str, *statements: Statement
) -> tuple[aws.iam.Role, aws.iam.RolePolicy]:
    """Make the role and ``<role>-policy``, which is to wait for."""
    made = _role(owner, role, trust, description)
    attached = owner.inner(f"{role}-policy", aws.iam.RolePolicy, {"role": made.id, "policy": policy(*statements)})
    return made, attached


def _role(owner: Component, role: str, trust: pulumi.Input[str], description: str) -> aws.iam.Role:
    return owner.inner(role, aws.iam.Role, {"assume_role_policy": trust, "description": description})


def _purpose(text: str) -> str:
    return f"{text} of {pulumi.get_project()} {pulumi.get_stack()}"
