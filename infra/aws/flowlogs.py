"""A record of the network's connections, accepted and refused."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_aws as aws

from infra.aws.naming import partition
from infra.component import Component

_AGGREGATION_S = 600
"""Seconds that one record covers. 60 would cost up to ten times as many records."""


def flow_logs(
    parent: Component,
    vpc_id: pulumi.Input[str],
    *,
    retention_days: int,
    key: pulumi.Input[str] | None,
    region: str,
    account: str | None,
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
            "assume_role_policy": pulumi.Output.json_dumps(_trust(region, account)),
        },
    )
    policy = parent.inner(
        "flow-log-policy",
        aws.iam.RolePolicy,
        {"role": role.name, "policy": pulumi.Output.json_dumps(_policy(group.arn))},
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
        depends_on=[policy],
    )


def _trust(region: str, account: str | None) -> dict[str, Any]:
    """The service may act for this account's flow logs alone; another account could otherwise make it write here."""
    condition = {
        "StringEquals": {"aws:SourceAccount": account},
        "ArnLike": {"aws:SourceArn": f"arn:{partition(region)}:ec2:{region}:{account}:vpc-flow-log/*"},
    }
    statement: dict[str, Any] = {
        "Effect": "Allow",
        "Principal": {"Service": "vpc-flow-logs.amazonaws.com"},
        "Action": "sts:AssumeRole",
        **({"Condition": condition} if account else {}),
    }
    return {"Version": "2012-10-17", "Statement": [statement]}


def _policy(group_arn: pulumi.Output[str]) -> dict[str, Any]:
    statement = {
        "Effect": "Allow",
        "Action": [
            "logs:CreateLogStream",
            "logs:DescribeLogGroups",
            "logs:DescribeLogStreams",
            "logs:PutLogEvents",
        ],
        "Resource": [group_arn, pulumi.Output.concat(group_arn, ":*")],
    }
    return {"Version": "2012-10-17", "Statement": [statement]}
