"""The application described once: what runs, with which variables, secrets, health checks and limits.

Every target takes its services from here, so that they differ in where they run and in nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from infra.contracts import CommandHealth, HttpHealth, Rollout, Scaling, ServiceSpec, TaskSpec
from infra.settings.services import ApiScaling, Health, WorkerGroup, WorkerScaling
from infra.settings.services import Rollout as RolloutSettings
from infra.settings.tree import Settings
from infra.settings.units import milliseconds, whole_seconds
from infra.settings.variables import API, MIGRATE, OWN, WORKER, environment

COMMAND: Final = ("python", "-m", "app")
HEALTH_COMMAND: Final = ("python", "-m", "app.healthcheck")
HEALTH_FILE: Final = "/tmp/slipway-worker.alive"  # noqa: S108 - inside a container, where /tmp is its own

LIBPQ: Final = ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSSLMODE")
"""The variables of the backup task: those of `PostgresEndpoint.libpq`."""

_SERVERS: Final = ("DATABASE_URL", "REDIS_URL")
"""The addresses of the stack's own servers, or of external ones."""

_TASK_TIMEOUT: Final = 3600
"""Seconds for a migration or a dump. A migration that needs longer should be split: it blocks the rollout."""


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Everything that a stack runs."""

    api: ServiceSpec
    workers: tuple[ServiceSpec, ...]
    migrate: TaskSpec
    backup: TaskSpec

    @classmethod
    def of(cls, settings: Settings) -> Workload:
        return cls(
            api=_api(settings),
            workers=tuple(_worker(settings, name, group) for name, group in settings.worker_groups),
            migrate=_migrate(settings),
            backup=_backup(settings),
        )

    @property
    def services(self) -> tuple[ServiceSpec, ...]:
        return (self.api, *self.workers)

    @property
    def notices(self) -> tuple[str, ...]:
        """What an operator of the stack should know about its application, one sentence each."""
        environment = self.workers[0].environment if self.workers else self.api.environment
        private, http = environment["DELIVERY_ALLOW_PRIVATE_NETWORKS"], environment["DELIVERY_ALLOW_HTTP"]
        reach = [
            *(["to private networks and this machine"] if private == "true" else []),
            *(["over plain http"] if http == "true" else []),
        ]
        return (f"Webhook deliveries may go {', and '.join(reach)}.",) if reach else ()


def _api(settings: Settings) -> ServiceSpec:
    api, combined = settings.api, settings.api.mode == "all"
    live = HttpHealth(path="/health/live", port=api.port, **_check(api.health))
    ready = HttpHealth(path="/health", port=api.port, **_check(api.health)) if settings.features.health_check else live
    return ServiceSpec(
        name="api",
        mode=api.mode,
        command=COMMAND,
        environment={
            **(_worker_environment(settings, settings.worker) if combined else {}),
            **_api_environment(settings),
            "MODE": api.mode,
        },
        secrets=(*_SERVERS, *(() if settings.secrets.jwt else ("JWT_KEYS",)), *settings.secrets.variables(API)),
        database_login="app",
        health=live,
        health_command=HEALTH_COMMAND,
        readiness=ready,
        port=api.port,
        stop_timeout=whole_seconds(api.stop_timeout),
        replicas=api.replicas,
        scaling=_api_scaling(settings, api.scaling),
        rollout=_rollout(api.rollout),
        cpu=api.cpu,
        memory=api.memory,
        size=api.size,
        spot=False,
        queue=settings.worker.queue if combined else None,
        connections=replica_connections(settings),
    )


def _worker(settings: Settings, name: str, group: WorkerGroup) -> ServiceSpec:
    return ServiceSpec(
        name=name,
        mode="worker",
        command=COMMAND,
        environment=_worker_environment(settings, group),
        secrets=(*_SERVERS, *settings.secrets.variables(WORKER)),
        database_login="app",
        health=CommandHealth(command=HEALTH_COMMAND, **_check(group.health)),
        health_command=HEALTH_COMMAND,
        readiness=None,
        port=None,
        stop_timeout=whole_seconds(group.stop_timeout),
        replicas=group.replicas,
        scaling=_worker_scaling(group.scaling, slots=group.concurrency),
        rollout=_rollout(group.rollout),
        cpu=group.cpu,
        memory=group.memory,
        size=group.size,
        spot=group.spot and group.scaling.max_replicas is not None,
        queue=group.queue,
        connections=group.connections,
    )


def _migrate(settings: Settings) -> TaskSpec:
    return TaskSpec(
        name="migrate",
        mode="migrate",
        command=COMMAND,
        environment={"MODE": "migrate", "ENVIRONMENT": settings.environment, **environment(settings, MIGRATE)},
        secrets=("DATABASE_URL",),
        database_login="migrate",
        timeout=_TASK_TIMEOUT,
        cpu=settings.api.cpu,
        memory=settings.api.memory,
    )


def _backup(settings: Settings) -> TaskSpec:
    """pg_dump writes the archive to its standard output; the target brings that to its store."""
    return TaskSpec(
        name="backup",
        mode=None,
        command=("pg_dump", "--format=custom", "--no-owner", "--no-privileges"),
        environment={},
        secrets=LIBPQ,
        database_login="backup",
        timeout=_TASK_TIMEOUT,
        cpu=settings.worker.cpu,
        memory=settings.worker.memory,
        schedule=f"0 {settings.backup.hour} * * *" if settings.backup.dumps else None,
    )


def replica_connections(settings: Settings) -> int:
    """Most database connections of one API replica: in mode `all` its worker is a second process with its own pool."""
    return settings.api.connections * (2 if settings.api.mode == "all" else 1)


def _api_environment(settings: Settings) -> dict[str, str]:
    groups = settings.worker.groups.values()
    return {
        **environment(settings, API),
        **environment(settings.api, OWN),
        "ENVIRONMENT": settings.environment,
        "QUEUE_ROUTES": ",".join(f"{kind}={group.queue}" for group in groups for kind in group.kinds),
        # Every queue's figures come from the API: workers that are scaled to nothing could not ask for their first one.
        "EMF_QUEUES": ",".join(group.queue for group in groups),
    }


def _worker_environment(settings: Settings, group: WorkerGroup) -> dict[str, str]:
    return {
        **({"WEBHOOK_BASE_URL": f"https://{settings.domain.name}"} if settings.domain.name else {}),
        **environment(settings, WORKER),
        **environment(group, WORKER | OWN),
        "MODE": "worker",
        "ENVIRONMENT": settings.environment,
        # On the local target replicas share one file system: there the supervisor gives each a file of its own.
        **({} if settings.target == "local" else {"HEALTH_FILE": HEALTH_FILE}),
    }


def _check(health: Health) -> dict[str, int]:
    return {
        "interval": whole_seconds(health.interval),
        "timeout": whole_seconds(health.timeout),
        "retries": health.retries,
        "start_period": whole_seconds(health.start_period),
    }


def _rollout(rollout: RolloutSettings) -> Rollout:
    return Rollout(
        minimum_healthy_percent=rollout.minimum_healthy_percent,
        maximum_percent=rollout.maximum_percent,
        timeout=whole_seconds(rollout.timeout),
    )


def _api_scaling(settings: Settings, scaling: ApiScaling) -> Scaling | None:
    if scaling.max_replicas is None:
        return None
    cooldowns = {"out_cooldown": whole_seconds(scaling.out_cooldown), "in_cooldown": whole_seconds(scaling.in_cooldown)}
    if settings.target == "digitalocean":  # App Platform's provider knows processor load only
        return Scaling(max_replicas=scaling.max_replicas, cpu_percent=scaling.cpu, **cooldowns)
    return Scaling(
        max_replicas=scaling.max_replicas,
        cpu_percent=scaling.cpu,
        memory_percent=scaling.memory,
        latency_p95_ms=milliseconds(scaling.latency_p95),
        requests_per_second=scaling.requests_per_second,
        **cooldowns,
    )


def _worker_scaling(scaling: WorkerScaling, *, slots: int) -> Scaling | None:
    if scaling.max_replicas is None:
        return None
    return Scaling(
        max_replicas=scaling.max_replicas,
        out_cooldown=whole_seconds(scaling.out_cooldown),
        in_cooldown=whole_seconds(scaling.in_cooldown),
        cpu_percent=scaling.cpu,
        backlog_high=scaling.backlog_high,
        backlog_low=scaling.backlog_low,
        wait=whole_seconds(scaling.wait),
        slots=slots,
    )
