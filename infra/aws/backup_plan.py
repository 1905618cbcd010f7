"""AWS Backup: a vault and a plan for copies of the database, and restores that show that they can be used."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final, Literal

import pulumi
import pulumi_aws as aws

from infra.aws.iam import service_trust
from infra.aws.naming import description, partition, physical_name
from infra.component import Component

RestoreTest = Literal["weekly", "monthly", "never"]
_TEST_AFTER_HOURS: Final = 12
"""Hours from the snapshot to the restore test of that day: the snapshot is finished by then."""
_START_WINDOW: Final = 60
"""Minutes; AWS Backup's least."""
_COMPLETION_WINDOW: Final = 720
_SELECTION_DAYS: Final = {"weekly": 7, "monthly": 31}
"""A test that finds nothing so new has found that there are no new snapshots."""
_LONGEST_TEST_NAME: Final = 50


@dataclass(frozen=True, kw_only=True)
class BackupPlanArgs:
    """The instance, and how long its snapshots are kept."""

    instance_arn: pulumi.Input[str]
    origin_mark: str = ""
    """Tells instances of different origins apart; empty for one that started empty."""
    subnet_group_name: pulumi.Input[str]
    security_group_id: pulumi.Input[str]
    """The database's own, for the instances that a test restores."""
    region: str
    hour: int
    """UTC, clear of the database's own windows."""
    retention_days: int
    restore_test: RestoreTest
    key: pulumi.Input[str] | None
    protect: bool


def backup_plan(owner: Component, args: BackupPlanArgs) -> aws.backup.Vault:
    """The vault, the plan that fills it every day, and the plan that tests it."""
    made = owner.inner(
        "vault",
        aws.backup.Vault,
        {"kms_key_arn": args.key, "force_destroy": not args.protect},
    )
    plan = owner.inner(
        "plan",
        aws.backup.Plan,
        {
            "rules": [
                {
                    "rule_name": "daily",
                    "target_vault_name": made.name,
                    "schedule": f"cron(0 {args.hour} * * ? *)",
                    "schedule_expression_timezone": "UTC",
                    "start_window": _START_WINDOW,
                    "completion_window": _COMPLETION_WINDOW,
                    "lifecycle": {"delete_after": args.retention_days},
                    # With it, AWS Backup would take the instance's own retention and window over.
                    "enable_continuous_backup": False,
                }
            ]
        },
    )
    role, granted = _role(owner, args)
    owner.inner(
        "selection",
        aws.backup.Selection,
        {"plan_id": plan.id, "iam_role_arn": role.arn, "resources": [args.instance_arn]},
        depends_on=granted,
    )
    if args.restore_test != "never":
        _restore_test(owner, args, made, role, granted)
    return made


def _role(owner: Component, args: BackupPlanArgs) -> tuple[aws.iam.Role, list[pulumi.Resource]]:
    """The role with which AWS Backup copies and restores, and its policies to wait for."""
    # AWS documents what its copies and restores say of themselves for topics only: a condition on what is not sent
    # would end every backup, without a sign until the alarm of the missing ones.
    trust = service_trust(
        "backup.amazonaws.com",
        args.instance_arn,
        source="arn:{partition}:backup:{region}:{account}:*",
        if_sent=True,
    )
    role = owner.inner(
        "role",
        aws.iam.Role,
        {
            "assume_role_policy": trust,
            "description": description("copies and restores the database"),
        },
    )
    wanted = {"copies": "Backup", **({} if args.restore_test == "never" else {"restores": "Restores"})}
    policies = f"arn:{partition(args.region)}:iam::aws:policy/service-role/AWSBackupServiceRolePolicyFor"
    granted: list[pulumi.Resource] = [
        owner.inner(
            f"role-{purpose}", aws.iam.RolePolicyAttachment, {"role": role.name, "policy_arn": f"{policies}{suffix}"}
        )
        for purpose, suffix in wanted.items()
    ]
    return role, granted


def _restore_test(
    owner: Component, args: BackupPlanArgs, made: aws.backup.Vault, role: aws.iam.Role, granted: list[pulumi.Resource]
) -> None:
    """Restore the newest snapshot to an instance of its own in the database's network, and delete that after an
    hour."""
    hour = (args.hour + _TEST_AFTER_HOURS) % 24
    when = {"weekly": f"cron(0 {hour} ? * SUN *)", "monthly": f"cron(0 {hour} 1 * ? *)"}[args.restore_test]
    plan = owner.inner(
        "restore-test",
        aws.backup.RestoreTestingPlan,
        {
            "name": plan_name("restore"),
            "schedule_expression": when,
            "schedule_expression_timezone": "UTC",
            "start_window_hours": 1,
            "recovery_point_selection": {
                "algorithm": "LATEST_WITHIN_WINDOW",
                "include_vaults": [made.arn],
                "recovery_point_types": ["SNAPSHOT"],
                "selection_window_days": _SELECTION_DAYS[args.restore_test],
            },
        },
    )
    owner.inner(
        "restore-test-selection",
        aws.backup.RestoreTestingSelection,
        {
            # The provider makes no call when only the instance changes (its Update compares everything else): another
            # name makes another selection, or tests would go on with an instance that is gone.
            "name": plan_name("-".join(filter(None, ["postgres", args.origin_mark]))),
            "restore_testing_plan_name": plan.name,
            "protected_resource_type": "RDS",
            "protected_resource_arns": [args.instance_arn],
            "iam_role_arn": role.arn,
            "validation_window_hours": 1,
            "restore_metadata_overrides": _overrides(args),
        },
        depends_on=granted,
    )


def _overrides(args: BackupPlanArgs) -> dict[str, Any]:
    """Without these, the instance would come up in the default network of the account, if it has one."""
    return {
        "dbSubnetGroupName": args.subnet_group_name,
        "vpcSecurityGroupIds": pulumi.Output.json_dumps([args.security_group_id]),
    }


def plan_name(role: str) -> str:
    """A name of a restore test: letters, digits and underscores only, and there is no automatic one."""
    text = physical_name(role, limit=_LONGEST_TEST_NAME)
    return re.sub(r"[^A-Za-z0-9]", "_", text)
