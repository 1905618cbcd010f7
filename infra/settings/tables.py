"""What the providers sell, as data: sizes, regions, limits. Each table names where its figures come from.

The tables hold what a check needs and nothing else; prices are the business of the cost review. They follow the
providers' public documents as of November 2026.
"""

from __future__ import annotations

from typing import Final, NamedTuple

GIB: Final = 1024**3
MIB: Final = 1024**2


def _steps(first: int, last: int, step: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1, step))


FARGATE_MEMORY_MIB: Final[dict[float, tuple[int, ...]]] = {
    0.25: (512, 1024, 2048),
    0.5: _steps(1024, 4096, 1024),
    1: _steps(2048, 8192, 1024),
    2: _steps(4096, 16384, 1024),
    4: _steps(8192, 30720, 1024),
    8: _steps(16384, 61440, 4096),
    16: _steps(32768, 122880, 8192),
}
"""vCPU -> memory in MiB that a Fargate task may have with it (ECS API reference, RegisterTaskDefinition.memory)."""

FARGATE_STOP_TIMEOUT_S: Final = 120
"""Longest time in seconds between SIGTERM and SIGKILL on Fargate (ECS ContainerDefinition.stopTimeout)."""

ECS_HEALTH: Final = {"interval": (5, 300), "timeout": (2, 60), "retries": (1, 10), "start_period": (0, 300)}
"""Bounds of a container health check on ECS; seconds, and a count for retries (ECS HealthCheck)."""


class AppSize(NamedTuple):
    """An instance size of DigitalOcean's App Platform."""

    cpus: float
    memory: int
    """Bytes."""
    dedicated: bool
    """Only a dedicated processor scales on CPU load (App Platform limits page)."""
    single: bool = False
    """True where the size allows one instance only."""


DO_APP_SIZES: Final[dict[str, AppSize]] = {
    "apps-s-1vcpu-0.5gb": AppSize(1, 512 * MIB, False, True),
    "apps-s-1vcpu-1gb-fixed": AppSize(1, GIB, False, True),
    "apps-s-1vcpu-1gb": AppSize(1, GIB, False),
    "apps-s-1vcpu-2gb": AppSize(1, 2 * GIB, False),
    "apps-s-2vcpu-4gb": AppSize(2, 4 * GIB, False),
    "apps-d-1vcpu-0.5gb": AppSize(1, 512 * MIB, True),
    "apps-d-1vcpu-1gb": AppSize(1, GIB, True),
    "apps-d-1vcpu-2gb": AppSize(1, 2 * GIB, True),
    "apps-d-1vcpu-4gb": AppSize(1, 4 * GIB, True),
    "apps-d-2vcpu-4gb": AppSize(2, 4 * GIB, True),
    "apps-d-2vcpu-8gb": AppSize(2, 8 * GIB, True),
    "apps-d-4vcpu-8gb": AppSize(4, 8 * GIB, True),
    "apps-d-4vcpu-16gb": AppSize(4, 16 * GIB, True),
    "apps-d-8vcpu-32gb": AppSize(8, 32 * GIB, True),
}
"""Instance sizes of App Platform (API: GET /v2/apps/tiers/instance_sizes). The older `basic-*` slugs are deprecated."""

DO_APP_STOP_TIMEOUT_S: Final = 600
"""Longest grace period in seconds after SIGTERM on App Platform (App spec, termination.grace_period_seconds)."""
DO_APP_MAX_INSTANCES: Final = 250

DO_DATABASE_MEMORY_GIB: Final[dict[str, int]] = {
    "db-s-1vcpu-1gb": 1,
    "db-s-1vcpu-2gb": 2,
    "db-s-2vcpu-4gb": 4,
    "db-s-4vcpu-8gb": 8,
    "db-s-6vcpu-16gb": 16,
    "db-s-8vcpu-32gb": 32,
    "db-s-16vcpu-64gb": 64,
}
"""Sizes of managed databases by memory. A 1 GB node has no standby (API: GET /v2/databases/options)."""

