"""This machine: Postgres and Valkey from wheels, the application as processes. No Docker, no cloud, no root."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from infra import rotation
from infra.contracts import ExternalPostgres, ExternalRedis, PostgresEndpoint, RedisEndpoint, SecretRef
from infra.local.image import source_image
from infra.local.migration import Migration, MigrationArgs
from infra.local.paths import project_root
from infra.local.postgres import Postgres, PostgresArgs
from infra.local.redis import Redis, RedisArgs
from infra.local.rotation import RotationMarker, RotationMarkerArgs
from infra.local.secrets import Secrets, SecretsArgs
from infra.local.service import ApiService, ServiceArgs, WorkerService
from infra.markers import generations
from infra.settings import Settings
from infra.settings.secrets import GIVEN_VARIABLES
from infra.signing_keys import SigningKeys
from infra.workload import Workload


def local(settings: Settings) -> Mapping[str, pulumi.Input[object]]:
    """The stack's resources; returns its outputs."""
    app = Workload.of(settings)

    RotationMarker("rotation-requested", RotationMarkerArgs(generations=generations(settings)))
    secrets = Secrets(
        "secrets",
        SecretsArgs(
            ring=rotation.ring(settings.rotation.jwt, floor=settings.rotation.jwt_min),
            given=_given(settings),
        ),
    )
    postgres = _postgres(settings)
    redis = _redis(settings)
    image = source_image(project_root() / "app", lock=project_root() / "requirements" / "app.txt")

    def bound(login: str) -> dict[str, SecretRef]:
        urls = {"DATABASE_URL": postgres.url(login), "REDIS_URL": redis.url()}
        return {**secrets.refs, **{name: SecretRef(name=name, value=url) for name, url in urls.items()}}

    migrated = Migration(
        "migrate", MigrationArgs(image=image, spec=app.migrate, secrets=bound(app.migrate.database_login))
    )
    api = ApiService(
        "api", ServiceArgs(image=image, spec=app.api, secrets=bound(app.api.database_login), after=migrated)
    )
    workers = [
        WorkerService(
            spec.name, ServiceArgs(image=image, spec=spec, secrets=bound(spec.database_login), after=migrated)
        )
        for spec in app.workers
    ]
    RotationMarker(
        "rotation-applied",
        RotationMarkerArgs(generations=generations(settings), signing=SigningKeys.of(settings), after=[api, *workers]),
    )

    return _outputs(settings, app, api.url, {"postgres": postgres, "redis": redis})


def _outputs(
    settings: Settings, app: Workload, url: pulumi.Output[str], servers: Mapping[str, object]
) -> dict[str, pulumi.Input[object]]:
    pages = {
        "docs_url": ("/docs", settings.features.swagger),
        "metrics_url": ("/metrics", settings.features.metrics),
        "health_url": ("/health", settings.features.health_check),
    }
    return {
        "url": url,
        **{name: pulumi.Output.concat(url, path) for name, (path, served) in pages.items() if served},
        **{name: address for name, server in servers.items() if (address := _address(server))},
        **({"notices": list(app.notices)} if app.notices else {}),
    }


def _postgres(settings: Settings) -> PostgresEndpoint | ExternalPostgres:
    if settings.postgres.provider == "external":
        given = {"app": "database_url", "migrate": "migration_database_url"}
        return ExternalPostgres(urls={login: url for login, key in given.items() if (url := _output(settings, key))})
    args = PostgresArgs(
        database=settings.postgres.database,
        owner_role=settings.postgres.owner_role or "slipway_owner",
        slots=rotation.slots(settings.rotation.db),
        migrate=settings.rotation.migrate,
        master=settings.rotation.master,
        port=settings.postgres.port,
        max_connections=settings.postgres.max_connections or 100,
    )
    return Postgres("postgres", args).endpoint


def _redis(settings: Settings) -> RedisEndpoint | ExternalRedis:
    if settings.redis.provider == "external":
        return ExternalRedis(address=settings.secrets.output("redis_url"))
    args = RedisArgs(
        slots=rotation.slots(settings.rotation.redis),
        master=settings.rotation.master,
        port=settings.redis.port,
        memory=settings.redis.memory,
    )
    return Redis("redis", args).endpoint


def _given(settings: Settings) -> dict[str, pulumi.Output[str]]:
    """The secrets of stack config that processes get as they are, by variable."""
    return {variable: value for key, variable in GIVEN_VARIABLES.items() if (value := _output(settings, key))}


def _output(settings: Settings, key: str) -> pulumi.Output[str] | None:
    return settings.secrets.output(key) if key in settings.secrets.given else None


def _address(endpoint: object) -> pulumi.Output[str] | None:
    """Where a server of this stack listens, without any password; None for an external one."""
    if isinstance(endpoint, PostgresEndpoint | RedisEndpoint):
        port = pulumi.Output.from_input(endpoint.port).apply(lambda port: str(int(port)))
        return pulumi.Output.concat(endpoint.host, ":", port)
    return None
