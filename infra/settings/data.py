"""Where the data lives: Postgres, the record, and Redis, which wakes workers."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from infra.settings.group import Group
from infra.settings.rules import Between, Duration, NumberOf, Size, Text
from infra.settings.variables import IN_PLACE, MIGRATE, OTHER_DATABASE, ROLLS_ALL, Effect, Variable

Provider = Literal["aws", "digitalocean", "docker", "embedded", "external"]
SslMode = Literal["disable", "require", "verify-ca", "verify-full"]

_SNAPSHOT = Text(
    r"arn:aws[a-z-]*:rds:[a-z0-9-]+:\d{12}:snapshot:[a-z0-9:._-]{1,255}|(rds:)?[A-Za-z](-?[A-Za-z0-9])*",
    "the name or the ARN of an RDS snapshot",
)
_INSTANCE = Text(r"(?=.{1,63}$)[A-Za-z](-?[A-Za-z0-9])*", "the identifier of an RDS instance in the same region")
_INSTANT = Text(r"latest|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "latest, or a time in UTC such as 2026-01-31T09:30:00Z")
_WINDOW = Text(
    r"(mon|tue|wed|thu|fri|sat|sun):([01]\d|2[0-3]):[0-5]\d-(mon|tue|wed|thu|fri|sat|sun):([01]\d|2[0-3]):[0-5]\d",
    "a weekly window in UTC such as sun:04:30-sun:05:30",
)
_DAILY = Text(r"([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d", "a daily window in UTC such as 01:00-02:00")
_IDENTIFIER = Text(r"[a-z_][a-z0-9_]{0,62}", "1 to 63 lower-case letters, digits or '_', no digit first")


class Restore(Group):
    """Where a new database gets its first data. AWS only.

    It belongs to the database for as long as that lives: each other value here makes another database, and without it
    the next `up` would go back to an empty one.
    """

    snapshot: Annotated[str, _SNAPSHOT] | None = None
    """A snapshot to start from."""
    instance: Annotated[str, _INSTANCE] | None = None
    """An instance whose state at `time` to start from. It stays as it is."""
    time: Annotated[str, _INSTANT] | None = None
    """The moment of `instance` to go back to, within its `backup.retention_days`; `latest` is about five minutes
    ago."""

    @property
    def wanted(self) -> bool:
        return self.snapshot is not None or self.instance is not None


class Postgres(Group):
    """The database. `provider` decides which of the other keys have a meaning."""

    provider: Annotated[Provider, Effect(OTHER_DATABASE)]
    """Who runs it: `aws` (RDS), `digitalocean` (managed cluster), `docker` (container with a volume), `embedded` (a
    server from a wheel on this machine), `external` (any Postgres, by `secrets.database_url`). Default: the target's
    own; `embedded` on the local target."""
    version: Annotated[int, Between(12, 99), Effect("upgrades the server, with an outage; never goes back")] = 17
    """Major version. RDS, App Platform and Docker start at 17; the embedded server is 18. A higher number upgrades in
    place and cannot be taken back; AWS stacks refuse a lower one. On AWS set `postgres.apply_immediately` with it: the
    old parameters stay in use, and cannot be removed, until the upgrade is done."""
    database: Annotated[str, _IDENTIFIER, Effect(OTHER_DATABASE)] = "slipway"
    """Name of the database. A change makes a new, empty one."""
    owner_role: Annotated[
        Annotated[str, _IDENTIFIER] | None,
        Variable("DATABASE_OWNER_ROLE", MIGRATE),
        Effect("the next migration; existing tables must be given to the role by hand"),
    ] = None
    """Role without login that owns the tables (`DATABASE_OWNER_ROLE`): logins come and go with rotation, ownership
    stays. Default: `slipway_owner`; none with `external`, where the given login owns them."""
    port: Annotated[int, Between(1, 65535), Effect(f"restarts the database and {ROLLS_ALL}")] | None = None
    """Port. Default: the provider's; on the local target a free one that is then kept. With `external` on AWS, the port
    of the URL where it is not 5432, so that the network lets tasks out to it."""
    sslmode: Annotated[SslMode, Effect(ROLLS_ALL)] = "verify-full"
    """TLS between application and database. Default: `verify-full` on AWS, `require` on DigitalOcean and Docker,
    `disable` for the embedded server, which listens on loopback only. With `external` the URL says it."""
    size: Annotated[
        Annotated[str, Text(r"[a-z0-9.-]{1,40}", "an instance class or size of the provider")] | None,
        Effect("restarts the database or fails it over, in its maintenance window"),
    ] = None
    """Instance class on AWS (`db.t4g.medium`, about 47 USD a month, twice that with a standby) or size on DigitalOcean
    (`db-s-1vcpu-2gb`, about 30 USD a month). Decides the bill and the number of connections."""
    storage: Annotated[int, Size("10 GiB", "16 TiB"), Effect("in place; grows only")] = 20 * 1024**3
    """Disk at the start; RDS gp3 costs 0.115 USD a GB and month. It never shrinks. AWS wants 20 GiB or more."""
    max_storage: Annotated[int, Size("10 GiB", "64 TiB"), Effect(IN_PLACE)] = 100 * 1024**3
    """Disk up to which it grows by itself; at least 10 % above `storage`, as RDS wants."""
    high_availability: Annotated[bool, Effect(IN_PLACE)] = True
    """Keep a standby that takes over (RDS Multi-AZ, a second node on DigitalOcean). Doubles the price of the database;
    without it a failed host is an outage. Without a meaning on one machine."""
    max_connections: Annotated[
        Annotated[int, Between(10, 100_000, "connections")] | None,
        Effect("restarts a server of the stack's own; for an external one, nothing but the check"),
    ] = None
    """Connections that the server accepts, where the provider does not tell by its size: `docker`, `embedded` and
    `external`. Default: 100, Postgres's own default."""
    migration_lock_timeout: Annotated[Duration, Variable("MIGRATION_LOCK_TIMEOUT", MIGRATE)] = timedelta(seconds=10)
    """Longest wait of a migration for a table lock, and for another migration (`MIGRATION_LOCK_TIMEOUT`). A migration
    that waits for a lock makes every later query wait behind it."""
    performance_insights: Annotated[bool, Effect(IN_PLACE)] = True
    """Keep 7 days of Performance Insights; free of charge at that retention. AWS only."""
    apply_immediately: Annotated[bool, Effect("nothing by itself")] = False
    """Apply changes of class and parameters at once, with a short outage, not in the maintenance window. AWS only."""
    monitoring_interval: Annotated[int, NumberOf((0, 1, 5, 10, 15, 30, 60), "seconds"), Effect(IN_PLACE)] = 60
    """Seconds between two looks of enhanced monitoring at the host's processes; 0 for none. At 60 s about 1.50 USD a
    month in logs. AWS only."""
    slow_query: Annotated[Duration, Effect(IN_PLACE)] = timedelta(seconds=1)
    """Statements that take longer are logged, with their parameters. AWS only."""
    read_replicas: Annotated[
        int, Between(0, 5, "replicas"), Effect("in place; from none to one, a new master password")
    ] = 0
    """Copies for reports and analysis, each at the price of the instance; the application does not read from them.
    With one, the program makes the master password instead of RDS, which refuses replicas of an instance whose password
    it keeps. AWS only."""
    backup_window: Annotated[str, _DAILY, Effect(IN_PLACE)] = "01:00-02:00"
    """When RDS takes its daily snapshot; 30 minutes or more. AWS only."""
    maintenance_window: Annotated[str, _WINDOW, Effect(IN_PLACE)] = "sun:04:30-sun:05:30"
    """When RDS may restart the server for changes and updates; 30 minutes or more, outside `backup_window`. AWS
    only."""
    restore: Annotated[
        Restore, Effect("makes another database from that; the one before is deleted, which wants a permit")
    ] = Field(default_factory=Restore)
    """Start from a snapshot, or from another instance's state at some time. AWS only."""


