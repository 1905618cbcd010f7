"""What the alarms need of each resource, given by the components that make it."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra.aws.alarms.model import Metric, Metrics, metrics


@dataclass(frozen=True, kw_only=True)
class MonitoredBalancer:
    """The API's way in: the ARN suffixes that its metrics go by."""

    suffix: pulumi.Input[str]
    """``app/<name>/<id>``."""
    target_suffix: pulumi.Input[str]
    """``targetgroup/<name>/<id>``."""
    certificate_arn: pulumi.Input[str] | None = None
    """The listener's certificate; None without TLS."""

    @property
    def whole(self) -> Metrics:
        """Of the balancer with all that it does itself."""
        return metrics("AWS/ApplicationELB", {"LoadBalancer": self.suffix})

    @property
    def target(self) -> Metrics:
        """Of the replicas behind it."""
        return metrics("AWS/ApplicationELB", {"LoadBalancer": self.suffix, "TargetGroup": self.target_suffix})


@dataclass(frozen=True, kw_only=True)
class MonitoredService:
    """An ECS service."""

    role: str
    """The name that the stack file uses: ``api``, ``worker``, ``worker-mail``."""
    name: pulumi.Input[str]
    """The name of the ECS service."""
    arn: pulumi.Input[str]
    floor: int
    """Replicas that always run."""
    queue: str | None
    """The queue that it serves; None when it serves none."""
    log_group: pulumi.Input[str] | None = None
    """The log group's name where entries are JSON, so that errors can be counted; None otherwise."""


@dataclass(frozen=True, kw_only=True)
class MonitoredPostgres:
    """An RDS instance."""

    identifier: pulumi.Input[str]
    arn: pulumi.Input[str]
    max_connections: int
    storage_gib: int
    """The disk at the start, in GiB."""
    memory_gib: int
    burstable: bool
    """A t-class, which pays with credits for more than its base load."""
    replica_identifiers: tuple[pulumi.Input[str], ...] = ()
    """Its read replicas."""


@dataclass(frozen=True, kw_only=True)
class MonitoredRedis:
    """The nodes of an ElastiCache replication group."""

    member_ids: tuple[pulumi.Input[str], ...]
    """Cache cluster ids, ``<group>-001`` and so on: ElastiCache measures nodes, not groups."""


@dataclass(frozen=True, kw_only=True)
class MonitoredDumps:
    """The daily dump: a metric with one value for each that arrived, of which none in `within` hours is an alarm."""

    metric: Metric
    within: int = 26


@dataclass(frozen=True, kw_only=True)
class Monitored:
    """Everything of a stack that is monitored."""

    stack: str
    cluster: pulumi.Input[str]
    """Name of the ECS cluster."""
    cluster_arn: pulumi.Input[str]
    balancer: MonitoredBalancer
    services: tuple[MonitoredService, ...]
    postgres: MonitoredPostgres | None
    """None for a database that somebody else runs."""
    redis: MonitoredRedis | None
    dumps: MonitoredDumps | None

    @property
    def queues(self) -> tuple[str, ...]:
        """Every queue once, in the order of the services."""
        return tuple(dict.fromkeys(service.queue for service in self.services if service.queue))
