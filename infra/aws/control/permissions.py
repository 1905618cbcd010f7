"""What the deployer must be allowed, besides what the declared resources need."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, kw_only=True)
class Permission:
    """One action, with the resources that it is for. `resource` has placeholders that a policy fills in:
    ``{partition} {region} {account} {cluster} {project} {stack}``; ``*`` where the action knows no resource."""

    action: str
    resource: str
    used_by: tuple[str, ...]
    """``migration``, ``rollout``."""
    reason: str
    conditions: tuple[tuple[str, str, str], ...] = ()
    """Operator, key, value."""


_ECS: Final = "arn:{partition}:ecs:{region}:{account}"
_CLUSTER: Final = ("ArnEquals", "ecs:cluster", _ECS + ":cluster/{cluster}")
_BOTH: Final = ("migration", "rollout")

PERMISSIONS: Final = (
    Permission(
        action="ecs:RunTask",
        resource=_ECS + ":task-definition/{project}-{stack}-*:*",
        used_by=("migration",),
        reason="start the bootstrap and migration tasks",
        conditions=(_CLUSTER,),
    ),
    Permission(
        action="ecs:TagResource",
        resource=_ECS + ":task/{cluster}/*",
        used_by=("migration",),
        reason="the tasks carry the tags of their task definition",
        conditions=(("StringEquals", "ecs:CreateAction", "RunTask"),),
    ),
    Permission(
        action="iam:PassRole",
        resource="arn:{partition}:iam::{account}:role/{project}-{stack}-*",
        used_by=("migration",),
        reason="the tasks run with their execution and task roles",
        conditions=(("StringEquals", "iam:PassedToService", "ecs-tasks.amazonaws.com"),),
    ),
    Permission(
        action="ecs:StopTask",
        resource=_ECS + ":task/{cluster}/*",
        used_by=("migration",),
        reason="end a task that takes longer than its limit",
        conditions=(_CLUSTER,),
    ),
    Permission(
        action="ecs:ListTasks",
        resource="*",
        used_by=_BOTH,
        reason="find a task under way, and the tasks of a failed rollout; granted by cluster, not by task",
        conditions=(_CLUSTER,),
    ),
    Permission(
        action="ecs:DescribeTasks",
        resource=_ECS + ":task/{cluster}/*",
        used_by=_BOTH,
        reason="see how tasks end, and why",
        conditions=(_CLUSTER,),
    ),
    Permission(
        action="ecs:DescribeTaskDefinition",
        resource="*",
        used_by=_BOTH,
        reason="know the essential containers and their log streams; the action knows no resource",
    ),
    Permission(
        action="ecs:DescribeServices",
        resource=_ECS + ":service/{cluster}/*",
        used_by=("rollout",),
        reason="see which deployment is the primary one",
        conditions=(_CLUSTER,),
    ),
    Permission(
        action="ecs:ListServiceDeployments",
        resource=_ECS + ":service/{cluster}/*",
        used_by=("rollout",),
        reason="find the deployment that the update started, and any other beside it",
        conditions=(_CLUSTER,),
    ),
    Permission(
        action="ecs:DescribeServiceDeployments",
        resource=_ECS + ":service-deployment/{cluster}/*/*",
        used_by=("rollout",),
        reason="see whether a deployment was rolled back, and by what",
        conditions=(_CLUSTER,),
    ),
    Permission(
        action="ecs:DescribeServiceRevisions",
        resource=_ECS + ":service-revision/{cluster}/*/*",
        used_by=("rollout",),
        reason="know which task definition a deployment brings",
        conditions=(_CLUSTER,),
    ),
    Permission(
        action="logs:GetLogEvents",
        resource="arn:{partition}:logs:{region}:{account}:log-group:/{project}/{stack}/*:log-stream:*",
        used_by=_BOTH,
        reason="show the last lines of a failed task",
    ),
)
"""In the order in which a deployment needs them."""
