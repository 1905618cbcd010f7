"""The database, and the dumps of it."""

from __future__ import annotations

from collections.abc import Iterator

from infra.aws.alarms.model import HOUR, MINUTE, Alarm, Silence, Threshold, metrics
from infra.aws.alarms.monitored import MonitoredDumps, MonitoredPostgres
from infra.settings.platform import Alerts

_GIB = 1024**3
_TRANSACTION_IDS = 1_000_000_000
"""Half of the 2 147 483 648 after which Postgres stops accepting writes; autovacuum works from 200 million on."""
_FAILS_OVER = Silence(
    "ignore", "RDS is silent while an instance fails over or restarts, which its events tell; the state before holds"
)


def postgres_alarms(postgres: MonitoredPostgres, alerts: Alerts) -> Iterator[Alarm]:
    """Alarms of the instance and of its read replica. RDS reports every minute."""
    metric = metrics("AWS/RDS", {"DBInstanceIdentifier": postgres.identifier})
    connections = postgres.max_connections * alerts.database_connections // 100
    storage = postgres.storage_gib * alerts.database_storage_free * _GIB // 100
    memory = postgres.memory_gib * alerts.database_memory_free * _GIB // 100
    yield Alarm(
        role="postgres-cpu",
        means=f"The database has used more than {alerts.database_cpu} % of its processor for fifteen minutes.",
        trouble="database-busy",
        when=Threshold(metric("CPUUtilization", "Average"), above=alerts.database_cpu, period=5 * MINUTE, periods=3),
        silence=_FAILS_OVER,
    )
    yield Alarm(
        role="postgres-connections",
        means=f"More than {connections} of {postgres.max_connections} possible connections are in use: replicas that "
        "start now may be refused.",
        trouble="database-busy",
        when=Threshold(metric("DatabaseConnections", "Maximum"), above=connections, period=5 * MINUTE),
        silence=_FAILS_OVER,
    )
    yield Alarm(
        role="postgres-storage",
        means=f"Less than {storage / _GIB:g} GiB of disk are free ({alerts.database_storage_free} % of the first "
        f"{postgres.storage_gib} GiB). RDS tells by an event besides when growing the disk does not help any more.",
        trouble="database-full",
        when=Threshold(metric("FreeStorageSpace", "Minimum"), below=storage, period=5 * MINUTE),
        silence=_FAILS_OVER,
    )
    yield Alarm(
        role="postgres-memory",
        means=f"Less than {memory / _GIB:g} GiB of memory can be freed ({alerts.database_memory_free} %).",
        trouble="database-busy",
        when=Threshold(metric("FreeableMemory", "Average"), below=memory, period=5 * MINUTE, periods=3),
        silence=_FAILS_OVER,
    )
    yield Alarm(
        role="postgres-transaction-ids",
        means="A vacuum is overdue: half of the transaction ids are used up, and without ids Postgres refuses to "
        "write.",
        trouble="database-busy",
        when=Threshold(metric("MaximumUsedTransactionIDs", "Maximum"), above=_TRANSACTION_IDS, period=5 * MINUTE),
        silence=_FAILS_OVER,
    )
    if postgres.burstable:
        yield Alarm(
            role="postgres-credits",
            means="The database works above its base load for so long that AWS bills the processor time extra.",
            trouble="database-busy",
            when=Threshold(metric("CPUSurplusCreditsCharged", "Maximum"), above=0, period=5 * MINUTE, periods=3),
            silence=_FAILS_OVER,
        )
    lag = alerts.replica_lag.total_seconds()
    for number, identifier in enumerate(postgres.replica_identifiers, start=1):
        behind = metrics("AWS/RDS", {"DBInstanceIdentifier": identifier})("ReplicaLag", "Maximum")
        yield Alarm(
            role=f"postgres-replica-{number}-lag",
            means=f"Read replica {number} is more than {lag:g} s behind.",
            trouble="database-busy",
            when=Threshold(behind, above=lag, periods=5),
            silence=Silence("breaching", "a replica that does not say how far it is behind is not replicating"),
        )


def dump_alarm(dumps: MonitoredDumps) -> Alarm:
    """No dump within its time. The count is looked at hourly, so that the alarm comes within the hour."""
    return Alarm(
        role="dump-missing",
        means=f"No dump of the database has arrived for {dumps.within} hours.",
        trouble="dump-missing",
        when=Threshold(dumps.metric, below=1, period=HOUR, periods=dumps.within),
        silence=Silence("breaching", "a dump that does not run reports nothing"),
    )
