"""Whether there is enough: database connections, disk, and room to roll."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Final

from infra.settings import tables
from infra.settings.invariants.broken import Broken, Context, Found, needless, only
from infra.settings.services import Api, WorkerGroup
from infra.settings.tree import Settings
from infra.settings.units import format_size

RESERVED_CONNECTIONS: Final = 3
"""Connections that Postgres keeps for superusers (`superuser_reserved_connections`, its default)."""
TASK_CONNECTIONS: Final = 3
"""One migration with its lock's session, and one dump, may run beside everything else."""
HEADROOM_PERCENT: Final = 10
"""Share kept free for people, monitoring and the provider's own sessions: with none left nobody can even look."""
_DEFAULT_MAX_CONNECTIONS: Final = 100


@dataclass(frozen=True, kw_only=True)
class ConnectionBudget:
    """The most database connections that a stack can open, against what its database takes."""

    lines: tuple[tuple[str, int, int], ...]
    """Service, most replicas at one time, most connections of one replica."""
    limit: int
    """Connections that the database accepts."""

    @property
    def needed(self) -> int:
        return sum(replicas * connections for _, replicas, connections in self.lines) + TASK_CONNECTIONS

    @property
    def usable(self) -> int:
        return self.limit - RESERVED_CONNECTIONS - ceil(self.limit * HEADROOM_PERCENT / 100)

    @property
    def fits(self) -> bool:
        return self.needed <= self.usable

    def __str__(self) -> str:
        parts = [f"{name} {replicas} x {connections}" for name, replicas, connections in self.lines]
        return f"{' + '.join(parts)} + {TASK_CONNECTIONS} for migration and backup = {self.needed}"


def connection_budget(settings: Settings) -> ConnectionBudget:
    """Counts every replica that can exist at once: at the ceiling of scaling, and in the middle of a rollout, when old
    and new replicas hold their pools together."""
    api = settings.api
    pools = 2 if api.mode == "all" else 1  # a combined replica is two processes, each with its own pool
    lines = [("api", _most(settings, api), api.connections * pools)]
    lines += [(name, _most(settings, group), group.connections) for name, group in settings.worker_groups]
    return ConnectionBudget(lines=tuple(lines), limit=database_connections(settings))


def database_connections(settings: Settings) -> int:
    """Connections that the database accepts: by its size where that decides, else `postgres.max_connections`."""
    postgres = settings.postgres
    by_size = _connections_by_size(postgres.provider).get(postgres.size or "")
    return by_size or postgres.max_connections or _DEFAULT_MAX_CONNECTIONS


def _connections_by_size(provider: str) -> Mapping[str, int]:
    """Connections that a database of each size accepts; none where the provider sells no sizes."""
    if provider == "aws":
        return {size: tables.rds_max_connections(size) for size in tables.RDS_MEMORY_GIB}
    if provider == "digitalocean":
        # The provider has taken its own share off this figure; Postgres's reserve is part of it.
        return {size: tables.do_max_connections(size) + RESERVED_CONNECTIONS for size in tables.DO_DATABASE_MEMORY_GIB}
    return {}


def connections(context: Context) -> Found:
    """All pools together must fit into the database, or requests fail under load and rollouts fail at their peak."""
    settings = context.settings
    budget = connection_budget(settings)
    if budget.fits:
        return
    by_size = settings.postgres.provider in ("aws", "digitalocean")
    yield Broken(
        "postgres.size" if by_size else "postgres.max_connections",
        f"gives {budget.limit} connections, {budget.usable} of them to plan with, and the stack may open "
        f"{budget.needed} during a rollout at full scale: {budget}",
        allowed="a larger database, fewer replicas, or smaller pools (pool_size and pool_overflow)",
        suggestion=_enough(settings, budget) if by_size and settings.postgres.size else None,
        also=(
            "postgres",
            *(
                f"{path}.{name}"
                for path, _ in context.processes()
                for name in ("replicas", "pool_size", "pool_overflow", "scaling", "rollout")
            ),
        ),
    )


def unused_connection_limit(context: Context) -> Found:
    postgres = context.settings.postgres
    if postgres.provider in ("aws", "digitalocean") and postgres.max_connections is not None:
        message = f"means nothing with provider {postgres.provider}: postgres.size decides there"
        yield needless("postgres.max_connections", message, "postgres.provider")


def storage(context: Context) -> Found:
    """RDS wants 20 GiB of gp3 at least, and 10 % of room to grow."""
    postgres = context.settings.postgres
    if postgres.provider == "aws" and postgres.storage < 20 * tables.GIB:
        message, also = "is less than RDS sells", ("postgres.provider",)
        yield Broken("postgres.storage", message, allowed="20 GiB or more", suggestion="20 GiB", also=also)
    if postgres.provider in ("aws", "digitalocean") and postgres.max_storage * 10 < postgres.storage * 11:
        wanted = ceil(postgres.storage * 2 / tables.GIB) * tables.GIB
        yield Broken(
            "postgres.max_storage",
            f"leaves no room to grow above postgres.storage ({format_size(postgres.storage)})",
            allowed="10 % more than postgres.storage at least",
            suggestion=format_size(wanted),
            also=("postgres.storage", "postgres.provider"),
        )


def can_roll(context: Context) -> Found:
    """ECS rounds the least number of replicas up and the most down: with nothing in between nothing ever moves."""
    if context.settings.target != "aws":
        return
    for path, process in context.processes():
        floor = max(process.replicas, 1)
        least = ceil(floor * process.rollout.minimum_healthy_percent / 100)
        most = floor * process.rollout.maximum_percent // 100
        if least >= floor and most <= floor:
            yield Broken(
                f"{path}.rollout.maximum_percent",
                f"lets nothing roll: with {floor} replicas, at least {least} must serve "
                f"(minimum_healthy_percent {process.rollout.minimum_healthy_percent}) and at most {most} may exist",
                allowed=f"{ceil((floor + 1) * 100 / floor)} or more, or a lower minimum_healthy_percent",
                suggestion=str(max(200, ceil((floor + 1) * 100 / floor))),
                also=(f"{path}.rollout.minimum_healthy_percent", f"{path}.replicas"),
            )


def figures(context: Context) -> Found:
    """Workers scale on what the API reports of the queues."""
    settings = context.settings
    if settings.target != "aws" or settings.features.emf:
        return
    scaled = [path for path, group in context.workers() if group.scaling.max_replicas is not None]
    if scaled:
        yield only(
            "features.emf",
            "true",
            f"leaves {scaled[0]}.scaling without the figures that it scales on",
            *(f"{path}.scaling" for path in scaled),
        )


def _most(settings: Settings, process: Api | WorkerGroup) -> int:
    """Replicas at the ceiling of scaling in the middle of a rollout."""
    replicas = process.scaling.max_replicas or process.replicas
    match settings.target:
        case "aws":
            return max(replicas, replicas * process.rollout.maximum_percent // 100)
        case "digitalocean":
            return replicas * 2
    return replicas + 1 if replicas else 0  # one after the other is replaced


def _enough(settings: Settings, budget: ConnectionBudget) -> str | None:
    """The smallest size of the same kind that takes the stack."""
    postgres = settings.postgres
    kind = (postgres.size or "").rsplit(".", 1)[0] if postgres.provider == "aws" else ""
    limits = {size: limit for size, limit in _connections_by_size(postgres.provider).items() if size.startswith(kind)}
    fitting = [size for size, limit in limits.items() if ConnectionBudget(lines=budget.lines, limit=limit).fits]
    return min(fitting, key=limits.__getitem__, default=None)


RULES: Final = (connections, unused_connection_limit, storage, can_roll, figures)
