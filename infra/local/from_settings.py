"""What the stack's settings mean for each component: plain translation, which makes no resource."""

from __future__ import annotations

import pulumi

from infra import rotation
from infra.contracts import ExternalPostgres, ExternalRedis, PostgresEndpoint, RedisEndpoint
from infra.from_settings import external_postgres_urls, given_secrets, owner_role
from infra.local.postgres import PostgresArgs
from infra.local.redis import RedisArgs
from infra.local.secrets import SecretsArgs
from infra.settings import Settings


def secrets(settings: Settings) -> SecretsArgs:
    return SecretsArgs(
        ring=rotation.ring(settings.rotation.jwt, floor=settings.rotation.jwt_min), given=given_secrets(settings)
    )


def postgres(settings: Settings) -> PostgresArgs:
    return PostgresArgs(
        database=settings.postgres.database,
        owner_role=owner_role(settings),
        slots=rotation.slots(settings.rotation.db),
        migrate=settings.rotation.migrate,
        master=settings.rotation.master,
        port=settings.postgres.port,
        max_connections=settings.postgres.max_connections or 100,
    )


def external_postgres(settings: Settings) -> ExternalPostgres:
    return ExternalPostgres(urls=external_postgres_urls(settings))


def redis(settings: Settings) -> RedisArgs:
    return RedisArgs(
        slots=rotation.slots(settings.rotation.redis),
        master=settings.rotation.master,
        port=settings.redis.port,
        memory=settings.redis.memory,
    )


def external_redis(settings: Settings) -> ExternalRedis:
    return ExternalRedis(address=settings.secrets.output("redis_url"))


def address(endpoint: object) -> pulumi.Output[str] | None:
    """Where a server of this stack listens, without any password; None for an external one."""
    if isinstance(endpoint, PostgresEndpoint | RedisEndpoint):
        port = pulumi.Output.from_input(endpoint.port).apply(lambda port: str(int(port)))
        return pulumi.Output.concat(endpoint.host, ":", port)
    return None
