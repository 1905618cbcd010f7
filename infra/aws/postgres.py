"""Postgres on RDS: its servers, its logins, and what prepares it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import pulumi
import pulumi_aws as aws

from infra.aws.alarms.monitored import MonitoredPostgres
from infra.aws.engine_version import engine_version
from infra.aws.postgres_instance import PostgresArgs, gibibytes
from infra.aws.postgres_logins import CA_BUNDLE, bootstrap_plan, libpq_secrets, url_secret
from infra.aws.postgres_servers import PostgresServers
from infra.aws.secrets import Safe, StoredSecret
from infra.component import Component, ComponentArgs
from infra.contracts import ExternalPostgres, Login, PostgresEndpoint, SecretRef
from infra.rotation import SlotName, keepers, password, slot_passwords
from infra.settings.tables import RDS_MEMORY_GIB, rds_max_connections

PASSWORD_LENGTH: Final = 40
"""Letters and digits: 238 bits, and nothing that a URL or RDS would not take."""
_BACKUP: Final[Mapping[SlotName, str]] = {"b": "backup", "a": "backup2"}
"""The two logins of the dumps. The first generation is in slot b, whose name is from when it was the only one."""


class Postgres(Component):
    """An RDS instance for PostgreSQL, the application's logins, and the addresses of their URLs.

    Creates: the instance on gp3 with its subnet group, a parameter group of its family (TLS forced, slow statements
    logged), log groups and the role of enhanced monitoring; read replicas by choice; a random password and a secret for
    each login. The logins themselves are made inside the database by the bootstrap task, the only one that gets the
    master password, which RDS keeps and renews every week.

    Costs at its defaults: 95 USD a month for two db.t4g.medium, 4.60 USD for 20 GiB on both, 1.60 USD for four secrets,
    0.40 USD for the one of the master password.

    Exports: `endpoint` with the logins ``app`` (the slot in use), ``migrate`` and ``backup``; `secret(login)` and
    `libpq`, what tasks bind; `bootstrap`; `monitored`.

    Replaces: another `database`, `origin` or `key` makes another instance, which the guard refuses without a permit.
    A higher `version` upgrades in place, a lower one is refused. Class and parameters change in the maintenance window
    unless `apply_immediately`. A rotation changes the password of the idle slot.
    """

    endpoint: PostgresEndpoint
    arn: pulumi.Output[str]
    resource_id: pulumi.Output[str]
    """The name by which AWS Backup and automated backups know it for good."""
    origin_mark: str
    """Tells databases of different origins apart."""
    subnet_group_name: pulumi.Output[str]
    monitored: MonitoredPostgres
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
        self._own_master = self._password("master", args.master) if args.read_replicas else None
        servers = PostgresServers(self, args, rising=rising, master_password=self._own_master)
        primary = servers.primary

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
        self.arn, self.resource_id = primary.arn, primary.resource_id
        self.subnet_group_name, self.origin_mark = servers.subnets.name, args.origin.mark
        self.monitored = MonitoredPostgres(
            identifier=primary.identifier,
            arn=primary.arn,
            max_connections=rds_max_connections(args.size),
            storage_gib=gibibytes(args.storage),
            memory_gib=RDS_MEMORY_GIB[args.size],
            burstable=args.size.startswith("db.t"),
            replica_identifiers=tuple(replica.identifier for replica in servers.replicas),
        )
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
        self.finish({"identifier": primary.identifier, "host": primary.address, "port": primary.port})

    def secret(self, login: str) -> SecretRef:
        """`DATABASE_URL` of that login; KeyError for ``backup``, which has `libpq`."""
        return self._urls[login]

    def _passwords(self) -> dict[str, pulumi.Output[str]]:
        """By the part of the login's name after the database's. A login of the dumps that was never used is not there:
        stacks began with one."""
        dumps = self._args.backup_slots
        passwords = {"migrate": self._password("migrate", self._args.migrate)}
        for slot, login in _BACKUP.items():
            if generation := dumps.generation(slot):
                passwords[login] = self._password(login, generation)
        return {**passwords, **slot_passwords(self, self._args.slots, length=PASSWORD_LENGTH)}

    def _password(self, role: str, generation: int) -> pulumi.Output[str]:
        return password(self, role, keepers(generation), length=PASSWORD_LENGTH)

    def _master(self, primary: aws.rds.Instance) -> SecretRef:
        """What the bootstrap task logs in with, as JSON."""
        if self._own_master is not None:
            value = pulumi.Output.json_dumps({"username": primary.username, "password": self._own_master})
            return StoredSecret(self, "master", value, variable="BOOTSTRAP_MASTER", safe=self._safe)
        arn = primary.master_user_secrets.apply(lambda found: str(found[0].secret_arn) if found else "")
        # No version: RDS renews it every week, and a task that starts must get the one of that day.
        return SecretRef(name="BOOTSTRAP_MASTER", value=pulumi.Output.concat(arn, ":::"))


@dataclass(frozen=True, kw_only=True)
class ExternalPostgresArgs(ComponentArgs):
    """URLs from stack config by login; ``app`` stands in for one that is not given."""

    urls: Mapping[str, pulumi.Input[str]] = field(repr=False)
    key: pulumi.Input[str] | None = None
    recovery_window: int = 30


class ExternalPostgresSecrets(Component):
    """The URLs of a database that somebody else runs (Neon, Supabase, any other), kept for the tasks.

    Creates: a secret for each of the logins ``app``, ``migrate`` and ``backup``. Costs: 1.20 USD a month. Exports the
    same as `Postgres` where it has a meaning. Replaces: nothing; another URL is another version of its secret.
    """

    endpoint: ExternalPostgres
    bootstrap: Mapping[str, SecretRef]
    """Empty: the given logins exist."""
    libpq: Mapping[str, SecretRef]
    monitored: Final = None
    """AWS has no figures of it."""

    def __init__(self, name: str, args: ExternalPostgresArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:ExternalPostgres", name, opts, args.transforms)
        safe = Safe(key=args.key, recovery_window=args.recovery_window)
        self.endpoint, self.bootstrap = ExternalPostgres(urls=args.urls), {}
        self._urls = {login: url_secret(self, login, self.endpoint.url(login), safe) for login in ("app", "migrate")}
        # A dump wants a session of its own, as migrations do: a pooler hands each statement to another one.
        login = "backup" if "backup" in args.urls else "migrate"
        self.libpq = libpq_secrets(self, self.endpoint.libpq(login), safe)
        self.finish({})

    def secret(self, login: str) -> SecretRef:
        """`DATABASE_URL` of that login."""
        return self._urls[login]