RDS_MEMORY_GIB: Final[dict[str, int]] = {
    "db.t4g.micro": 1,
    "db.t4g.small": 2,
    "db.t4g.medium": 4,
    "db.t4g.large": 8,
    "db.t4g.xlarge": 16,
    "db.t4g.2xlarge": 32,
    "db.m7g.large": 8,
    "db.m7g.xlarge": 16,
    "db.m7g.2xlarge": 32,
    "db.m7g.4xlarge": 64,
    "db.m8g.large": 8,
    "db.m8g.xlarge": 16,
    "db.m8g.2xlarge": 32,
    "db.m8g.4xlarge": 64,
    "db.r7g.large": 16,
    "db.r7g.xlarge": 32,
    "db.r7g.2xlarge": 64,
    "db.r7g.4xlarge": 128,
    "db.r8g.large": 16,
    "db.r8g.xlarge": 32,
    "db.r8g.2xlarge": 64,
    "db.r8g.4xlarge": 128,
}
"""Graviton instance classes of RDS for PostgreSQL by memory (RDS user guide, DB instance classes)."""

ELASTICACHE_NODE_TYPES: Final[tuple[str, ...]] = (
    "cache.t4g.micro",
    "cache.t4g.small",
    "cache.t4g.medium",
    "cache.m7g.large",
    "cache.m7g.xlarge",
    "cache.m7g.2xlarge",
    "cache.r7g.large",
    "cache.r7g.xlarge",
    "cache.r7g.2xlarge",
)
"""Graviton node types of ElastiCache (ElastiCache user guide, supported node types)."""

POSTGRES_VERSIONS: Final[dict[str, tuple[int, ...]]] = {
    "aws": (14, 15, 16, 17, 18),
    "digitalocean": (15, 16, 17),
    "docker": (14, 15, 16, 17, 18),
    "embedded": (18,),
    "external": (14, 15, 16, 17, 18),
}
"""Major versions by provider: RDS release notes; DigitalOcean's API, without those past their end; the wheel's."""

REDIS_VERSIONS: Final[dict[str, tuple[str, ...]]] = {
    "aws": ("8.0", "8.1", "8.2", "9.0", "9.1"),
    "digitalocean": ("8",),
    "docker": ("8.0", "8.1", "9.0", "9.1"),
    "embedded": ("9.1",),
    "external": ("7.2", "8", "8.0", "8.1", "8.2", "9.0", "9.1"),
}
"""Valkey versions by provider (ElastiCache engine versions; DigitalOcean's API; the wheel's)."""

CLOUDWATCH_RETENTION_DAYS: Final[tuple[int, ...]] = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731),
    *(1096, 1827, 2192, 2557, 2922, 3288, 3653),
)
"""Days that a log group can keep its events (CloudWatch Logs API, PutRetentionPolicy)."""

AWS_REGIONS: Final[tuple[str, ...]] = (
    *("af-south-1", "ap-east-1", "ap-east-2", "ap-northeast-1", "ap-northeast-2", "ap-northeast-3"),
    *("ap-south-1", "ap-south-2", "ap-southeast-1", "ap-southeast-2", "ap-southeast-3", "ap-southeast-4"),
    *("ap-southeast-5", "ap-southeast-6", "ap-southeast-7", "ca-central-1", "ca-west-1", "eu-central-1"),
    *("eu-central-2", "eu-north-1", "eu-south-1", "eu-south-2", "eu-west-1", "eu-west-2", "eu-west-3"),
    *("il-central-1", "me-central-1", "me-south-1", "mx-central-1", "sa-east-1", "us-east-1", "us-east-2"),
    *("us-west-1", "us-west-2", "us-gov-east-1", "us-gov-west-1"),
)
"""Regions of the commercial and the GovCloud partition (AWS general reference)."""

DO_REGIONS: Final[tuple[str, ...]] = (
    *("nyc1", "nyc2", "nyc3", "ams3", "sfo2", "sfo3", "sgp1", "lon1", "fra1", "tor1", "blr1", "syd1", "atl1"),
)
"""Data centres of DigitalOcean (API: GET /v2/regions). App Platform's region is the name without its number."""

PRIVATE_NETWORK_PREFIX: Final = {"aws": (16, 22), "digitalocean": (16, 24)}
"""Prefixes of the largest and the smallest private network. AWS allows /28, but below /22 the load balancer's subnets
get smaller than the /27 that it wants (Elastic Load Balancing user guide)."""


def rds_max_connections(instance_class: str) -> int:
    """RDS's default `max_connections`: LEAST(memory in bytes / 9531392, 5000) (RDS user guide, quotas)."""
    return min(RDS_MEMORY_GIB[instance_class] * GIB // 9_531_392, 5000)


def do_max_connections(size: str) -> int:
    """Connections that clients may open on a DigitalOcean cluster: 25 for each GB less 3 that it keeps for itself."""
    return 25 * DO_DATABASE_MEMORY_GIB[size] - 3
