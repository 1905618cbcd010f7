"""Where the data lives: Postgres, the record, and Redis, which wakes workers."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from infra.settings.group import Group
from infra.settings.rules import Between, Size, Span, Text

Provider = Literal["aws", "digitalocean", "docker", "embedded", "external"]
SslMode = Literal["disable", "require", "verify-ca", "verify-full"]

_IDENTIFIER = Text(r"[a-z_][a-z0-9_]{0,62}", "1 to 63 lower-case letters, digits or '_', no digit first")


class Postgres(Group):
    """The database. `provider` decides which of the other keys have a meaning."""

    provider: Provider
    """Who runs it: `aws` (RDS), `digitalocean` (managed cluster), `docker` (container with a volume), `embedded` (a
    server from a wheel on this machine), `external` (any Postgres, by `secrets.database_url`). Default: the target's
    own; `embedded` on the local target."""
    version: Annotated[int, Between(12, 99)] = 17
    """Major version. RDS, App Platform and Docker start at 17; the embedded server is 18. A higher number upgrades in
    place and cannot be taken back."""
    database: Annotated[str, _IDENTIFIER] = "slipway"
    """Name of the database. A change makes a new, empty one."""
    owner_role: Annotated[str, _IDENTIFIER] | None = None
    """Role without login that owns the tables (`DATABASE_OWNER_ROLE`): logins come and go with rotation, ownership
    stays. Default: `slipway_owner`; none with `external`, where the given login owns them."""
    port: Annotated[int, Between(1, 65535)] | None = None
    """Port. Default: the provider's; on the local target a free one that is then kept."""
    sslmode: SslMode = "verify-full"
    """TLS between application and database. Default: `verify-full` on AWS, `require` on DigitalOcean and Docker,
    `disable` for the embedded server, which listens on loopback only. With `external` the URL says it."""
    size: Annotated[str, Text(r"[a-z0-9.-]{1,40}", "an instance class or size of the provider")] | None = None
    """Instance class on AWS (`db.t4g.medium`, about 47 USD a month, twice that with a standby) or size on DigitalOcean
    (`db-s-1vcpu-2gb`, about 30 USD a month). Decides the bill and the number of connections."""
    storage: Annotated[int, Size("10 GiB", "16 TiB")] = 20 * 1024**3
    """Disk at the start; RDS gp3 costs 0.115 USD a GB and month. It never shrinks. AWS wants 20 GiB or more."""
    max_storage: Annotated[int, Size("10 GiB", "64 TiB")] = 100 * 1024**3
    """Disk up to which it grows by itself; at least 10 % above `storage`, as RDS wants."""
    high_availability: bool = True
    """Keep a standby that takes over (RDS Multi-AZ, a second node on DigitalOcean). Doubles the price of the database;
    without it a failed host is an outage. Without a meaning on one machine."""
    max_connections: Annotated[int, Between(10, 100_000, "connections")] | None = None
    """Connections that the server accepts, where the provider does not tell by its size: `docker`, `embedded` and
    `external`. Default: 100, Postgres's own default."""
    migration_lock_timeout: Annotated[timedelta, Span("1ms", "24h")] = timedelta(seconds=10)
    """Longest wait of a migration for a table lock, and for another migration (`MIGRATION_LOCK_TIMEOUT`). A migration
    that waits for a lock makes every later query wait behind it."""
    performance_insights: bool = True
    """Keep 7 days of Performance Insights; free of charge at that retention. AWS only."""
    apply_immediately: bool = False
    """Apply changes of class and parameters at once, with a short outage, not in the maintenance window. AWS only."""


class Redis(Group):
    """The broker (Valkey). It may lose everything: Postgres restores what was waiting."""

    provider: Provider
    """Who runs it: `aws` (ElastiCache replication group), `digitalocean` (managed Valkey), `docker`, `embedded` (a
    server from a wheel), `external` (by `secrets.redis_url`). Default: the target's own; `embedded` on the local
    target."""
    version: Annotated[str, Text(r"\d+(\.\d+)?", "a version such as 8 or 8.2")] = "8.2"
    """Version of Valkey. Default: 8.2 on AWS, 8 on DigitalOcean, 9.1 on Docker and embedded."""
    port: Annotated[int, Between(1, 65535)] | None = None
    """Port. Default: the provider's; on the local target a free one that is then kept."""
    tls: bool = True
    """TLS between application and Redis (`rediss://`). Default for the embedded server, which listens on loopback
    only: false. With `external` the URL says it."""
    size: Annotated[str, Text(r"[a-z0-9.-]{1,40}", "a node type or size of the provider")] | None = None
    """Node type on AWS (`cache.t4g.small`, about 19 USD a month and node) or size on DigitalOcean (`db-s-1vcpu-2gb`).
    Half of the memory should stay free."""
    high_availability: bool = True
    """Keep a replica in another zone that takes over. Doubles the price; without it a failed host stops new work from
    starting until it is replaced, but loses nothing."""
    memory: Annotated[int, Size("16 MiB", "512 GiB")] = 256 * 1024**2
    """Most memory for data (`maxmemory`) on Docker and embedded. The policy is `noeviction`: a full server refuses new
    jobs, it never drops one."""
