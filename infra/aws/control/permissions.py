"""What the deployer must be allowed, besides what the declared resources need.

RunTask also passes the tasks' roles: `iam:PassRole` comes with the task definitions, which name the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
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
        "ecs:RunTask",
        _ECS + ":task-definition/{project}-{stack}-*:*",
        ("migration",),
        "start the bootstrap and migration tasks",
        (_CLUSTER,),
    ),
    Permission(
        "ecs:TagResource",
        _ECS + ":task/{cluster}/*",
        ("migration",),
        "the tasks carry the tags of their task definition",
        (("StringEquals", "ecs:CreateAction", "RunTask"),),
    ),
    Permission(
        "ecs:StopTask", _ECS + ":task/{cluster}/*", ("migration",), "end a task that takes longer than its limit"
    ),
    Permission(
        "ecs:ListTasks",
        "*",
        _BOTH,
        "find a task under way, and the tasks of a failed rollout; granted by cluster, not by task",
        (_CLUSTER,),
    ),
    Permission("ecs:DescribeTasks", _ECS + ":task/{cluster}/*", _BOTH, "see how tasks end, and why"),
    Permission(
        "ecs:DescribeTaskDefinition",
        "*",
        _BOTH,
        "know the essential containers and their log streams; the action knows no resource",
    ),
    Permission(
        "ecs:DescribeServices", _ECS + ":service/{cluster}/*", ("rollout",), "see which deployment is the primary one"
    ),
    Permission(
        "ecs:ListServiceDeployments",
        _ECS + ":service/{cluster}/*",
        ("rollout",),
        "find the deployment that the update started, and any other beside it",
    ),
    Permission(
        "ecs:DescribeServiceDeployments",
        _ECS + ":service-deployment/{cluster}/*/*",
        ("rollout",),
        "see whether a deployment was rolled back, and by what",
    ),
    Permission(
        "ecs:DescribeServiceRevisions",
        _ECS + ":service-revision/{cluster}/*/*",
        ("rollout",),
        "know which task definition a deployment brings",
    ),
    Permission(
        "ecs:UpdateService",
        _ECS + ":service/{cluster}/*",
        ("scaling",),
        "set the number of replicas when scaling is taken away",
    ),
    Permission(
        "logs:GetLogEvents",
        "arn:{partition}:logs:{region}:{account}:log-group:/{project}/{stack}/*:log-stream:*",
        _BOTH,
        "show the last lines of a failed task",
    ),
)
"""In the order in which a deployment needs them."""
