"""This machine: Postgres and Valkey from wheels, the application as processes. No Docker, no cloud, no root."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from infra.contracts import SecretRef
from infra.from_settings import application_outputs
from infra.local import from_settings as args
from infra.local.image import source_image
from infra.local.migration import Migration, MigrationArgs
from infra.local.paths import project_root
from infra.local.postgres import Postgres
from infra.local.redis import Redis
from infra.local.rotation_record import RotationRecord, RotationRecordArgs
from infra.local.secrets import Secrets
from infra.local.service import ApiService, ServiceArgs, WorkerService
from infra.rotation_record import SigningKeys, generations
from infra.settings import Settings
from infra.workload import Workload


def local(settings: Settings) -> Mapping[str, pulumi.Input[object]]:
    """The stack's resources; returns its outputs."""
    app = Workload.of(settings)

    RotationRecord("rotation-requested", RotationRecordArgs(generations=generations(settings)))
    secrets = Secrets("secrets", args.secrets(settings))
    postgres = (
        args.external_postgres(settings)
        if settings.postgres.provider == "external"
        else Postgres("postgres", args.postgres(settings)).endpoint
    )
    redis = (
        args.external_redis(settings)
        if settings.redis.provider == "external"
        else Redis("redis", args.redis(settings)).endpoint
    )
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
    RotationRecord(
        "rotation-applied",
        RotationRecordArgs(generations=generations(settings), signing=SigningKeys.of(settings), after=[api, *workers]),
    )
    addresses = {"postgres": args.address(postgres), "redis": args.address(redis)}
    return application_outputs(
        settings, app, api.url, **{name: address for name, address in addresses.items() if address is not None}
    )
