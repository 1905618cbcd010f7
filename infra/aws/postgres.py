"""Postgres on RDS: the instance, its logins, and what prepares it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import pulumi
import pulumi_aws as aws
import pulumi_random as random

from infra.aws import postgres_instance as instance
from infra.aws.engine_version import engine_version
from infra.aws.monitoring_role import monitoring_role
from infra.aws.naming import description, identifier
from infra.aws.postgres_instance import Origin
from infra.aws.postgres_logins import CA_BUNDLE, bootstrap_plan, libpq_secrets, url_secret
from infra.aws.secrets import Safe, StoredSecret
from infra.component import Component, ComponentArgs
from infra.contracts import Login, PostgresEndpoint, SecretRef
from infra.rotation import SLOT_NAMES, SlotName, Slots, keepers, slots
from infra.settings.tables import RDS_MEMORY_GIB, rds_max_connections

PASSWORD_LENGTH: Final = 40
"""Letters and digits: 238 bits, and nothing that a URL or RDS would not take."""
_BACKUP: Final[Mapping[SlotName, str]] = {"b": "backup", "a": "backup2"}
"""The two logins of the dumps. The first generation is in slot b, whose name is from when it was the only one."""
_LONGEST_IDENTIFIER: Final = 63
_TIMEOUTS: Final = pulumi.CustomTimeouts(create="90m", update="120m", delete="60m")
"""RDS restores, upgrades and converts to Multi-AZ in tens of minutes; the provider gives up after 40 to 80."""


@dataclass(frozen=True, kw_only=True)
class PostgresArgs(ComponentArgs):
    """`slots` says which of the two application logins is in use, and the generation of each one's password;
    `backup_slots` the same of the dumps; `migrate` and `master` are generations."""

    subnet_ids: Sequence[pulumi.Input[str]]
    """At least two, in different zones."""
    security_group_id: pulumi.Input[str]
    region: str
    database: str
    owner_role: str
    slots: Slots
    backup_slots: Slots = field(default_factory=lambda: slots(1))
    migrate: int = 1
    master: int = 1
    """Of a master password that the program makes."""
    version: int
    lower_permitted: bool = False
    """A permit lets `version` go below the one that was asked for last."""
    size: str
    storage: int
    """Bytes at the start."""
    max_storage: int
    """Bytes up to which it grows."""
    multi_az: bool = True
    port: int = 5432
    sslmode: str = "verify-full"
    backup_retention_days: int = 7
    backup_window: str = "01:00-02:00"
    maintenance_window: str = "sun:04:30-sun:05:30"
    performance_insights: bool = True
    monitoring_interval: int = 60
    """Seconds; 0: no enhanced monitoring."""
    slow_query: timedelta = timedelta(seconds=1)
    apply_immediately: bool = False
    read_replicas: int = 0
    origin: Origin = field(default_factory=Origin)
    protect: bool = True
    """Deletion protection, a final snapshot, and automated backups that outlive the instance."""
    released: bool = False
    """A permit lets this instance go: RDS's own lock is off, so that an `up` after this one can delete it."""
    log_retention_days: int = 30
    key: pulumi.Input[str] | None = None
    """KMS key of disk, logs and secrets; None: AWS's own."""
    recovery_window: int = 30
    """Days for which a deleted secret can be had back."""


