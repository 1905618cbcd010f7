"""A record of the network's connections, accepted and refused."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from infra.aws.iam import Statement, policy, service_trust
from infra.component import Component

_AGGREGATION_S = 600
"""Seconds that one record covers. 60 would cost up to ten times as many records."""


def flow_logs(
    parent: Component, vpc_id: pulumi.Input[str], *, retention_days: int, key: pulumi.Input[str] | None
) -> None:
    """Make the log group, the role that writes to it, and the flow log, as inner resources of `parent`."""
    group = parent.inner(
        "flow-log-group",
        aws.cloudwatch.LogGroup,
        {"retention_in_days": retention_days, "kms_key_id": key},
    )
    role = parent.inner(
        "flow-log-role",
        aws.iam.Role,
        {
            "description": "Lets VPC flow logs write to their log group",
            "assume_role_policy": service_trust(
                "vpc-flow-logs.amazonaws.com",
                group.arn,
                source="arn:{partition}:ec2:{region}:{account}:vpc-flow-log/*",
                sid="FlowLogsOfThisAccount",
                actions=("sts:AssumeRole",),
            ),
        },
    )
    writing = Statement(
        sid="Write",
        actions=("logs:CreateLogStream", "logs:DescribeLogGroups", "logs:DescribeLogStreams", "logs:PutLogEvents"),
        resources=(group.arn, pulumi.Output.concat(group.arn, ":*")),
    )
    allowed = parent.inner(
        "flow-log-policy",
        aws.iam.RolePolicy,
        {"role": role.name, "policy": policy(writing)},
    )
    parent.inner(
        "flow-log",
        aws.ec2.FlowLog,
        {
            "vpc_id": vpc_id,
            "traffic_type": "ALL",
            "log_destination_type": "cloud-watch-logs",
            "log_destination": group.arn,
            "iam_role_arn": role.arn,
            "max_aggregation_interval": _AGGREGATION_S,
        },
        depends_on=[allowed],
    )
