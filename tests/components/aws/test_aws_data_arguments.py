"""Each key of stack config about data reaches its component's arguments: none is a dead switch."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from infra.aws.from_settings import data
from infra.settings import Settings
from infra.settings.loading import parse

NETWORK: Any = SimpleNamespace(
    data_subnets=["subnet-a"], groups=SimpleNamespace(postgres="sg-postgres", redis="sg-redis")
)
BASE = {"target": "aws", "region": "eu-central-1", "domain": {"name": "api.shop.net"}}


def settings(**changes: Any) -> Settings:
    return parse({**BASE, **changes}, stack="prod")


@pytest.mark.parametrize(
    ("change", "argument", "seen"),
    [
        ({"postgres": {"version": 18}}, "version", 18),
        ({"postgres": {"database": "orders"}}, "database", "orders"),
        ({"postgres": {"owner_role": "keeper"}}, "owner_role", "keeper"),
        ({"postgres": {"port": 5433}}, "port", 5433),
        ({"postgres": {"sslmode": "require"}}, "sslmode", "require"),
        ({"postgres": {"size": "db.m7g.large"}}, "size", "db.m7g.large"),
        ({"postgres": {"storage": "50 GiB"}}, "storage", 50 * 1024**3),
        ({"postgres": {"max_storage": "200 GiB"}}, "max_storage", 200 * 1024**3),
        ({"postgres": {"high_availability": False}}, "multi_az", False),
        ({"postgres": {"performance_insights": False}}, "performance_insights", False),
        ({"postgres": {"apply_immediately": True}}, "apply_immediately", True),
        ({"postgres": {"monitoring_interval": 0}}, "monitoring_interval", 0),
        ({"postgres": {"slow_query": "250ms"}}, "slow_query", timedelta(milliseconds=250)),
        ({"postgres": {"read_replicas": 2}}, "read_replicas", 2),
        ({"postgres": {"backup_window": "12:00-13:00"}}, "backup_window", "12:00-13:00"),
        ({"postgres": {"maintenance_window": "mon:12:00-mon:13:00"}}, "maintenance_window", "mon:12:00-mon:13:00"),
        ({"postgres": {"restore": {"snapshot": "before"}}}, "origin.snapshot", "before"),
        ({"postgres": {"restore": {"instance": "old", "time": "latest"}}}, "origin.instance", "old"),
        ({"postgres": {"restore": {"instance": "old", "time": "latest"}}}, "origin.time", "latest"),
        ({"backup": {"retention_days": 21}}, "backup_retention_days", 21),
        ({"rotation": {"db": 2}}, "slots.active", "a"),
        ({"log": {"retention_days": 90}}, "log_retention_days", 90),
        ({"protect": False}, "protect", False),
        ({"protect": False}, "recovery_window", 0),
    ],
)
def test_postgres(change: Mapping[str, Any], argument: str, seen: Any) -> None:
    usual, changed = (data.postgres(settings(**each), NETWORK, None) for each in ({}, change))
    assert value(changed, argument) == seen
    assert value(usual, argument) != seen


@pytest.mark.parametrize(
    ("change", "argument", "seen"),
    [
        ({"redis": {"version": "9.0"}}, "version", "9.0"),
        ({"redis": {"port": 6380}}, "port", 6380),
        ({"redis": {"size": "cache.m7g.large"}}, "size", "cache.m7g.large"),
        ({"redis": {"high_availability": False}}, "high_availability", False),
        ({"redis": {"snapshot_days": 0}}, "snapshot_days", 0),
        ({"redis": {"snapshot_window": "12:00-13:00"}}, "snapshot_window", "12:00-13:00"),
        ({"redis": {"maintenance_window": "mon:12:00-mon:14:00"}}, "maintenance_window", "mon:12:00-mon:14:00"),
        ({"rotation": {"redis": 2}}, "slots.active", "a"),
        ({"log": {"retention_days": 90}}, "log_retention_days", 90),
        ({"protect": False}, "protect", False),
    ],
)
def test_redis(change: Mapping[str, Any], argument: str, seen: Any) -> None:
    usual, changed = (data.redis(settings(**each), NETWORK, None) for each in ({}, change))
    assert value(changed, argument) == seen
    assert value(usual, argument) != seen


@pytest.mark.parametrize(("days", "released"), [(-1, False), (0, True), (7, True)])
def test_a_dated_permit_lifts_the_databases_own_lock(days: int, released: bool) -> None:
    """An `up` before the one that deletes it: RDS refuses otherwise, whatever Pulumi thinks."""
    until = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=days)
    permit = {"resource": "postgres-instance", "action": "delete", "until": until.isoformat(), "reason": "moved away"}
    assert data.postgres(settings(permits=[permit]), NETWORK, None).released is released
    other = {**permit, "resource": "redis-group"}
    assert data.postgres(settings(permits=[other]), NETWORK, None).released is False


def value(args: Any, path: str) -> Any:
    for part in path.split("."):
        args = getattr(args, part)
    return args
