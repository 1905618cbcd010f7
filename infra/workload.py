"""The application described once: what runs, with which variables, secrets, health checks and limits.

Every target takes its services from here, so that they differ in where they run and in nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from infra.contracts import CommandHealth, HttpHealth, Rollout, Scaling, ServiceSpec, TaskSpec
from infra.settings.secrets import GIVEN_VARIABLES, PROVIDER_SECRETS
from infra.settings.services import ApiScaling, Health, Process, WorkerGroup, WorkerScaling
from infra.settings.services import Rollout as RolloutSettings
from infra.settings.tree import Settings
from infra.settings.units import milliseconds, single_unit, whole_seconds

COMMAND: Final = ("python", "-m", "app")
HEALTH_COMMAND: Final = ("python", "-m", "app.healthcheck")
HEALTH_FILE: Final = "/tmp/slipway-worker.alive"  # noqa: S108 - inside a container, where /tmp is its own

LIBPQ: Final = ("PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGSSLMODE")
"""The variables of the backup task: those of `PostgresEndpoint.libpq`."""

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
        """What whoever runs the stack should know about its application, one sentence each."""
        environment = self.workers[0].environment if self.workers else self.api.environment
        private, http = environment["DELIVERY_ALLOW_PRIVATE_NETWORKS"], environment["DELIVERY_ALLOW_HTTP"]
        reach = [
            *(["to private networks and this machine"] if private == "true" else []),
            *(["over plain http"] if http == "true" else []),
        ]
        return (f"Webhook deliveries may go {', and '.join(reach)}.",) if reach else ()


def _api(settings: Settings) -> ServiceSpec:
    api, combined = settings.api, settings.api.mode == "all"
    environment = {
        "MODE": api.mode,
        **_common(settings),
        **_pool(api),
        "HOST": api.host,
        "PORT": str(api.port),
        "JWT_ISSUER": settings.jwt.issuer,
        "JWT_AUDIENCE": settings.jwt.audience,
        "JWT_ACCESS_EXPIRES_IN": single_unit(settings.jwt.access_expires_in),
        "JWT_REFRESH_EXPIRES_IN": single_unit(settings.jwt.refresh_expires_in),
        "CORS_ORIGIN": ",".join(settings.cors_origins),
        "TRUSTED_PROXIES": ",".join(api.trusted_proxies),
        "ENABLE_SWAGGER": _flag(settings.features.swagger),
        "ENABLE_METRICS": _flag(settings.features.metrics),
        "ENABLE_HEALTH_CHECK": _flag(settings.features.health_check),
        "ENABLE_RATE_LIMIT": _flag(settings.features.rate_limit),
        "RATE_LIMIT_MAX": str(api.rate_limit.max),
        "RATE_LIMIT_TIMEWINDOW": str(milliseconds(api.rate_limit.window)),
        "LOGIN_FAILURES_MAX": str(api.login_failures.max),
        "LOGIN_FAILURES_WINDOW": str(milliseconds(api.login_failures.window)),
        "REQUEST_TIMEOUT": str(milliseconds(api.request_timeout)),
        "KEEP_ALIVE_TIMEOUT": str(milliseconds(api.keep_alive_timeout)),
        "BODY_LIMIT": str(api.body_limit),
        "SHUTDOWN_DRAIN": str(milliseconds(api.drain_timeout)),
        "SHUTDOWN_TIMEOUT": str(milliseconds(api.shutdown_timeout)),
        **_accepting(settings),
        "DELIVERY_MAX_ATTEMPTS": str(settings.deliveries.max_attempts),
        "PREDICTION_MAX_ATTEMPTS": str(settings.predictions.max_attempts),
        "QUEUE_ROUTES": ",".join(f"{kind}={queue}" for kind, queue in _routes(settings)),
        **_figures(settings),
        **_traces(settings),
        **({**_doing(settings, settings.worker), **_worker_health_file(settings)} if combined else {}),
    }
    live = HttpHealth(path="/health/live", port=api.port, **_check(api.health))
    ready = HttpHealth(path="/health", port=api.port, **_check(api.health)) if settings.features.health_check else live
    return ServiceSpec(
        name="api",
        mode=api.mode,
        command=COMMAND,
        environment=environment,
        secrets=("DATABASE_URL", "REDIS_URL", _signing_variable(settings), *_provider_keys(settings)),
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
        environment={
            "MODE": "worker",
            **_common(settings),
            **_pool(group),
            "SHUTDOWN_TIMEOUT": str(milliseconds(group.shutdown_timeout)),
            **_accepting(settings, group),
            **_doing(settings, group),
            **_traces(settings),
            **_worker_health_file(settings),
        },
        secrets=("DATABASE_URL", "REDIS_URL", *_provider_keys(settings)),
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
    owner = settings.postgres.owner_role
    return TaskSpec(
        name="migrate",
        mode="migrate",
        command=COMMAND,
        environment={
            "MODE": "migrate",
            **_common(settings),
            "MIGRATION_LOCK_TIMEOUT": str(milliseconds(settings.postgres.migration_lock_timeout)),
            **({"DATABASE_OWNER_ROLE": owner} if owner else {}),
        },
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


def _common(settings: Settings) -> dict[str, str]:
    return {
        "ENVIRONMENT": settings.environment,
        "SERVICE_NAME": settings.project,
        "SERVICE_VERSION": settings.image.version,
        "LOG_LEVEL": settings.log.level,
        "LOG_FORMAT": settings.log.format,
    }


def _pool(process: Process) -> dict[str, str]:
    return {
        "DATABASE_POOL_SIZE": str(process.pool_size),
        "DATABASE_MAX_OVERFLOW": str(process.pool_overflow),
        "DATABASE_POOL_TIMEOUT": str(milliseconds(process.pool_timeout)),
    }


def _accepting(settings: Settings, group: WorkerGroup | None = None) -> dict[str, str]:
    """What whoever accepts or does a job must agree on. The API checks a delivery's address; the job's time limit
    travels with it into the queue."""
    group, deliveries = group or settings.worker, settings.deliveries
    return {
        "QUEUE_NAME": group.queue,
        "QUEUE_URGENT_KINDS": ",".join(settings.worker.urgent_kinds),
        "QUEUE_JOB_TIMEOUT": str(milliseconds(group.job_timeout)),
        "QUEUE_LEASE": str(milliseconds(group.lease)),
        "DELIVERY_TIMEOUT": str(milliseconds(deliveries.timeout)),
        "DELIVERY_ALLOW_HTTP": _flag(deliveries.allow_http),
        "DELIVERY_ALLOW_PRIVATE_NETWORKS": _flag(deliveries.allow_private_networks),
    }


def _doing(settings: Settings, group: WorkerGroup) -> dict[str, str]:
    """What only a worker reads: the API does not roll when one of these changes."""
    worker, deliveries = settings.worker, settings.deliveries
    return {
        "QUEUE_CONCURRENCY": str(group.concurrency),
        "QUEUE_ISOLATED_KINDS": ",".join(group.isolated_kinds),
        "QUEUE_ISOLATED_MEMORY": str(group.isolated_memory),
        "QUEUE_REMOVE_ON_COMPLETE": str(worker.keep_completed),
        "QUEUE_REMOVE_ON_FAIL": str(worker.keep_failed),
        "SWEEP_INTERVAL": str(milliseconds(worker.sweep_interval)),
        "DELIVERY_BACKOFF": str(milliseconds(deliveries.backoff)),
        "DELIVERY_BACKOFF_MAX": str(milliseconds(deliveries.backoff_max)),
        "DELIVERY_MAX_RESPONSE_BYTES": str(deliveries.max_response_size),
        "METRICS_PORT": str(settings.features.metrics_port),
        **_predicting(settings),
    }


def _predicting(settings: Settings) -> dict[str, str]:
    chosen, name = settings.predictions, settings.domain.name
    public = chosen.webhook_base_url or (f"https://{name}" if name else None)
    return {
        "REPLICATE_BASE_URL": chosen.replicate_base_url,
        "OPENAI_BASE_URL": chosen.openai_base_url,
        **({"WEBHOOK_BASE_URL": public} if public else {}),
        "PREDICTION_TIMEOUT": str(milliseconds(chosen.timeout)),
        "PREDICTION_POLL_INTERVAL": str(milliseconds(chosen.poll_interval)),
        "PREDICTION_WEBHOOK_GRACE": str(milliseconds(chosen.webhook_grace)),
        "PREDICTION_REQUEST_TIMEOUT": str(milliseconds(chosen.request_timeout)),
        "PREDICTION_MAX_RESPONSE_BYTES": str(chosen.max_response_size),
    }


def _routes(settings: Settings) -> Iterator[tuple[str, str]]:
    for group in settings.worker.groups.values():
        yield from ((kind, group.queue) for kind in group.kinds)


def _figures(settings: Settings) -> dict[str, str]:
    """The queues' figures come from the API: workers that are scaled to nothing could not ask for their first one."""
    return {
        "ENABLE_EMF": _flag(settings.features.emf),
        "EMF_INTERVAL": str(milliseconds(settings.features.emf_interval)),
        "EMF_QUEUES": ",".join(group.queue for group in settings.worker.groups.values()),
        "STACK_NAME": settings.stack,
    }


def _traces(settings: Settings) -> dict[str, str]:
    """For whoever handles a request or its job: one trace leads through both, and both keep the same share."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": settings.observability.otlp_endpoint or "",
        "OTEL_TRACES_SAMPLER_ARG": str(settings.observability.trace_percent / 100),
    }


def _worker_health_file(settings: Settings) -> dict[str, str]:
    """On the local target replicas share one file system: there the supervisor gives each a file of its own."""
    return {} if settings.target == "local" else {"HEALTH_FILE": HEALTH_FILE}


def _signing_variable(settings: Settings) -> str:
    return "JWT_KEYS" if settings.secrets.jwt is None else "JWT_SECRET"


def _provider_keys(settings: Settings) -> tuple[str, ...]:
    return tuple(GIVEN_VARIABLES[name] for name in PROVIDER_SECRETS if name in settings.secrets.given)


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


def _flag(value: bool) -> str:
    return "true" if value else "false"
