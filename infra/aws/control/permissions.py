"""What the deployer must be allowed, besides what the declared resources need.

RunTask also passes the tasks' roles: `iam:PassRole` comes with the task definitions, which name the same ones.
"""

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
    """``migration``, ``rollout``, ``scaling``."""
    reason: str
    conditions: tuple[tuple[str, str, str], ...] = ()
    """Operator, key, value."""


_ECS: Final = "arn:{partition}:ecs:{region}:{account}"
# Only where no resource names the cluster: a condition on a key that a request does not carry refuses it.
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
        action="ecs:StopTask",
        resource=_ECS + ":task/{cluster}/*",
        used_by=("migration",),
        reason="end a task that takes longer than its limit",
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
    ),
    Permission(
        action="ecs:ListServiceDeployments",
        resource=_ECS + ":service/{cluster}/*",
        used_by=("rollout",),
        reason="find the deployment that the update started, and any other beside it",
    ),
    Permission(
        action="ecs:DescribeServiceDeployments",
        resource=_ECS + ":service-deployment/{cluster}/*/*",
        used_by=("rollout",),
        reason="see whether a deployment was rolled back, and by what",
    ),
    Permission(
        action="ecs:DescribeServiceRevisions",
        resource=_ECS + ":service-revision/{cluster}/*/*",
        used_by=("rollout",),
        reason="know which task definition a deployment brings",
    ),
    Permission(
        action="ecs:UpdateService",
        resource=_ECS + ":service/{cluster}/*",
        used_by=("scaling",),
        reason="set the number of replicas when scaling is taken away",
    ),
    Permission(
        action="logs:GetLogEvents",
        resource="arn:{partition}:logs:{region}:{account}:log-group:/{project}/{stack}/*:log-stream:*",
        used_by=_BOTH,
        reason="show the last lines of a failed task",
    ),
)
"""In the order in which a deployment needs them."""
