"""AWS: the API behind a load balancer and the workers on Fargate, over RDS for PostgreSQL and ElastiCache."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pulumi

from infra import rotation
from infra.aws.guard import Guard, guard, unguarded
from infra.aws.image import Build, Image, ImageArgs
from infra.aws.keys import Keys, KeysArgs
from infra.aws.lean import load_lean
from infra.aws.network import ExistingNetwork, Network, NetworkArgs
from infra.aws.provider import aws_provider
from infra.aws.secrets import Secrets, SecretsArgs
from infra.aws.security import POSTGRES_PORT, REDIS_PORT, TASKS, Access, Role
from infra.fingerprint import fingerprint
from infra.markers import RotationMarker, RotationMarkerArgs, generations
from infra.settings import Settings
from infra.workload import Workload

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCES: Final = ("app", "requirements/app.txt", "pyproject.toml", ".dockerignore")
"""What the image is made of. Docker is sent no more: `.dockerignore` names the same."""
RECOVERY_WINDOW: Final = 30
"""Days for which a deleted secret can be had back."""


def aws(settings: Settings) -> Mapping[str, pulumi.Input[object]]:
    """The stack's resources; returns its outputs."""
    load_lean()
    app = Workload.of(settings)
    watch_over_data(settings)
    region = pulumi.ResourceOptions(providers=[aws_provider(settings)])

    RotationMarker("rotation-requested", RotationMarkerArgs(generations=generations(settings)))
    keys = Keys("keys", keys_args(settings), region)
    network = Network("network", network_args(settings, app, keys), region)
    secrets = Secrets(
        "secrets",
        SecretsArgs(
            ring=rotation.ring(settings.rotation.jwt, floor=settings.rotation.jwt_min),
            given=given(settings),
            key=keys.arn,
            recovery_window=RECOVERY_WINDOW if settings.protect else 0,
        ),
        region,
    )
    image = Image("image", image_args(settings, keys), region)

    return {"image": image.contract.reference, "repository": image.repository_url}


def watch_over_data(settings: Settings) -> None:
    """With `protect`, what holds data goes with a permit only."""
    if settings.protect:
        guard(Guard(permits=settings.permits, stack=settings.stack))
    else:
        unguarded()


def keys_args(settings: Settings) -> KeysArgs:
    chosen = settings.encryption
    return KeysArgs(
        customer_key=chosen.customer_key, key_arn=chosen.key_arn, account=settings.account, region=settings.region
    )


def network_args(settings: Settings, app: Workload, keys: Keys) -> NetworkArgs:
    chosen, existing = settings.network, settings.network.existing
    assert settings.region is not None
    return NetworkArgs(
        region=settings.region,
        cidr=chosen.cidr,
        zones=chosen.zones,
        nat=chosen.nat,
        endpoints=chosen.endpoints,
        flow_logs=chosen.flow_logs,
        retention_days=settings.log.retention_days,
        key=keys.arn,
        access=access(settings, app),
        existing=ExistingNetwork(
            vpc_id=existing.vpc,
            public_subnets=existing.public_subnets,
            task_subnets=existing.task_subnets,
            data_subnets=existing.data_subnets,
        )
        if existing.vpc
        else None,
    )


def access(settings: Settings, app: Workload) -> Access:
    """Who talks to whom. An external server is reached through the way out, on its port."""
    postgres, redis = settings.postgres.port or POSTGRES_PORT, settings.redis.port or REDIS_PORT
    own_postgres, own_redis = settings.postgres.provider == "aws", settings.redis.provider == "aws"
    outside: dict[Role, list[int]] = {role: [] for role in TASKS}
    for role in TASKS:
        if not own_postgres:
            outside[role].append(postgres)
        if not own_redis and role in ("api", "worker"):
            outside[role].append(redis)
    delivering: list[Role] = []
    if app.api.queue:
        delivering.append("api")
    if app.workers:
        delivering.append("worker")
    return Access(
        api_port=settings.api.port,
        postgres_port=postgres if own_postgres else None,
        redis_port=redis if own_redis else None,
        outside_ports=outside,
        deliver_http=settings.deliveries.allow_http,
        delivering=tuple(delivering),
        endpoints=bool(settings.network.endpoints),
    )


def image_args(settings: Settings, keys: Keys) -> ImageArgs:
    """The image that CI gives by digest, or one built here."""
    chosen = settings.image
    if chosen.reference:
        return ImageArgs(reference=chosen.reference, key=keys.arn)
    content = fingerprint([ROOT / source for source in SOURCES], root=ROOT)
    build = Build(
        context="..",
        dockerfile="../app/Dockerfile",
        tag=f"{chosen.version}-{content}",
        architecture=chosen.architecture,
    )
    return ImageArgs(build=build, key=keys.arn)


def given(settings: Settings) -> dict[str, pulumi.Output[str]]:
    """The secrets of stack config that processes get as they are, by variable."""
    variables = {"jwt": "JWT_SECRET", "replicate_api_key": "REPLICATE_API_KEY", "openai_api_key": "OPENAI_API_KEY"}
    return {
        variable: settings.secrets.output(key) for key, variable in variables.items() if key in settings.secrets.given
    }
