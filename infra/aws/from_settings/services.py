"""What runs on the cluster: the tasks that prepare the database, the API and the workers; and what is monitored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from infra.aws.alarms.monitored import Monitored, MonitoredService
from infra.aws.backup import Backup
from infra.aws.balancer import Balancer
from infra.aws.cluster import Cluster, ClusterArgs
from infra.aws.control.migration import MigrationArgs
from infra.aws.iam import place
from infra.aws.image import Image
from infra.aws.keys import Key
from infra.aws.monitoring import MonitoringArgs
from infra.aws.network import Network
from infra.aws.one_off_tasks import OneOffTask, OneOffTasks, OneOffTasksArgs
from infra.aws.postgres import ExternalPostgresSecrets, Postgres
from infra.aws.postgres_logins import bootstrap_task
from infra.aws.provider import region
from infra.aws.redis import ExternalRedisSecret, Redis
from infra.aws.service import ApiServiceArgs, Service, WorkerServiceArgs
from infra.contracts import SecretRef, ServiceSpec
from infra.settings import Settings
from infra.settings.units import milliseconds
from infra.workload import Workload


def cluster(settings: Settings, network: Network, key: Key) -> ClusterArgs:
    return ClusterArgs(
        network=network,
        region=region(settings),
        architecture=settings.image.architecture,
        log_retention_days=settings.log.retention_days,
        key_arn=key,
        exec_enabled=settings.features.exec,
    )


def preparation(
    app: Workload,
    cluster: Cluster,
    image: Image,
    postgres: Postgres | ExternalPostgresSecrets,
    secrets: Mapping[str, SecretRef],
) -> OneOffTasksArgs:
    """First the logins, by the only task that gets the master password, then the schema, with `secrets`."""
    groups = [cluster.network.groups.migrate]
    bootstrap = OneOffTask(spec=bootstrap_task(app.migrate), secrets=postgres.bootstrap, security_groups=groups)
    migrate = OneOffTask(spec=app.migrate, secrets=secrets, security_groups=groups)
    return OneOffTasksArgs(
        cluster=cluster,
        image=image.contract,
        tasks=[bootstrap, migrate] if postgres.bootstrap else [migrate],
        repository_arns=[image.repository_arn],
    )


def migration(
    settings: Settings,
    cluster: Cluster,
    image: Image,
    tasks: OneOffTasks,
    postgres: Postgres | ExternalPostgresSecrets,
) -> MigrationArgs:
    return MigrationArgs(
        region=region(settings),
        cluster=cluster.arn,
        image=image.contract,
        runs=tasks.runs,
        subnets=cluster.network.task_subnets,
        assign_public_ip=cluster.network.assign_public_ip,
        # Another database, restored or made anew, has neither the logins nor the schema.
        triggers={"database": postgres.resource_id} if isinstance(postgres, Postgres) else {},
        after=[cluster.network, tasks],
    )


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """What every service runs on, and what must be there before it."""

    cluster: Cluster
    image: Image
    after: Sequence[pulumi.Resource]
    scaling_ends: pulumi.ResourceHook

    def of(self, spec: ServiceSpec, secrets: Mapping[str, SecretRef]) -> dict[str, Any]:
        """Of `ServiceArgs`."""
        return {
            "cluster": self.cluster,
            "image": self.image.contract,
            "spec": spec,
            "secrets": secrets,
            "repository_arns": [self.image.repository_arn],
            "after": self.after,
            "scaling_ends": self.scaling_ends,
        }


def api(
    settings: Settings, spec: ServiceSpec, runtime: Runtime, secrets: Mapping[str, SecretRef], balancer: Balancer
) -> ApiServiceArgs:
    return ApiServiceArgs(
        **runtime.of(spec, secrets),
        balancer=balancer,
        error_percent=settings.alerts.error_percent,
        latency_p95_ms=milliseconds(settings.alerts.latency_p95),
    )


def worker(
    settings: Settings, spec: ServiceSpec, runtime: Runtime, secrets: Mapping[str, SecretRef]
) -> WorkerServiceArgs:
    return WorkerServiceArgs(**runtime.of(spec, secrets), failed_jobs=settings.alerts.failed_jobs)


def rollout_check(settings: Settings, service: Service, cluster: Cluster) -> dict[str, Any]:
    """The inputs of `RolloutCheck`."""
    return {
        "region": region(settings),
        "cluster": cluster.arn,
        "service": service.arn,
        "task_definition": service.task_definition_arn,
        "timeout": service.spec.rollout.timeout,
        "triggers": {},
    }


def monitoring(
    settings: Settings,
    *,
    cluster: Cluster,
    balancer: Balancer,
    services: Sequence[Service],
    postgres: Postgres | ExternalPostgresSecrets,
    redis: Redis | ExternalRedisSecret,
    backup: Backup,
    key: Key,
) -> MonitoringArgs:
    return MonitoringArgs(
        monitored=Monitored(
            stack=settings.stack,
            cluster=cluster.name,
            cluster_arn=cluster.arn,
            balancer=balancer.monitored,
            services=tuple(_monitored_service(service, settings) for service in services),
            postgres=postgres.monitored,
            redis=redis.monitored,
            dumps=backup.monitored,
        ),
        alerts=settings.alerts,
        region=region(settings),
        account=settings.account or cluster.arn.apply(lambda arn: place(arn).account),
        webhook=settings.secrets.output("alert_webhook") if settings.secrets.alert_webhook else None,
        key=key,
    )


def _monitored_service(service: Service, settings: Settings) -> MonitoredService:
    return MonitoredService(
        role=service.spec.name,
        name=service.name,
        arn=service.arn,
        floor=service.spec.replicas,
        # Without figures there is nothing to compare, and their absence is no news.
        queue=service.spec.queue if settings.features.emf else None,
        log_group=service.log_group if settings.log.format == "json" else None,
    )
