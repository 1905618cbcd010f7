"""What the stack's settings mean for each component. Plain translation: nothing here makes a resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pulumi

from infra import contracts, rotation
from infra.aws.backup import BackupArgs, disk_gib
from infra.aws.balancer import BalancerArgs
from infra.aws.cluster import Cluster, ClusterArgs
from infra.aws.dump import DumpArgs
from infra.aws.guard import Guard
from infra.aws.image import Build, Image, ImageArgs
from infra.aws.keys import KeysArgs
from infra.aws.network import ExistingNetwork, Network, NetworkArgs
from infra.aws.postgres import Postgres, PostgresArgs
from infra.aws.postgres_external import ExternalPostgresArgs, ExternalPostgresSecrets
from infra.aws.postgres_instance import Origin
from infra.aws.redis import ExternalRedisArgs, RedisArgs
from infra.aws.secrets import SecretsArgs
from infra.aws.security import HTTP, HTTPS, POSTGRES_PORT, REDIS_PORT, TASKS, Access, Role
from infra.aws.vault import VaultArgs
from infra.fingerprint import fingerprint
from infra.settings import Settings
from infra.settings.secrets import GIVEN_VARIABLES
from infra.settings.units import whole_seconds
from infra.workload import Workload

Key = pulumi.Input[str] | None

SOURCES: Final = ("app", "requirements/app.txt", "requirements/sbom.txt", ".dockerignore")
"""What the image is made of. `.dockerignore` must let through no more: other content under the same tag is refused by
the repository."""
_RECOVERY_DAYS: Final = 30
_GIB: Final = 1024**3


def keys(settings: Settings) -> KeysArgs:
    chosen = settings.encryption
    return KeysArgs(
        customer_key=chosen.customer_key, key_arn=chosen.key_arn, account=settings.account, region=settings.region
    )


def network(settings: Settings, app: Workload, key: Key) -> NetworkArgs:
    chosen, existing = settings.network, settings.network.existing
    own = ExistingNetwork(
        vpc_id=existing.vpc or "",
        public_subnets=existing.public_subnets,
        task_subnets=existing.task_subnets,
        data_subnets=existing.data_subnets,
    )
    return NetworkArgs(
        region=region(settings),
        cidr=chosen.cidr,
        zones=chosen.zones,
        nat=chosen.nat,
        endpoints=chosen.endpoints,
        flow_logs=chosen.flow_logs,
        retention_days=settings.log.retention_days,
        key=key,
        access=access(settings, app),
        existing=own if existing.vpc else None,
    )


def access(settings: Settings, app: Workload) -> Access:
    """Who talks to whom. A server of somebody else is reached by the way out, on its port."""
    postgres, redis = settings.postgres.port or POSTGRES_PORT, settings.redis.port or REDIS_PORT
    own_postgres, own_redis = settings.postgres.provider == "aws", settings.redis.provider == "aws"
    # A pooler and the server behind it often have two ports, of which one is the usual one.
    to_postgres = () if own_postgres else tuple(dict.fromkeys((POSTGRES_PORT, postgres)))
    to_redis = () if own_redis else tuple(dict.fromkeys((REDIS_PORT, redis)))
    outside: dict[Role, tuple[int, ...]] = {
        task: (*to_postgres, *((*to_redis, *_collector_ports(settings)) if task in ("api", "worker") else ()))
        for task in TASKS
    }
    delivering: tuple[Role, ...] = (*(("api",) if app.api.queue else ()), *(("worker",) if app.workers else ()))
    return Access(
        api_port=settings.api.port,
        postgres_port=postgres if own_postgres else None,
        redis_port=redis if own_redis else None,
        outside_ports=outside,
        deliver_http=settings.deliveries.allow_http,
        delivering=delivering,
        endpoints=bool(settings.network.endpoints),
        scraped=_scraped(settings, app),
        network=settings.network.cidr,
    )


def _collector_ports(settings: Settings) -> tuple[int, ...]:
    """Where traces go. Without a port of its own in the address, it is the scheme's."""
    if settings.observability.otlp_endpoint is None:
        return ()
    parts = urlsplit(settings.observability.otlp_endpoint)
    port = parts.port or (HTTP if parts.scheme == "http" else HTTPS)
    return () if port == HTTPS else (port,)


