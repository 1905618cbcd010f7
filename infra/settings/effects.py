"""What a change to a key does to a running stack: the question before every `up`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from infra.settings.describe import Path

_ROLLS_ALL: Final = "rolls the API and the workers"
_ROLLS_API: Final = "rolls the API"
_ROLLS_WORKERS: Final = "rolls the workers"
_IN_PLACE: Final = "in place"
_OTHER_DATABASE: Final = "points at another, empty database: move the data first"

EFFECTS: Final[Mapping[str, str]] = {
    "target": "makes a new stack elsewhere; nothing is moved",
    "region": "makes everything anew; nothing is moved",
    "account": "nothing; only checked",
    "domain": "certificate, listener and records, in place",
    "image": f"migrates, then {_ROLLS_ALL}",
    "image.version": _ROLLS_ALL,
    "network.cidr": "makes the network anew, and all that lives in it",
    "network.zones": "subnets, and replicas that live in them",
    "network.endpoints": _IN_PLACE,
    "network.existing": "makes everything anew in the other network; nothing is moved",
    "network.nat": "in place; connections to the outside break once",
    "network.flow_logs": _IN_PLACE,
    "network.waf": _IN_PLACE,
    "network.waf_rate_limit": _IN_PLACE,
    "encryption": "replaces the database, the cache and the image repository: choose before the first `up`",
    "postgres.provider": _OTHER_DATABASE,
    "postgres.version": "upgrades the server, with an outage; never goes back",
    "postgres.database": _OTHER_DATABASE,
    "postgres.owner_role": "the next migration; existing tables must be given to the role by hand",
    "postgres.port": f"restarts the database and {_ROLLS_ALL}",
    "postgres.sslmode": _ROLLS_ALL,
    "postgres.size": "restarts the database or fails it over, in its maintenance window",
    "postgres.storage": "in place; grows only",
    "postgres.max_storage": _IN_PLACE,
    "postgres.high_availability": _IN_PLACE,
    "postgres.max_connections": "restarts a server of the stack's own; for an external one, nothing but the check",
    "postgres.migration_lock_timeout": "the next migration",
    "postgres.performance_insights": _IN_PLACE,
    "postgres.apply_immediately": "nothing by itself",
    "postgres.monitoring_interval": _IN_PLACE,
    "postgres.slow_query": _IN_PLACE,
    "postgres.read_replicas": "in place; from none to one, a new master password",
    "postgres.backup_window": _IN_PLACE,
    "postgres.maintenance_window": _IN_PLACE,
    "postgres.restore": "makes another database from that; the one before is deleted, which wants a permit",
    "redis": f"a new server or a restart; the sweeper restores the queue. Then {_ROLLS_ALL}",
    "redis.high_availability": _IN_PLACE,
    "redis.memory": _IN_PLACE,
    "redis.snapshot_days": _IN_PLACE,
    "redis.snapshot_window": _IN_PLACE,
    "redis.maintenance_window": _IN_PLACE,
    "api": _ROLLS_API,
    "api.mode": f"makes or removes the main workers and {_ROLLS_API}",
    "api.replicas": "adds or removes replicas, without a restart of the others",
    "api.scaling": _IN_PLACE,
    "api.rollout": "the next rollout",
    "worker": _ROLLS_WORKERS,
    "worker.replicas": "adds or removes workers, which finish their jobs",
    "worker.scaling": _IN_PLACE,
    "worker.spot": "in place; new replicas",
    "worker.rollout": "the next rollout",
    "worker.queue": f"{_ROLLS_ALL}; the sweeper moves waiting jobs",
    "worker.job_timeout": _ROLLS_ALL,
    "worker.lease": _ROLLS_ALL,
    "worker.urgent_kinds": _ROLLS_ALL,
    "worker.groups": "makes, removes or rolls that group",
    "worker.groups.<name>.kinds": f"{_ROLLS_API}; jobs on the other queue stay there until they are done",
    "jwt": _ROLLS_API,
    "deliveries": _ROLLS_ALL,
    "deliveries.backoff": _ROLLS_WORKERS,
    "deliveries.backoff_max": _ROLLS_WORKERS,
    "deliveries.max_attempts": _ROLLS_API,
    "deliveries.max_response_size": _ROLLS_WORKERS,
    "predictions": _ROLLS_WORKERS,
    "predictions.max_attempts": _ROLLS_API,
    "features": _ROLLS_API,
    "features.metrics_port": _ROLLS_WORKERS,
    "features.exec": _ROLLS_ALL,
    "cors_origins": _ROLLS_API,
    "log": _ROLLS_ALL,
    "observability": _ROLLS_ALL,
    "log.retention_days": "in place; older entries go",
    "secrets": _ROLLS_ALL,
    "secrets.alert_webhook": _IN_PLACE,
    "secrets.jwt": f"{_ROLLS_API}; tokens of the old key end",
    "secrets.migration_database_url": "the next migration",
    "rotation.jwt": f"a new key, then {_ROLLS_API}; nobody is logged out",
    "rotation.jwt_min": f"{_ROLLS_API}; tokens of older keys end",
    "rotation.db": f"a new password of the idle login, then {_ROLLS_ALL}",
    "rotation.redis": f"a new password of the idle login, then {_ROLLS_ALL}",
    "rotation.migrate": "a new password, and the migration runs again",
    "rotation.backup": "a new password of the idle login, to which the dumps move",
    "rotation.master": "new passwords, in place; sessions go on",
    "alerts": _IN_PLACE,
    "backup": _IN_PLACE,
    "tags": _IN_PLACE,
    "protect": "in place; lifting it takes an `up` of its own before a delete",
    "permits": "nothing by itself",
}
"""By key or group; the longest match counts."""


def effect(path: Path) -> str:
    """What a change to the key at `path` does; raises KeyError when nobody has said so."""
    parts = [str(part) for part in path]
    for length in range(len(parts), 0, -1):
        if (found := EFFECTS.get(".".join(parts[:length]))) is not None:
            return found
    raise KeyError(".".join(parts))
