"""AWS: the API behind a load balancer and the workers on Fargate, over RDS for PostgreSQL and ElastiCache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pulumi

from infra.aws.backup import Backup
from infra.aws.balancer import Balancer
from infra.aws.cluster import Cluster
from infra.aws.control.desired_count import scaling_ends
from infra.aws.control.migration import Migration
from infra.aws.control.rollout import RolloutCheck
from infra.aws.from_settings import backups, data, networking, services
from infra.aws.guard import protect_nothing, protect_stateful
from infra.aws.image import Image
from infra.aws.keys import Keys
from infra.aws.lazy_sdk import load_services_lazily
from infra.aws.monitoring import Monitoring
from infra.aws.network import Network
from infra.aws.one_off_tasks import OneOffTasks
from infra.aws.postgres import ExternalPostgresSecrets, Postgres
from infra.aws.provider import aws_provider, region
from infra.aws.redis import ExternalRedisSecret, Redis
from infra.aws.secrets import Secrets
from infra.aws.service import ApiService, WorkerService
from infra.contracts import SecretRef
from infra.from_settings import application_outputs
from infra.rotation_record import RotationRecord, RotationRecordArgs, SigningKeys, generations
from infra.settings import Settings
from infra.workload import Workload

ROOT: Final = Path(__file__).resolve().parents[1]


def aws(settings: Settings) -> Mapping[str, pulumi.Input[object]]:
    """The stack's resources; returns its outputs."""
    load_services_lazily()
    if settings.protect:
        protect_stateful(data.guard(settings))
    else:
        protect_nothing()
    app = Workload.of(settings)
    here = pulumi.ResourceOptions(providers=[aws_provider(settings)])

    RotationRecord("rotation-requested", RotationRecordArgs(generations=generations(settings)))
    key = Keys("keys", data.keys(settings), here).arn
    network = Network("network", networking.network(settings, app, key), here)
    secrets = Secrets("secrets", data.secrets(settings, key), here)
    image = Image("image", data.image(settings, key, root=ROOT), here)
    postgres = (
        ExternalPostgresSecrets("postgres", data.external_postgres(settings, key), here)
        if settings.postgres.provider == "external"
        else Postgres("postgres", data.postgres(settings, network, key), here)
    )
    redis = (
        ExternalRedisSecret("redis", data.external_redis(settings, key), here)
        if settings.redis.provider == "external"
        else Redis("redis", data.redis(settings, network, key), here)
    )

    def bound(login: str) -> dict[str, SecretRef]:
        return {**secrets.refs, "DATABASE_URL": postgres.secret(login), "REDIS_URL": redis.secret}

    cluster = Cluster("cluster", services.cluster(settings, network, key), here)
    preparation = OneOffTasks(
        "preparation", services.preparation(app, cluster, image, postgres, bound(app.migrate.database_login)), here
    )
    migrated = Migration("migrate", services.migration(settings, cluster, image, preparation, postgres), here)

    ends = scaling_ends(region(settings), {spec.name: spec.replicas for spec in app.services if spec.scaling is None})
    runtime = services.Runtime(cluster=cluster, image=image, after=[migrated], scaling_ends=ends)
    balancer = Balancer("balancer", networking.balancer(settings, app, network, key), here)
    api = ApiService("api", services.api(settings, app.api, runtime, bound(app.api.database_login), balancer), here)
    workers = [
        WorkerService(spec.name, services.worker(settings, spec, runtime, bound(spec.database_login)), here)
        for spec in app.workers
    ]
    running = [api, *workers]
    arrived = [
        RolloutCheck(
            f"{service.spec.name}-rollout",
            **services.rollout_check(settings, service, cluster),
            opts=pulumi.ResourceOptions(parent=service, depends_on=[service.resource]),
        )
        for service in running
    ]
    # After the bootstrap: the dumps move to a login that is there, and stay with the one before when an `up` fails.
    backup = Backup("backup", backups.backup(settings, app, cluster, image, postgres, key, after=[migrated]), here)
    RotationRecord(
        "rotation-applied",
        RotationRecordArgs(
            generations=generations(settings), signing=SigningKeys.of(settings), after=[*running, *arrived, backup]
        ),
    )
    monitoring = Monitoring(
        "monitoring",
        services.monitoring(
            settings,
            cluster=cluster,
            balancer=balancer,
            services=running,
            postgres=postgres,
            redis=redis,
            backup=backup,
            key=key,
        ),
        here,
    )
    return application_outputs(
        settings,
        app,
        api.url,
        balancer=balancer.dns_name,
        cluster=cluster.name,
        image=image.contract.reference,
        repository=image.repository_url,
        dashboard=monitoring.dashboard_url,
        logs={**preparation.log_groups, **{service.spec.name: service.log_group for service in running}},
        **({"dumps": backup.bucket_name} if backup.bucket_name is not None else {}),
    )
