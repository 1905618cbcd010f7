"""AWS: the API behind a load balancer and the workers on Fargate, over RDS for PostgreSQL and ElastiCache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import pulumi

from infra.aws import arguments
from infra.aws.backup import Backup
from infra.aws.balancer import Balancer
from infra.aws.cluster import Cluster
from infra.aws.control.fixed import scaling_ends
from infra.aws.control.migration import Migration, MigrationArgs
from infra.aws.control.rollout import RolloutCheck
from infra.aws.guard import Guard, guard, unguarded
from infra.aws.iam import place
from infra.aws.image import Image
from infra.aws.keys import Keys
from infra.aws.lean import load_lean
from infra.aws.monitoring import Monitoring, MonitoringArgs
from infra.aws.network import Network
from infra.aws.oneoff import OneOffTask, OneOffTasks, OneOffTasksArgs
from infra.aws.postgres import Postgres
from infra.aws.postgres_external import ExternalPostgresSecrets
from infra.aws.postgres_logins import bootstrap_task
from infra.aws.provider import aws_provider
from infra.aws.redis import ExternalRedisSecret, Redis
from infra.aws.secrets import Secrets
from infra.aws.service import ApiService, ApiServiceArgs, WorkerService, WorkerServiceArgs
from infra.aws.watching import watched
from infra.contracts import SecretRef
from infra.markers import RotationMarker, RotationMarkerArgs, generations
from infra.settings import Settings
from infra.settings.units import milliseconds
from infra.signing_keys import SigningKeys
from infra.workload import Workload

ROOT: Final = Path(__file__).resolve().parents[1]


def aws(settings: Settings) -> Mapping[str, pulumi.Input[object]]:
    """The stack's resources; returns its outputs."""
    load_lean()
    _watch_over_data(settings)
    app = Workload.of(settings)
    region = arguments.region(settings)
    here = pulumi.ResourceOptions(providers=[aws_provider(settings)])

    RotationMarker("rotation-requested", RotationMarkerArgs(generations=generations(settings)))
    key = Keys("keys", arguments.keys(settings), here).arn
    network = Network("network", arguments.network(settings, app, key), here)
    secrets = Secrets("secrets", arguments.secrets(settings, key), here)
    image = Image("image", arguments.image(settings, key, root=ROOT), here)
    postgres = _postgres(settings, network, key, here)
    redis = _redis(settings, network, key, here)

    def bound(login: str) -> dict[str, SecretRef]:
        return {**secrets.refs, "DATABASE_URL": postgres.secret(login), "REDIS_URL": redis.secret}

    cluster = Cluster("cluster", arguments.cluster(settings, network, key), here)
    preparation = OneOffTasks(
        "preparation",
        OneOffTasksArgs(
            cluster=cluster,
            image=image.contract,
            tasks=_preparing(app, network, postgres, bound(app.migrate.database_login)),
            repository_arns=[image.repository_arn],
        ),
        here,
    )
    migrated = Migration(
        "migrate",
        MigrationArgs(
            region=region,
            cluster=cluster.arn,
            image=image.contract,
            runs=preparation.runs,
            subnets=network.task_subnets,
            assign_public_ip=network.assign_public_ip,
            # Another database, restored or made anew, has neither the logins nor the schema.
            triggers={"database": postgres.resource_id} if isinstance(postgres, Postgres) else {},
            after=[network, preparation],
        ),
        here,
    )

    ends = scaling_ends(region, {spec.name: spec.replicas for spec in app.services if spec.scaling is None})
    balancer = Balancer("balancer", arguments.balancer(settings, app, network, key), here)
    api = ApiService(
        "api",
        ApiServiceArgs(
            cluster=cluster,
            image=image.contract,
            spec=app.api,
            secrets=bound(app.api.database_login),
            balancer=balancer,
            error_percent=settings.alerts.error_percent,
            latency_p95_ms=milliseconds(settings.alerts.latency_p95),
            repository_arns=[image.repository_arn],
            after=[migrated],
            scaling_ends=ends,
        ),
        here,
    )
    workers = [
        WorkerService(
            spec.name,
            WorkerServiceArgs(
                cluster=cluster,
                image=image.contract,
                spec=spec,
                secrets=bound(spec.database_login),
                failed_jobs=settings.alerts.failed_jobs,
                repository_arns=[image.repository_arn],
                after=[migrated],
                scaling_ends=ends,
            ),
            here,
        )
        for spec in app.workers
    ]
    services: Sequence[ApiService | WorkerService] = [api, *workers]
    arrived = [_rollout(service, cluster, region) for service in services]
    # After the bootstrap: the dumps move to a login that is there, and stay with the one before when an `up` fails.
    backup = Backup("backup", arguments.backup(settings, app, cluster, image, postgres, key, after=[migrated]), here)
    RotationMarker(
        "rotation-applied",
        RotationMarkerArgs(
            generations=generations(settings), signing=SigningKeys.of(settings), after=[*services, *arrived, backup]
        ),
    )
    monitoring = Monitoring(
        "monitoring",
        MonitoringArgs(
            watched=watched(
                settings,
                cluster=cluster,
                balancer=balancer,
                services=services,
                postgres=postgres,
                redis=redis,
                backup=backup,
            ),
            alerts=settings.alerts,
            region=region,
            account=settings.account or cluster.arn.apply(lambda arn: place(arn).account),
            webhook=settings.secrets.output("alert_webhook") if settings.secrets.alert_webhook else None,
            key=key,
        ),
        here,
    )
    return {
        "url": api.url,
        **_pages(settings, api.url),
        "balancer": balancer.dns_name,
        "cluster": cluster.name,
        "image": image.contract.reference,
        "repository": image.repository_url,
        "dashboard": monitoring.dashboard_url,
        "logs": {**preparation.log_groups, **{service.spec.name: service.log_group for service in services}},
        **({"dumps": backup.bucket_name} if backup.bucket_name is not None else {}),
        **({"notices": list(app.notices)} if app.notices else {}),
    }


