"""The role with which RDS writes the host's figures to CloudWatch."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_aws as aws

from infra.aws.identifiers import description
from infra.aws.naming import partition
from infra.component import Component


@dataclass(frozen=True, kw_only=True)
class MonitoringRole:
    """`policy` is to wait for: RDS tries the role when it is named."""

    role: aws.iam.Role
    policy: pulumi.Resource


def monitoring_role(owner: Component, *, region: str) -> MonitoringRole:
    """Make it, as an inner resource of `owner`."""
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "EnhancedMonitoring",
                "Effect": "Allow",
                "Principal": {"Service": "monitoring.rds.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    role = owner.inner(
        "monitoring-role",
        aws.iam.Role,
        {"assume_role_policy": pulumi.Output.json_dumps(trust), "description": description("host figures")},
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
