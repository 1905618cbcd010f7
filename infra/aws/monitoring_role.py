"""The role with which RDS writes the host's figures to CloudWatch."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.aws.iam import service_trust
from infra.aws.naming import description, partition
from infra.component import Component


@dataclass(frozen=True, kw_only=True)
class MonitoringRole:
    """`policy` is to wait for: RDS tries the role when it is named."""

    role: aws.iam.Role
    policy: pulumi.Resource


def monitoring_role(owner: Component, *, region: str, neighbour_arn: pulumi.Input[str]) -> MonitoringRole:
    """Make it, as an inner resource of `owner`, for databases of this account and region. `neighbour_arn` is of any
    resource there."""
    trust = service_trust(
        "monitoring.rds.amazonaws.com", neighbour_arn, source="arn:{partition}:rds:{region}:{account}:db:*"
    )
    role = owner.inner(
        "monitoring-role",
        aws.iam.Role,
        {"assume_role_policy": trust, "description": description("host figures")},
    )
    policy = owner.inner(
        "monitoring-policy",
        aws.iam.RolePolicyAttachment,
        {
            "role": role.name,
            "policy_arn": f"arn:{partition(region)}:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole",
        },
    )
    return MonitoringRole(role=role, policy=policy)
