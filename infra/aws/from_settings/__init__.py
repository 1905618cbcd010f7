"""What the stack's settings mean for each component: plain translation, which makes no resource."""

from infra.aws.from_settings.backups import backup
from infra.aws.from_settings.data import external_postgres, external_redis, guard, image, keys, postgres, redis, secrets
from infra.aws.from_settings.networking import access, balancer, network
from infra.aws.from_settings.services import (
    Runtime,
    api,
    cluster,
    migration,
    monitoring,
    preparation,
    rollout_check,
    worker,
)

__all__ = [
    "Runtime",
    "access",
    "api",
    "backup",
    "balancer",
    "cluster",
    "external_postgres",
    "external_redis",
    "guard",
    "image",
    "keys",
    "migration",
    "monitoring",
    "network",
    "postgres",
    "preparation",
    "redis",
    "rollout_check",
    "secrets",
    "worker",
]
