"""Keys that mean nothing on a target: written there, they would promise what nothing keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from infra.settings.invariants.broken import Context, Found, needless
from infra.settings.tree import Target

_RDS_ONLY: Final = (
    *("postgres.performance_insights", "postgres.apply_immediately", "postgres.monitoring_interval"),
    *("postgres.slow_query", "postgres.read_replicas", "postgres.backup_window", "postgres.maintenance_window"),
    *("postgres.restore", "redis.snapshot_days", "redis.snapshot_window", "redis.maintenance_window"),
    *("backup.vault", "backup.vault_retention_days", "backup.restore_test"),
    *("backup.dump_image", "backup.upload_image", "backup.copy_region"),
)
_ECS_ONLY: Final = ("api.rollout", "worker.rollout", "worker.spot", "features.exec", "domain.zone_id")
_CLOUDWATCH_ONLY: Final = (
    *("log.retention_days", "alerts.monthly_budget", "alerts.latency_p95", "alerts.replica_lag", "alerts.redis_cpu"),
    *("alerts.redis_connections", "alerts.database_memory_free", "alerts.queue_depth", "alerts.queue_wait"),
    *("alerts.service_cpu", "alerts.service_memory", "alerts.error_logs", "secrets.alert_webhook"),
)
_ONE_MACHINE: Final = (
    *("account", "network"),
    *_CLOUDWATCH_ONLY,
    *("postgres.storage", "postgres.max_storage", "postgres.high_availability", "redis.high_availability"),
    *_RDS_ONLY,
    *_ECS_ONLY,
)

UNUSED: Final[Mapping[Target, tuple[str, ...]]] = {
    "local": (
        *_ONE_MACHINE,
        *("domain", "alerts", "backup", "image.architecture", "features.metrics_port"),
        *("api.cpu", "api.memory", "worker.cpu", "worker.memory"),  # processes of this machine have no limits
    ),
    "docker": (*_ONE_MACHINE, "domain.zone", "domain.certificate_arn"),
    "digitalocean": (
        *("account", "domain.certificate_arn", "redis.memory", "features.metrics_port"),
        *_CLOUDWATCH_ONLY,
        *("encryption", "network.endpoints", "network.existing"),
        *("network.zones", "network.nat", "network.flow_logs", "network.waf", "network.waf_rate_limit"),
        *("api.scaling.memory", "api.scaling.latency_p95", "api.scaling.requests_per_second"),
        *_RDS_ONLY,
        *_ECS_ONLY,
    ),
    "aws": ("redis.memory",),
}
"""Keys and groups by target. `worker.` stands for the named groups too."""


def unused(context: Context) -> Found:
    """A key that the target cannot use should not stand in its file."""
    target = context.settings.target
    for path in _paths(context, target):
        # The project file gives every top-level key an empty default: that says nothing.
        if context.given(path) and ("." in path or context.tree[path]):
            yield needless(path, f"means nothing with target {target}")


def _paths(context: Context, target: Target) -> Iterator[str]:
    for path in UNUSED[target]:
        yield path
        if path.startswith("worker."):
            yield from (path.replace("worker", f"worker.groups.{name}", 1) for name in context.settings.worker.groups)


RULES: Final = (unused,)