def _scraped(settings: Settings, app: Workload) -> dict[Role, tuple[int, ...]]:
    """A worker's port means that a Prometheus in the network asks every replica, so those of the API open to it too:
    the balancer would give it now this one's counters and now that one's."""
    port = settings.features.metrics_port
    if not port:
        return {}
    api = (*((settings.api.port,) if settings.features.metrics else ()), *((port,) if app.api.queue else ()))
    return {**({"api": api} if api else {}), **({"worker": (port,)} if app.workers else {})}


def secrets(settings: Settings, key: Key) -> SecretsArgs:
    return SecretsArgs(
        ring=rotation.ring(settings.rotation.jwt, floor=settings.rotation.jwt_min),
        given={
            variable: settings.secrets.output(name)
            for name, variable in GIVEN_VARIABLES.items()
            if _is_given(settings, name)
        },
        key=key,
        recovery_window=recovery_window(settings),
    )


def image(settings: Settings, key: Key, *, root: Path) -> ImageArgs:
    """The image that CI gives by digest, else one that is built from the sources below `root`."""
    chosen = settings.image
    if chosen.reference:
        return ImageArgs(reference=chosen.reference, key=key)
    content = fingerprint([root / source for source in SOURCES], root=root)
    return ImageArgs(
        build=Build(
            # As seen from the program's folder, in which Pulumi runs it.
            context="..",
            dockerfile="../app/Dockerfile",
            # Another processor is another image of the same content.
            tag=f"{chosen.version.replace('+', '_')}-{content}-{chosen.architecture}",
            architecture=chosen.architecture,
        ),
        key=key,
    )


def postgres(settings: Settings, network: Network, key: Key) -> PostgresArgs:
    chosen, restore = settings.postgres, settings.postgres.restore
    origin = Origin(snapshot=restore.snapshot, instance=restore.instance, time=restore.time)
    assert chosen.size is not None
    return PostgresArgs(
        subnet_ids=network.data_subnets,
        security_group_id=network.groups.postgres,
        region=region(settings),
        database=chosen.database,
        owner_role=chosen.owner_role or "slipway_owner",
        slots=rotation.slots(settings.rotation.db),
        backup_slots=rotation.slots(settings.rotation.backup),
        migrate=settings.rotation.migrate,
        master=settings.rotation.master,
        version=chosen.version,
        lower_permitted=_may_go_back(settings, f"postgres-{origin.role}-version"),
        size=chosen.size,
        storage=chosen.storage,
        max_storage=chosen.max_storage,
        multi_az=chosen.high_availability,
        port=chosen.port or POSTGRES_PORT,
        sslmode=chosen.sslmode,
        backup_retention_days=settings.backup.retention_days,
        backup_window=chosen.backup_window,
        maintenance_window=chosen.maintenance_window,
        performance_insights=chosen.performance_insights,
        monitoring_interval=chosen.monitoring_interval,
        slow_query=chosen.slow_query,
        apply_immediately=chosen.apply_immediately,
        read_replicas=chosen.read_replicas,
        origin=origin,
        protect=settings.protect,
        released=Guard(permits=settings.permits, stack=settings.stack).lifts(f"postgres-{origin.role}"),
        log_retention_days=settings.log.retention_days,
        key=key,
        recovery_window=recovery_window(settings),
    )


def external_postgres(settings: Settings, key: Key) -> ExternalPostgresArgs:
    names = {"app": "database_url", "migrate": "migration_database_url"}
    return ExternalPostgresArgs(
        urls={login: settings.secrets.output(name) for login, name in names.items() if _is_given(settings, name)},
        key=key,
        recovery_window=recovery_window(settings),
    )


def redis(settings: Settings, network: Network, key: Key) -> RedisArgs:
    chosen = settings.redis
    assert chosen.size is not None
    return RedisArgs(
        subnet_ids=network.data_subnets,
        security_group_id=network.groups.redis,
        slots=rotation.slots(settings.rotation.redis),
        master=settings.rotation.master,
        version=chosen.version,
        lower_permitted=_may_go_back(settings, "redis-group-version"),
        size=chosen.size,
        high_availability=chosen.high_availability,
        port=chosen.port or REDIS_PORT,
        snapshot_days=chosen.snapshot_days,
        snapshot_window=chosen.snapshot_window,
        maintenance_window=chosen.maintenance_window,
        protect=settings.protect,
        log_retention_days=settings.log.retention_days,
        key=key,
        recovery_window=recovery_window(settings),
    )