def _watch_over_data(settings: Settings) -> None:
    """With `protect`, what holds data goes with a permit only."""
    if settings.protect:
        guard(Guard(permits=settings.permits, stack=settings.stack))
    else:
        unguarded()


def _postgres(
    settings: Settings, network: Network, key: arguments.Key, here: pulumi.ResourceOptions
) -> Postgres | ExternalPostgresSecrets:
    if settings.postgres.provider == "external":
        return ExternalPostgresSecrets("postgres", arguments.external_postgres(settings, key), here)
    return Postgres("postgres", arguments.postgres(settings, network, key), here)


def _redis(
    settings: Settings, network: Network, key: arguments.Key, here: pulumi.ResourceOptions
) -> Redis | ExternalRedisSecret:
    if settings.redis.provider == "external":
        return ExternalRedisSecret("redis", arguments.external_redis(settings, key), here)
    return Redis("redis", arguments.redis(settings, network, key), here)


def _preparing(
    app: Workload,
    network: Network,
    postgres: Postgres | ExternalPostgresSecrets,
    migration_secrets: Mapping[str, SecretRef],
) -> Sequence[OneOffTask]:
    """First the logins, by the only task that gets the master password, then the schema."""
    groups = [network.groups.migrate]
    bootstrap = OneOffTask(spec=bootstrap_task(app.migrate), secrets=postgres.bootstrap, security_groups=groups)
    migrate = OneOffTask(spec=app.migrate, secrets=migration_secrets, security_groups=groups)
    return [bootstrap, migrate] if postgres.bootstrap else [migrate]


def _rollout(service: ApiService | WorkerService, cluster: Cluster, region: str) -> RolloutCheck:
    return RolloutCheck(
        f"{service.spec.name}-rollout",
        region=region,
        cluster=cluster.arn,
        service=service.arn,
        task_definition=service.task_definition_arn,
        timeout=service.spec.rollout.timeout,
        opts=pulumi.ResourceOptions(parent=service, depends_on=[service.resource]),
    )


def _pages(settings: Settings, url: pulumi.Output[str]) -> dict[str, pulumi.Output[str]]:
    pages = {
        "docs_url": ("/docs", settings.features.swagger),
        "metrics_url": ("/metrics", settings.features.metrics),
        "health_url": ("/health", settings.features.health_check),
    }
    return {name: pulumi.Output.concat(url, path) for name, (path, served) in pages.items() if served}
