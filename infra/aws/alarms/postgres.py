"""The database, and the dumps of it."""

from __future__ import annotations

from collections.abc import Iterator

from infra.aws.alarms.model import HOUR, MINUTE, Alarm, Metric, metrics
from infra.aws.alarms.monitored import MonitoredDumps, MonitoredPostgres
from infra.settings.platform import Alerts

_GIB = 1024**3
_TRANSACTION_IDS = 1_000_000_000
"""Half of the 2 147 483 648 after which Postgres stops accepting writes; autovacuum works from 200 million on."""


def postgres_alarms(postgres: MonitoredPostgres, alerts: Alerts) -> Iterator[Alarm]:
    """Alarms of the instance and of its read replica. RDS reports every minute."""
    connections = postgres.max_connections * alerts.database_connections // 100
    storage = postgres.storage_gib * alerts.database_storage_free * _GIB // 100
    memory = postgres.memory_gib * alerts.database_memory_free * _GIB // 100
    yield _alarm(
        postgres,
        "cpu",
        f"The database has used more than {alerts.database_cpu} % of its processor for fifteen minutes.",
        metric=("CPUUtilization", "Average"),
        above=alerts.database_cpu,
    )
    yield _alarm(
        postgres,
        "connections",
        f"More than {connections} of {postgres.max_connections} possible connections are in use: replicas that start "
        "now may be refused.",
        metric=("DatabaseConnections", "Maximum"),
        above=connections,
        periods=1,
    )
    yield _alarm(
        postgres,
        "storage",
        f"Less than {storage / _GIB:g} GiB of disk are free ({alerts.database_storage_free} % of the first "
        f"{postgres.storage_gib} GiB). RDS tells by an event besides when growing the disk does not help any more.",
        metric=("FreeStorageSpace", "Minimum"),
        below=storage,
        periods=1,
        full=True,
    )
    yield _alarm(
        postgres,
        "memory",
        f"Less than {memory / _GIB:g} GiB of memory can be freed ({alerts.database_memory_free} %).",
        metric=("FreeableMemory", "Average"),
        below=memory,
    )
    yield _alarm(
        postgres,
        "transaction-ids",
        "A vacuum is overdue: half of the transaction ids are used up, and without ids Postgres refuses to write.",
        metric=("MaximumUsedTransactionIDs", "Maximum"),
        above=_TRANSACTION_IDS,
        periods=1,
    )
    if postgres.burstable:
        yield _alarm(
            postgres,
            "credits",
            "The database works above its base load for so long that AWS bills the processor time extra.",
            metric=("CPUSurplusCreditsCharged", "Maximum"),
            above=0,
        )
    for number, identifier in enumerate(postgres.replica_identifiers, start=1):
        yield Alarm(
            role=f"postgres-replica-{number}-lag",
            means=f"Read replica {number} is more than {alerts.replica_lag.total_seconds():g} s behind.",
            trouble="database-busy",
            measure=Metric(
                namespace="AWS/RDS",
                name="ReplicaLag",
                dimensions={"DBInstanceIdentifier": identifier},
                statistic="Maximum",
            ),
            above=alerts.replica_lag.total_seconds(),
            periods=5,
            missing="breaching",
            because="a replica that does not say how far it is behind is not replicating",
        )


def dump_alarm(dumps: MonitoredDumps) -> Alarm:
    """No dump within its time. The count is looked at hourly, so that the alarm comes within the hour."""
    return Alarm(
        role="dump-missing",
        means=f"No dump of the database has arrived for {dumps.within} hours.",
        trouble="dump-missing",
        measure=dumps.metric,
        below=1,
        period=HOUR,
        periods=dumps.within,
        missing="breaching",
        because="a dump that does not run reports nothing",
    )


def _alarm(
    postgres: MonitoredPostgres,
    role: str,
    means: str,
    *,
    metric: tuple[str, str],
    above: float | None = None,
    below: float | None = None,
    periods: int = 3,
    full: bool = False,
) -> Alarm:
    name, statistic = metric
    return Alarm(
        role=f"postgres-{role}",
        means=means,
        trouble="database-full" if full else "database-busy",
        measure=metrics("AWS/RDS", {"DBInstanceIdentifier": postgres.identifier})(name, statistic),
        above=above,
        below=below,
        period=5 * MINUTE,
        periods=periods,
        missing="ignore",
        because="RDS is silent while an instance fails over or restarts, which its events tell; the state before holds",
    )