class Redis(Group):
    """The broker (Valkey). It may lose everything: Postgres restores what was waiting."""

    provider: Provider
    """Who runs it: `aws` (ElastiCache replication group), `digitalocean` (managed Valkey), `docker`, `embedded` (a
    server from a wheel), `external` (by `secrets.redis_url`). Default: the target's own; `embedded` on the local
    target."""
    version: Annotated[str, Text(r"\d+(\.\d+)?", "a version such as 8 or 8.2")] = "8.2"
    """Version of Valkey. On AWS a higher one upgrades in place, a lower one is refused, and ElastiCache never moves to
    another minor by itself. Default: 8.2 on AWS, 8 on DigitalOcean, 9.1 on Docker and embedded."""
    port: Annotated[int, Between(1, 65535)] | None = None
    """Port. Default: the provider's; on the local target a free one that is then kept. With `external` on AWS, the port
    of the URL where it is not 6379, so that the network lets tasks out to it."""
    tls: bool = True
    """TLS between application and Redis (`rediss://`). Default for the embedded server, which listens on loopback
    only: false. With `external` the URL says it."""
    size: Annotated[str, Text(r"[a-z0-9.-]{1,40}", "a node type or size of the provider")] | None = None
    """Node type on AWS (`cache.t4g.small`, about 19 USD a month and node) or size on DigitalOcean (`db-s-1vcpu-2gb`).
    Half of the memory should stay free."""
    high_availability: Annotated[bool, Effect(IN_PLACE)] = True
    """Keep a replica in another zone that takes over. Doubles the price; without it a failed host stops new work from
    starting until it is replaced, but loses nothing."""
    memory: Annotated[int, Size("16 MiB", "512 GiB"), Effect(IN_PLACE)] = 256 * 1024**2
    """Most memory for data (`maxmemory`) on Docker and embedded. The policy is `noeviction`: a full server refuses new
    jobs, it never drops one."""
    snapshot_days: Annotated[int, Between(0, 35, "days"), Effect(IN_PLACE)] = 7
    """Days that daily snapshots are kept; 0 for none. One is free of charge, more cost 0.085 USD a GB and month. AWS
    only."""
    snapshot_window: Annotated[str, _DAILY, Effect(IN_PLACE)] = "02:00-03:00"
    """When the daily snapshot is taken, on the replica where there is one; 60 minutes or more. AWS only."""
    maintenance_window: Annotated[str, _WINDOW, Effect(IN_PLACE)] = "sun:05:30-sun:06:30"
    """When ElastiCache may update the nodes; 60 minutes or more. AWS only."""
