"""The RDS instances of one database: the primary, its read replicas, and what they need to run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from infra.aws import postgres_instance as data
from infra.aws.iam import service_trust
from infra.aws.naming import description, identifier, partition
from infra.aws.postgres_instance import PostgresArgs
from infra.component import Component

_LONGEST_IDENTIFIER: Final = 63
_TIMEOUTS: Final = pulumi.CustomTimeouts(create="90m", update="120m", delete="60m")
"""RDS restores, upgrades and converts to Multi-AZ in tens of minutes; the provider gives up after 40 to 80."""


class PostgresServers:
    """The instances as inner resources of `owner`. `rising` refuses a lower version before any of them changes;
    `master_password` is the program's own, None where RDS makes it and keeps it."""

    subnets: aws.rds.SubnetGroup
    primary: aws.rds.Instance
    replicas: tuple[aws.rds.Instance, ...]

    def __init__(
        self,
        owner: Component,
        args: PostgresArgs,
        *,
        rising: pulumi.Resource,
        master_password: pulumi.Output[str] | None,
    ) -> None:
        self._owner, self._args, self._master_password = owner, args, master_password
        self.subnets = owner.inner(
            "subnets", aws.rds.SubnetGroup, {"subnet_ids": list(args.subnet_ids), "description": description("data")}
        )
        parameters = self._parameters(rising)
        self._monitoring = self._monitoring_role() if args.monitoring_interval else None
        shared = self._shared(parameters)
        self.primary = self._primary(shared)
        self.replicas = tuple(self._replica(number, shared) for number in range(1, args.read_replicas + 1))

    def _parameters(self, rising: pulumi.Resource) -> aws.rds.ParameterGroup:
        family = data.family(self._args.version)
        return self._owner.inner(
            # The family is in the name: at an upgrade, the new group is there before the old one goes.
            f"parameters-{family}",
            aws.rds.ParameterGroup,
            {
                "family": family,
                "description": description("server parameters"),
                "parameters": data.parameters(slow_query=self._args.slow_query),
            },
            depends_on=[rising],
        )

    def _shared(self, parameters: aws.rds.ParameterGroup) -> dict[str, Any]:
        """What the instance and its replicas have in common."""
        args = self._args
        return {
            "instance_class": args.size,
            "vpc_security_group_ids": [args.security_group_id],
            "publicly_accessible": False,
            "port": args.port,
            "parameter_group_name": parameters.name,
            "ca_cert_identifier": data.CERTIFICATE_AUTHORITY,
            "storage_type": "gp3",
            "storage_encrypted": True,
            "kms_key_id": args.key,
            "max_allocated_storage": data.gibibytes(args.max_storage),
            "auto_minor_version_upgrade": True,
            "maintenance_window": args.maintenance_window,
            "apply_immediately": args.apply_immediately,
            "copy_tags_to_snapshot": True,
            "enabled_cloudwatch_logs_exports": list(data.LOGS),
            "database_insights_mode": "standard",
            "performance_insights_enabled": args.performance_insights,
            "performance_insights_retention_period": data.INSIGHTS_DAYS if args.performance_insights else None,
            "performance_insights_kms_key_id": args.key if args.performance_insights else None,
            "monitoring_interval": args.monitoring_interval,
            "monitoring_role_arn": self._monitoring[0].arn if self._monitoring else None,
        }

    def _named(self, role: str, stem: str) -> pulumi.Output[str]:
        args = self._args
        keepers: dict[str, pulumi.Input[str]] = {"database": args.database, "origin": args.origin.mark}
        if args.key is not None:
            keepers["key"] = args.key
        return identifier(self._owner, role, stem, limit=_LONGEST_IDENTIFIER, keepers=keepers)

    def _log_groups(self, role: str, identifier: pulumi.Output[str]) -> list[pulumi.Resource]:
        return [
            self._owner.inner(
                f"{role}-log-{log}",
                aws.cloudwatch.LogGroup,
                {
                    "name": pulumi.Output.concat("/aws/rds/instance/", identifier, "/", log),
                    "retention_in_days": self._args.log_retention_days,
                    "kms_key_id": self._args.key,
                },
            )
            for log in data.LOGS
        ]

    def _primary(self, shared: Mapping[str, Any]) -> aws.rds.Instance:
        args = self._args
        role = args.origin.role
        named = self._named(role, "postgres")
        properties = {
            **shared,
            **data.storage(start=args.storage, most=args.max_storage),
            **args.origin.properties(),
            "identifier": named,
            "engine": data.ENGINE,
            # The major version alone: RDS applies minor ones, and a pinned one would then differ for ever.
            "engine_version": str(args.version),
            "allow_major_version_upgrade": True,
            # Billed for each processor from the day on which a version's support ends.
            "engine_lifecycle_support": "open-source-rds-extended-support-disabled",
            "db_subnet_group_name": self.subnets.name,
            "multi_az": args.multi_az,
            "backup_retention_period": args.backup_retention_days,
            "backup_window": args.backup_window,
            "delete_automated_backups": not args.protect,
            "deletion_protection": args.protect and not args.released,
            "skip_final_snapshot": not args.protect,
            "final_snapshot_identifier": pulumi.Output.concat(named, "-final") if args.protect else None,
            # Restored data brings its database, master user and key along; another key here would replace it at once.
            **({"kms_key_id": None} if args.origin.mark else {"db_name": args.database, "username": data.MASTER}),
            # RDS keeps the master password, unless there are read replicas: it makes none of an instance whose password
            # it keeps.
            **(
                {"manage_master_user_password": True, "master_user_secret_kms_key_id": args.key}
                if self._master_password is None
                else {"password": self._master_password}
            ),
        }
        before = [*self._log_groups(role, named), *([self._monitoring[1]] if self._monitoring else [])]
        return self._owner.inner(role, aws.rds.Instance, properties, depends_on=before, custom_timeouts=_TIMEOUTS)

    def _replica(self, number: int, shared: Mapping[str, Any]) -> aws.rds.Instance:
        role = f"replica-{number}"
        named = self._named(role, f"postgres-{role}")
        properties = {
            **shared,
            "identifier": named,
            "replicate_source_db": self.primary.identifier,
            "multi_az": False,
            "backup_retention_period": 0,
            # Everything in it is in the primary too.
            "skip_final_snapshot": True,
            "deletion_protection": False,
        }
        before = self._log_groups(role, named)
        # It needs no permit to go, for the same reason.
        return self._owner.inner(
            role, aws.rds.Instance, properties, depends_on=before, custom_timeouts=_TIMEOUTS, protect=False
        )

    def _monitoring_role(self) -> tuple[aws.iam.Role, pulumi.Resource]:
        """The role with which RDS writes the host's figures to CloudWatch, and its policy to wait for: RDS tries the
        role when it is named."""
        trust = service_trust(
            "monitoring.rds.amazonaws.com", self.subnets.arn, source="arn:{partition}:rds:{region}:{account}:db:*"
        )
        role = self._owner.inner(
            "monitoring-role",
            aws.iam.Role,
            {"assume_role_policy": trust, "description": description("host figures")},
        )
        managed = "policy/service-role/AmazonRDSEnhancedMonitoringRole"
        policy = self._owner.inner(
            "monitoring-policy",
            aws.iam.RolePolicyAttachment,
            {"role": role.name, "policy_arn": f"arn:{partition(self._args.region)}:iam::aws:{managed}"},
        )
        return role, policy
