"""What holds data: keys, secrets, the image, Postgres and Redis."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from infra import rotation
from infra.aws.guard import Guard
from infra.aws.image import Build, ImageArgs
from infra.aws.keys import Key, KeysArgs
from infra.aws.network import Network
from infra.aws.postgres import ExternalPostgresArgs
from infra.aws.postgres_instance import Origin, PostgresArgs
from infra.aws.provider import region
from infra.aws.redis import ExternalRedisArgs, RedisArgs
from infra.aws.secrets import SecretsArgs
from infra.aws.security import POSTGRES_PORT, REDIS_PORT
from infra.fingerprint import fingerprint
from infra.from_settings import external_postgres_urls, given_secrets, owner_role
from infra.settings import Settings

SOURCES: Final = ("app", "requirements/app.txt", "requirements/sbom.txt", ".dockerignore")
"""What the image is made of. `.dockerignore` must let through no more: other content under the same tag is refused by
the repository."""
_RECOVERY_DAYS: Final = 30


def keys(settings: Settings) -> KeysArgs:
    chosen = settings.encryption
    return KeysArgs(
        customer_key=chosen.customer_key, key_arn=chosen.key_arn, account=settings.account, region=settings.region
    )


def secrets(settings: Settings, key: Key) -> SecretsArgs:
    return SecretsArgs(
        ring=rotation.ring(settings.rotation.jwt, floor=settings.rotation.jwt_min),
        given=given_secrets(settings),
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
        owner_role=owner_role(settings),
        slots=rotation.slots(settings.rotation.db),
        backup_slots=rotation.slots(settings.rotation.backup),
        migrate=settings.rotation.migrate,
        master=settings.rotation.master,
        version=chosen.version,
        lower_permitted=_lower_permitted(settings, f"postgres-{origin.role}-version"),
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
        released=guard(settings).lifts(f"postgres-{origin.role}"),
        log_retention_days=settings.log.retention_days,
        key=key,
        recovery_window=recovery_window(settings),
    )


def external_postgres(settings: Settings, key: Key) -> ExternalPostgresArgs:
    return ExternalPostgresArgs(
        urls=external_postgres_urls(settings), key=key, recovery_window=recovery_window(settings)
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
        lower_permitted=_lower_permitted(settings, "redis-group-version"),
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


def recovery_window(settings: Settings) -> int:
    """Days for which a deleted secret can be had back. None without protection: its name would be taken that long."""
    return _RECOVERY_DAYS if settings.protect else 0


def _lower_permitted(settings: Settings, record: str) -> bool:
    return guard(settings).permitted(record, "replace")


def guard(settings: Settings) -> Guard:
    return Guard(permits=settings.permits, stack=settings.stack)
