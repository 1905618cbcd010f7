"""The key that encrypts what the stack keeps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pulumi
import pulumi_aws as aws

from infra.aws.iam import Statement, account_statement, document
from infra.aws.naming import partition
from infra.aws.notifications import encryption_of_alerts
from infra.component import Component, ComponentArgs

Key = pulumi.Input[str] | None
"""The ARN of a KMS key; None where AWS's own keys encrypt."""

_USE = ("kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*")


@dataclass(frozen=True, kw_only=True)
class KeysArgs(ComponentArgs):
    """`account` and `region` are needed with a key of the stack's own: its policy names them."""

    customer_key: bool = False
    """Make a key. Otherwise each service encrypts with the key that AWS manages for it."""
    key_arn: pulumi.Input[str] | None = None
    """A key that exists already; it must let the stack's services use it."""
    account: str | None = None
    region: str | None = None


class Keys(Component):
    """The customer managed KMS key, by choice.

    Creates: a key with yearly rotation and its alias; nothing by default. Costs: nothing with AWS's own keys; 1 USD a
    month, and another for each of the first two rotations, and 0.03 USD per 10 000 uses. Exports: `arn`, None where AWS
    manages the keys. Replaces: nothing; but putting another key before data that exists replaces the database, the
    cache and the repository, because RDS, ElastiCache and ECR fix the key at creation.
    """

    arn: pulumi.Input[str] | None

    def __init__(self, name: str, args: KeysArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:Keys", name, opts, args.transforms)
        self.arn = self._made(args) if args.customer_key else args.key_arn
        self.finish({"arn": self.arn})

    def _made(self, args: KeysArgs) -> pulumi.Output[str]:
        if args.account is None or args.region is None:
            raise ValueError("a key of the stack's own needs the account and the region: its policy names them")
        stack = f"{pulumi.get_project()}-{pulumi.get_stack()}"
        key = self.inner(
            "key",
            aws.kms.Key,
            {
                "description": f"Data at rest of {stack}",
                "enable_key_rotation": True,
                # The longest wait: whatever the key encrypted is lost with it.
                "deletion_window_in_days": 30,
                "policy": pulumi.Output.json_dumps(key_policy(args.account, args.region)),
            },
        )
        self.inner("alias", aws.kms.Alias, {"name": f"alias/{stack}", "target_key_id": key.key_id})
        arn: pulumi.Output[str] = key.arn
        return arn


def key_policy(account: str, region: str) -> dict[str, Any]:
    """Who may use the key: the account, as its IAM policies say, and the AWS services that write for the stack."""
    logs = f"arn:{partition(region)}:logs:{region}:{account}:log-group:*"
    return document(
        account_statement(account, partition(region)),
        Statement(
            sid="Logs",
            principal={"Service": f"logs.{region}.amazonaws.com"},
            actions=_USE,
            resources="*",
            conditions={"ArnLike": {"kms:EncryptionContext:aws:logs:arn": logs}},
        ),
        *encryption_of_alerts(account, sid="Alerts"),
    )