def external_redis(settings: Settings, key: Key) -> ExternalRedisArgs:
    return ExternalRedisArgs(
        url=settings.secrets.output("redis_url"), key=key, recovery_window=recovery_window(settings)
    )


def cluster(settings: Settings, network: Network, key: Key) -> ClusterArgs:
    return ClusterArgs(
        network=network,
        region=region(settings),
        architecture=settings.image.architecture,
        log_retention_days=settings.log.retention_days,
        key_arn=key,
        exec_enabled=settings.features.exec,
    )


def balancer(settings: Settings, app: Workload, network: Network, key: Key) -> BalancerArgs:
    ready = app.api.readiness
    assert ready is not None
    assert app.api.port is not None
    return BalancerArgs(
        network=network,
        port=app.api.port,
        health=ready,
        request_timeout=whole_seconds(settings.api.request_timeout),
        domain=settings.domain.name,
        zone_id=settings.domain.zone_id,
        certificate_arn=settings.domain.certificate_arn,
        waf=settings.network.waf,
        waf_rate_limit=settings.network.waf_rate_limit,
        log_retention_days=settings.log.retention_days,
        key_arn=key,
        protect=settings.protect,
    )


def backup(
    settings: Settings,
    app: Workload,
    cluster: Cluster,
    image: Image,
    postgres: Postgres | ExternalPostgresSecrets,
    key: Key,
    *,
    after: Sequence[pulumi.Resource] = (),
) -> BackupArgs:
    """Dumps of any database, by the login that is there `after` those; a vault for one that the stack runs itself."""
    own = isinstance(postgres, Postgres)
    return BackupArgs(
        dump=_dump(settings, app, cluster, image.contract, postgres.libpq, [image.repository_arn], after, own=own)
        if settings.backup.dumps
        else None,
        vault=_vault(settings, cluster.network, postgres, key)
        if isinstance(postgres, Postgres) and settings.backup.vault
        else None,
    )


def _dump(
    settings: Settings,
    app: Workload,
    cluster: Cluster,
    image: contracts.Image,
    libpq: Mapping[str, contracts.SecretRef],
    repository_arns: Sequence[pulumi.Input[str]],
    after: Sequence[pulumi.Resource],
    *,
    own: bool,
) -> DumpArgs:
    chosen, network = settings.backup, cluster.network
    assert app.backup.schedule is not None
    return DumpArgs(
        platform=cluster.platform,
        spec=app.backup,
        schedule=app.backup.schedule,
        libpq=libpq,
        application_image=image.reference,
        dump_image=chosen.dump_image or image.reference,
        upload_image=chosen.upload_image,
        repository_arns=repository_arns,
        subnet_ids=network.task_subnets,
        security_group_id=network.groups.backup,
        assign_public_ip=network.assign_public_ip,
        retention_days=chosen.dump_retention_days,
        copy_region=chosen.copy_region,
        disk_gib=disk_gib(settings.postgres.max_storage // _GIB if own else None),
        after=after,
        protect=settings.protect,
    )


def _vault(settings: Settings, network: Network, postgres: Postgres, key: Key) -> VaultArgs:
    chosen = settings.backup
    return VaultArgs(
        instance_arn=postgres.arn,
        origin_mark=postgres.origin_mark,
        subnet_group_name=postgres.subnet_group_name,
        security_group_id=network.groups.postgres,
        region=region(settings),
        hour=chosen.vault_hour,
        retention_days=chosen.vault_retention_days,
        restore_test=chosen.restore_test,
        key=key,
        protect=settings.protect,
    )


def region(settings: Settings) -> str:
    assert settings.region is not None, "the settings refuse an AWS stack without a region"
    return settings.region


def recovery_window(settings: Settings) -> int:
    """Days for which a deleted secret can be had back. None without protection: its name would be taken that long."""
    return _RECOVERY_DAYS if settings.protect else 0


def _may_go_back(settings: Settings, marker: str) -> bool:
    return Guard(permits=settings.permits, stack=settings.stack).permitted(marker, "replace")


def _is_given(settings: Settings, name: str) -> bool:
    return name in settings.secrets.given
