"""What the components of a stack are to its alarms."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi

from infra.aws.alarms.watched import (
    Watched,
    WatchedBalancer,
    WatchedPostgres,
    WatchedRedis,
    WatchedService,
)
from infra.aws.backup import Backup
from infra.aws.balancer import Balancer
from infra.aws.cluster import Cluster
from infra.aws.postgres import Postgres
from infra.aws.redis import Redis
from infra.aws.service import ApiService, WorkerService
from infra.settings import Settings


def watched(
    settings: Settings,
    *,
    cluster: Cluster,
    balancer: Balancer,
    services: Sequence[ApiService | WorkerService],
    postgres: object,
    redis: object,
    backup: Backup,
) -> Watched:
    """Everything that is watched. Servers that somebody else runs are not: AWS has no figures of theirs."""
    return Watched(
        stack=settings.stack,
        cluster=cluster.name,
        cluster_arn=cluster.arn,
        balancer=WatchedBalancer(
            suffix=balancer.arn_suffix, target_suffix=balancer.target_suffix, certificate_arn=balancer.certificate_arn
        ),
        services=tuple(_service(service, settings) for service in services),
        postgres=_postgres(postgres) if isinstance(postgres, Postgres) else None,
        redis=WatchedRedis(member_ids=redis.member_ids) if isinstance(redis, Redis) else None,
        dumps=backup.watched,
    )


def _service(service: ApiService | WorkerService, settings: Settings) -> WatchedService:
    log_group: pulumi.Output[str] | None = service.log_group if settings.log.format == "json" else None
    return WatchedService(
        role=service.spec.name,
        name=service.name,
        arn=service.arn,
        floor=service.spec.replicas,
        # Without figures there is nothing to watch, and their absence is no news.
        queue=service.spec.queue if settings.features.emf else None,
        log_group=log_group,
    )


def _postgres(postgres: Postgres) -> WatchedPostgres:
    return WatchedPostgres(
        identifier=postgres.identifier,
        arn=postgres.arn,
        max_connections=postgres.max_connections,
        storage_gib=postgres.storage_gib,
        memory_gib=postgres.memory_gib,
        burstable=postgres.burstable,
        replica_identifiers=tuple(postgres.replica_identifiers),
    )