class Postgres(Component):
    """An RDS instance for PostgreSQL, the application's logins, and the addresses of their URLs.

    Creates: the instance on gp3 with its subnet group, a parameter group of its family (TLS forced, slow statements
    logged), log groups and the role of enhanced monitoring; read replicas by choice; a random password and a secret for
    each login. The logins themselves are made inside the database by the bootstrap task, the only one that gets the
    master password, which RDS keeps and renews every week.

    Costs at its defaults: 95 USD a month for two db.t4g.medium, 4.60 USD for 20 GiB on both, 1.60 USD for four secrets,
    0.40 USD for the one of the master password.

    Exports: `endpoint` with the logins ``app`` (the slot in use), ``migrate`` and ``backup``; `secret(login)` and
    `libpq`, what tasks bind; `bootstrap`; figures for alarms.

    Replaces: another `database`, `origin` or `key` makes another instance, which the guard refuses without a permit.
    A higher `version` upgrades in place, a lower one is refused. Class and parameters change in the maintenance window
    unless `apply_immediately`. A rotation changes the password of the idle slot.
    """

    endpoint: PostgresEndpoint
    identifier: pulumi.Output[str]
    arn: pulumi.Output[str]
    resource_id: pulumi.Output[str]
    """The name by which AWS Backup and automated backups know it for good."""
    origin_mark: str
    """Tells databases of different origins apart."""
    subnet_group_name: pulumi.Output[str]
    master_secret_arn: pulumi.Output[str]
    max_connections: int
    storage_gib: int
    memory_gib: int
    burstable: bool
    replica_identifiers: tuple[pulumi.Output[str], ...]
    replica_hosts: tuple[pulumi.Output[str], ...]
    bootstrap: Mapping[str, SecretRef]
    """The secrets of the bootstrap task, by variable."""
    libpq: Mapping[str, SecretRef]
    """The variables of the dump task."""

    def __init__(self, name: str, args: PostgresArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:Postgres", name, opts, args.transforms)
        self._args, self._safe = args, Safe(key=args.key, recovery_window=args.recovery_window)
        passwords = self._passwords()
        rising = engine_version(
            self,
            args.origin.role,
            setting="postgres.version",
            version=str(args.version),
            lower_permitted=args.lower_permitted,
        )

        subnets = self.inner(
            "subnets", aws.rds.SubnetGroup, {"subnet_ids": list(args.subnet_ids), "description": description("data")}
        )
        parameters = self._parameters(rising)
        self._monitoring = (
            monitoring_role(self, region=args.region, neighbour_arn=subnets.arn) if args.monitoring_interval else None
        )
        shared = self._shared(parameters)
        primary = self._instance(subnets, shared)
        replicas = [self._replica(number, primary, shared) for number in range(1, args.read_replicas + 1)]

        users = {login: f"{args.database}_{login}" for login in passwords}
        dumping = _BACKUP[args.backup_slots.active]
        self.endpoint = PostgresEndpoint(
            host=primary.address,
            port=primary.port,
            database=args.database,
            sslmode=args.sslmode,
            logins={
                "app": Login(user=users[args.slots.active], password=passwords[args.slots.active]),
                "migrate": Login(user=users["migrate"], password=passwords["migrate"]),
                "backup": Login(user=users[dumping], password=passwords[dumping]),
            },
            options={"sslrootcert": CA_BUNDLE} if args.sslmode.startswith("verify-") else {},
        )
        self.identifier, self.arn, self.resource_id = primary.identifier, primary.arn, primary.resource_id
        self.subnet_group_name, self.origin_mark = subnets.name, args.origin.mark
        self.replica_identifiers = tuple(replica.identifier for replica in replicas)
        self.replica_hosts = tuple(replica.address for replica in replicas)
        self.max_connections = rds_max_connections(args.size)
        self.storage_gib = instance.gibibytes(args.storage)
        self.memory_gib, self.burstable = RDS_MEMORY_GIB[args.size], args.size.startswith("db.t")
        self._urls = {
            login: url_secret(self, login, self.endpoint.url(login), self._safe) for login in ("app", "migrate")
        }
        self.libpq = libpq_secrets(self, self.endpoint.libpq("backup"), self._safe)
        self.bootstrap = {
            "BOOTSTRAP_MASTER": self._master(primary),
            "BOOTSTRAP_PLAN": bootstrap_plan(
                self,
                self.endpoint,
                owner_role=args.owner_role,
                logins={login: Login(user=users[login], password=passwords[login]) for login in passwords},
                safe=self._safe,
            ),
        }
        self.finish({"identifier": self.identifier, "host": primary.address, "port": primary.port})

    def secret(self, login: str) -> SecretRef:
        """`DATABASE_URL` of that login; KeyError for ``backup``, which has `libpq`."""
        return self._urls[login]

    def _passwords(self) -> dict[str, pulumi.Output[str]]:
        """By the part of the login's name after the database's. A login of the dumps that was never used is not there:
        stacks began with one."""
        app, dumps = self._args.slots, self._args.backup_slots
        passwords = {"migrate": self._password("migrate", self._args.migrate)}
        for slot, login in _BACKUP.items():
            if generation := dumps.generation(slot):
                passwords[login] = self._password(login, generation)
        for slot in SLOT_NAMES:
            # Always said, also at 0 and 1: so it is in the states of stacks that exist.
            kept = {"keepers": {"generation": str(app.generation(slot))}}
            passwords[slot] = self._random(f"app-{slot}", kept)
        return passwords

    def _password(self, role: str, generation: int) -> pulumi.Output[str]:
        return self._random(role, keepers(generation))

    def _random(self, role: str, kept: Mapping[str, Any]) -> pulumi.Output[str]:
        properties = {"length": PASSWORD_LENGTH, "special": False, **kept}
        return self.inner(f"{role}-password", random.RandomPassword, properties).result

    def _parameters(self, rising: pulumi.Resource) -> aws.rds.ParameterGroup:
        family = instance.family(self._args.version)
        return self.inner(
            # The family is in the name: at an upgrade, the new group is there before the old one goes.
            f"parameters-{family}",
            aws.rds.ParameterGroup,
            {
                "family": family,
                "description": description("server parameters"),
                "parameters": instance.parameters(slow_query=self._args.slow_query),
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
            "ca_cert_identifier": instance.CERTIFICATE_AUTHORITY,
            "storage_type": "gp3",
            "storage_encrypted": True,
            "kms_key_id": args.key,
            "max_allocated_storage": instance.gibibytes(args.max_storage),
            "auto_minor_version_upgrade": True,
            "maintenance_window": args.maintenance_window,
            "apply_immediately": args.apply_immediately,
            "copy_tags_to_snapshot": True,
            "enabled_cloudwatch_logs_exports": list(instance.LOGS),
            "database_insights_mode": "standard",
            "performance_insights_enabled": args.performance_insights,
            "performance_insights_retention_period": instance.INSIGHTS_DAYS if args.performance_insights else None,
            "performance_insights_kms_key_id": args.key if args.performance_insights else None,
            "monitoring_interval": args.monitoring_interval,
            "monitoring_role_arn": self._monitoring.role.arn if self._monitoring else None,
        }

    def _named(self, role: str, stem: str) -> pulumi.Output[str]:
        args = self._args
        keepers: dict[str, pulumi.Input[str]] = {"database": args.database, "origin": args.origin.mark}
        if args.key is not None:
            keepers["key"] = args.key
        return identifier(self, role, stem, limit=_LONGEST_IDENTIFIER, keepers=keepers)

    def _log_groups(self, role: str, identifier: pulumi.Output[str]) -> list[pulumi.Resource]:
        return [
            self.inner(
                f"{role}-log-{log}",
                aws.cloudwatch.LogGroup,
                {
                    "name": pulumi.Output.concat("/aws/rds/instance/", identifier, "/", log),
                    "retention_in_days": self._args.log_retention_days,
                    "kms_key_id": self._args.key,
                },
            )
            for log in instance.LOGS
        ]

    def _instance(self, subnets: aws.rds.SubnetGroup, shared: Mapping[str, Any]) -> aws.rds.Instance:
        args = self._args
        role = args.origin.role
        named = self._named(role, "postgres")
        properties = {
            **shared,
            **instance.storage(start=args.storage, most=args.max_storage),
            **args.origin.properties(),
            "identifier": named,
            "engine": instance.ENGINE,
            # The major version alone: RDS applies minor ones, and a pinned one would then differ for ever.
            "engine_version": str(args.version),
            "allow_major_version_upgrade": True,
            # Billed for each processor from the day on which a version's support ends.
            "engine_lifecycle_support": "open-source-rds-extended-support-disabled",
            "db_subnet_group_name": subnets.name,
            "multi_az": args.multi_az,
            "backup_retention_period": args.backup_retention_days,
            "backup_window": args.backup_window,
            "delete_automated_backups": not args.protect,
            "deletion_protection": args.protect and not args.released,
            "skip_final_snapshot": not args.protect,
            "final_snapshot_identifier": pulumi.Output.concat(named, "-final") if args.protect else None,
            # Restored data brings its database, master user and key along; another key here would replace it at once.
            **({"kms_key_id": None} if args.origin.mark else {"db_name": args.database, "username": instance.MASTER}),
            **self._master_properties(),
        }
        before = [*self._log_groups(role, named), *([self._monitoring.policy] if self._monitoring else [])]
        return self.inner(role, aws.rds.Instance, properties, depends_on=before, timeouts=_TIMEOUTS)

    def _master_properties(self) -> dict[str, Any]:
        """RDS keeps the password, unless there are read replicas: it makes none of an instance whose password it
        keeps."""
        if not self._args.read_replicas:
            return {"manage_master_user_password": True, "master_user_secret_kms_key_id": self._args.key}
        self._own_master = self._password("master", self._args.master)
        return {"password": self._own_master}

    def _replica(self, number: int, primary: aws.rds.Instance, shared: Mapping[str, Any]) -> aws.rds.Instance:
        role = f"replica-{number}"
        named = self._named(role, f"postgres-{role}")
        properties = {
            **shared,
            "identifier": named,
            "replicate_source_db": primary.identifier,
            "multi_az": False,
            "backup_retention_period": 0,
            # Everything in it is in the primary too.
            "skip_final_snapshot": True,
            "deletion_protection": False,
        }
        before = self._log_groups(role, named)
        # It needs no permit to go, for the same reason.
        return self.inner(role, aws.rds.Instance, properties, depends_on=before, timeouts=_TIMEOUTS, protect=False)

    def _master(self, primary: aws.rds.Instance) -> SecretRef:
        """What the bootstrap task logs in with, as JSON."""
        if self._args.read_replicas:
            value = pulumi.Output.json_dumps({"username": primary.username, "password": self._own_master})
            stored = StoredSecret(self, "master", value, variable="BOOTSTRAP_MASTER", safe=self._safe)
            self.master_secret_arn = stored.arn
            return stored
        secrets = primary.master_user_secrets
        self.master_secret_arn = secrets.apply(lambda found: str(found[0].secret_arn) if found else "")
        # No version: RDS renews it every week, and a task that starts must get the one of that day.
        return SecretRef(name="BOOTSTRAP_MASTER", value=pulumi.Output.concat(self.master_secret_arn, ":::"))
