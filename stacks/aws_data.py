"""The data of the AWS stack: which settings become which arguments, and what runs elsewhere."""

from __future__ import annotations

import pulumi

from infra import rotation
from infra.aws.backup import Backup, BackupArgs, disk_gib, dump_image
from infra.aws.cluster import Cluster
from infra.aws.dump import DumpArgs
from infra.aws.image import Image
from infra.aws.keys import Keys
from infra.aws.network import Network
from infra.aws.postgres import Postgres, PostgresArgs
from infra.aws.postgres_external import ExternalPostgresArgs, ExternalPostgresSecrets
from infra.aws.postgres_instance import Origin, gibibytes
from infra.aws.redis import ExternalRedisArgs, ExternalRedisSecret, Redis, RedisArgs
from infra.aws.security import POSTGRES_PORT, REDIS_PORT
from infra.aws.vault import VaultArgs
from infra.settings import Settings
from infra.workload import Workload

RECOVERY_WINDOW = 30
"""Days for which a deleted secret can be had back."""


def postgres(
    settings: Settings, network: Network, keys: Keys, opts: pulumi.ResourceOptions
) -> Postgres | ExternalPostgresSecrets:
    """RDS, or the URLs of a database that somebody else runs."""
    chosen = settings.postgres
    if chosen.provider == "external":
        given = {"app": "database_url", "migrate": "migration_database_url"}
        urls = {login: settings.secrets.output(key) for login, key in given.items() if key in settings.secrets.given}
        external = ExternalPostgresArgs(urls=urls, key=keys.arn, recovery_window=recovery_window(settings))
        return ExternalPostgresSecrets("postgres", external, opts)
    assert settings.region is not None
    assert chosen.size is not None
    args = PostgresArgs(
        subnet_ids=network.data_subnets,
        security_group_id=network.groups.postgres,
        region=settings.region,
        database=chosen.database,
        owner_role=chosen.owner_role or "slipway_owner",
        slots=rotation.slots(settings.rotation.db),
        version=chosen.version,
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
        origin=Origin(snapshot=chosen.restore.snapshot, instance=chosen.restore.instance, time=chosen.restore.time),
        protect=settings.protect,
        log_retention_days=settings.log.retention_days,
        key=keys.arn,
        recovery_window=recovery_window(settings),
    )
    return Postgres("postgres", args, opts)


def redis(
    settings: Settings, network: Network, keys: Keys, opts: pulumi.ResourceOptions
) -> Redis | ExternalRedisSecret:
    """ElastiCache, or the URL of a Redis that somebody else runs."""
    chosen = settings.redis
    if chosen.provider == "external":
        url = settings.secrets.output("redis_url")
        external = ExternalRedisArgs(url=url, key=keys.arn, recovery_window=recovery_window(settings))
        return ExternalRedisSecret("redis", external, opts)
    assert chosen.size is not None
    args = RedisArgs(
        subnet_ids=network.data_subnets,
        security_group_id=network.groups.redis,
        slots=rotation.slots(settings.rotation.redis),
        version=chosen.version,
        size=chosen.size,
        high_availability=chosen.high_availability,
        port=chosen.port or REDIS_PORT,
        snapshot_days=chosen.snapshot_days,
        snapshot_window=chosen.snapshot_window,
        maintenance_window=chosen.maintenance_window,
        protect=settings.protect,
        log_retention_days=settings.log.retention_days,
        key=keys.arn,
        recovery_window=recovery_window(settings),
    )
    return Redis("redis", args, opts)


def backup(
    settings: Settings,
    app: Workload,
    cluster: Cluster,
    image: Image,
    database: Postgres | ExternalPostgresSecrets,
    opts: pulumi.ResourceOptions,
) -> Backup | None:
    """Copies of the database; None where stack config wants none."""
    args = BackupArgs(
        dump=_dump(settings, app, cluster, image, database) if settings.backup.dumps else None,
        vault=_vault(settings, cluster, database) if settings.backup.vault else None,
    )
    return Backup("backup", args, opts) if args.dump or args.vault else None


def recovery_window(settings: Settings) -> int:
    """Days for which a deleted secret can be had back; without `protect`, its name is free again at once."""
    return RECOVERY_WINDOW if settings.protect else 0


def _dump(
    settings: Settings, app: Workload, cluster: Cluster, image: Image, database: Postgres | ExternalPostgresSecrets
) -> DumpArgs:
    assert app.backup.schedule is not None
    own = isinstance(database, Postgres)
    network = cluster.network
    return DumpArgs(
        platform=cluster.platform,
        spec=app.backup,
        schedule=app.backup.schedule,
        libpq=database.libpq,
        application_image=image.contract.reference,
        dump_image=settings.backup.dump_image or dump_image(settings.postgres.version, own=own),
        upload_image=settings.backup.upload_image,
        repository_arns=(image.repository_arn,),
        subnet_ids=network.task_subnets,
        security_group_id=network.groups.backup,
        assign_public_ip=network.assign_public_ip,
        retention_days=settings.backup.dump_retention_days,
        disk_gib=disk_gib(gibibytes(settings.postgres.max_storage)),
        protect=settings.protect,
    )


def _vault(settings: Settings, cluster: Cluster, database: Postgres | ExternalPostgresSecrets) -> VaultArgs | None:
    """Only RDS's snapshots go into a vault."""
    if not isinstance(database, Postgres):
        return None
    assert settings.region is not None
    return VaultArgs(
        instance_arn=database.arn,
        subnet_group_name=database.subnet_group_name,
        security_group_id=cluster.network.groups.postgres,
        region=settings.region,
        hour=settings.backup.vault_hour,
        retention_days=settings.backup.vault_retention_days,
        restore_test=settings.backup.restore_test,
        key=cluster.platform.key_arn,
        protect=settings.protect,
    )
