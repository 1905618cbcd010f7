"""Redis: room for new jobs, and a node that keeps up. Measured on each node, since roles change with a failover."""

from __future__ import annotations

from collections.abc import Iterator

import pulumi

from infra.aws.alarms.model import MINUTE, Alarm, Silence, Threshold, metrics
from infra.aws.alarms.monitored import MonitoredRedis
from infra.settings.platform import Alerts

_REPLACED = Silence("ignore", "a node that is being replaced is silent; that work waits is told by the queues")


def redis_alarms(redis: MonitoredRedis, alerts: Alerts) -> Iterator[Alarm]:
    """Alarms of every node."""
    for number, member in enumerate(redis.member_ids, start=1):
        yield from _node_alarms(member, number, alerts, replicated=len(redis.member_ids) > 1)


def _node_alarms(member: pulumi.Input[str], number: int, alerts: Alerts, *, replicated: bool) -> Iterator[Alarm]:
    node, lag = f"Redis node {number}", alerts.replica_lag.total_seconds()
    metric = metrics("AWS/ElastiCache", {"CacheClusterId": member})
    connections = metric("CurrConnections", "Maximum")
    yield Alarm(
        role=f"redis-{number}-memory",
        means=f"{node} has used more than {alerts.redis_memory} % of its memory. At 100 % it refuses new jobs, which "
        "then wait in Postgres.",
        trouble="redis-full",
        when=Threshold(metric("DatabaseMemoryUsagePercentage", "Maximum"), above=alerts.redis_memory, periods=5),
        silence=_REPLACED,
    )
    yield Alarm(
        role=f"redis-{number}-evictions",
        means=f"{node} dropped keys. With the policy noeviction it never should: somebody has changed its parameters.",
        trouble="redis-full",
        when=Threshold(metric("Evictions", "Sum"), above=0, period=5 * MINUTE),
        silence=Silence("notBreaching", "nothing was evicted that was not counted"),
    )
    yield Alarm(
        role=f"redis-{number}-cpu",
        means=f"{node} has used more than {alerts.redis_cpu} % of the processor that runs its commands, for fifteen "
        "minutes.",
        trouble="redis-busy",
        when=Threshold(metric("EngineCPUUtilization", "Average"), above=alerts.redis_cpu, period=5 * MINUTE, periods=3),
        silence=_REPLACED,
    )
    yield Alarm(
        role=f"redis-{number}-connections",
        means=f"{node} has more than {alerts.redis_connections} connections: replicas leak them, or there are more "
        "replicas than anybody planned.",
        trouble="redis-busy",
        when=Threshold(connections, above=alerts.redis_connections, period=5 * MINUTE, periods=3),
        silence=_REPLACED,
    )
    if replicated:
        yield Alarm(
            role=f"redis-{number}-lag",
            means=f"{node} is more than {lag:g} s behind the primary: a failover would lose that much, which the "
            "sweeper would then restore from Postgres.",
            trouble="redis-busy",
            when=Threshold(metric("ReplicationLag", "Maximum"), above=lag, periods=5),
            silence=Silence("notBreaching", "the primary has no lag and reports none"),
        )
