"""IAM documents as data, and what an ARN says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pulumi

_ARN: Final = re.compile(r"arn:(?P<partition>[^:]+):(?P<service>[^:]+):(?P<region>[^:]*):(?P<account>[^:]*):.+")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a resource is, as its ARN says."""

    partition: str
    region: str
    account: str


def place(arn: str) -> Place:
    """Partition, region and account of an ARN; ValueError for anything else."""
    if (match := _ARN.fullmatch(arn)) is None:
        raise ValueError(f"{arn!r} is no ARN")
    return Place(partition=match["partition"], region=match["region"], account=match["account"])


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One permission. `reason` is for the reader of a plan and becomes nothing."""

    sid: str
    actions: str | Sequence[str]
    resources: pulumi.Input[str] | Sequence[pulumi.Input[str]] = ()
    """None in a trust policy."""
    conditions: Mapping[str, Mapping[str, pulumi.Input[Any]]] | None = None
    effect: str = "Allow"
    principal: Mapping[str, pulumi.Input[Any]] | str | None = None
    """For policies of resources."""

    def to_policy(self) -> dict[str, Any]:
        """In IAM's own words."""
        return {
            "Sid": self.sid,
            "Effect": self.effect,
            **({"Principal": self.principal} if self.principal else {}),
            "Action": _one_or_list(self.actions),
            **({"Resource": _one_or_list(self.resources)} if self.resources else {}),
            **(
                {"Condition": {test: dict(values) for test, values in self.conditions.items()}}
                if self.conditions
                else {}
            ),
        }


def document(*statements: Statement) -> dict[str, Any]:
    """A policy document of these statements."""
    return {"Version": "2012-10-17", "Statement": [statement.to_policy() for statement in statements]}


def policy(*statements: Statement) -> pulumi.Output[str]:
    """The same as JSON."""
    return pulumi.Output.json_dumps(document(*statements))


def service_trust(
    service: str,
    neighbour_arn: pulumi.Input[str],
    *,
    source: str,
    sid: str = "OfThisAccount",
    actions: str | Sequence[str] = "sts:AssumeRole",
    if_sent: bool = False,
) -> pulumi.Output[str]:
    """Who may take a role: `service`, and only in the name of this account and of `source`, an ARN with
    ``{partition}``, ``{region}`` and ``{account}``, which may hold ``*``. Without them another account could have the
    service take the role for it (the confused deputy).

    `neighbour_arn` is of any resource in the same account and region. With `if_sent` the conditions hold wherever the
    service says for whom it acts: for one whose documentation does not promise that it always does.
    """

    def trust(arn: str) -> dict[str, Any]:
        where = place(arn)
        end = "IfExists" if if_sent else ""
        of = source.format(partition=where.partition, region=where.region, account=where.account)
        return document(
            Statement(
                sid=sid,
                principal={"Service": service},
                actions=actions,
                conditions={
                    f"StringEquals{end}": {"aws:SourceAccount": where.account},
                    f"ArnLike{end}": {"aws:SourceArn": of},
                },
            )
        )

    return pulumi.Output.json_dumps(pulumi.Output.from_input(neighbour_arn).apply(trust))


def task_trust(cluster_arn: pulumi.Input[str]) -> pulumi.Output[str]:
    """Who may take a task's role: ECS, and only for tasks of this account and region."""
    return service_trust(
        "ecs-tasks.amazonaws.com",
        cluster_arn,
        source="arn:{partition}:ecs:{region}:{account}:*",
        sid="TasksOfThisAccount",
    )


def tasks_of(cluster_arn: pulumi.Input[str]) -> pulumi.Output[str]:
    """Every task of a cluster, as a resource: a task's own ARN is not known before it runs."""
    return pulumi.Output.from_input(cluster_arn).apply(lambda arn: arn.replace(":cluster/", ":task/", 1) + "/*")


def account_statement(account: str, partition: str) -> Statement:
    """Of a key's policy: the account's own policies decide who may use and administer it. Without it nobody could."""
    return Statement(
        sid="Account", principal={"AWS": f"arn:{partition}:iam::{account}:root"}, actions="kms:*", resources="*"
    )


def _one_or_list(names: pulumi.Input[str] | Sequence[pulumi.Input[str]]) -> Any:
    return list(names) if isinstance(names, Sequence) and not isinstance(names, str) else names
