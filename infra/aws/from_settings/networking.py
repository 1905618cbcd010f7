"""Who may reach whom: the network, its rules and the load balancer."""

from __future__ import annotations

from urllib.parse import urlsplit

from infra.aws.balancer import BalancerArgs
from infra.aws.keys import Key
from infra.aws.network import ExistingNetwork, Network, NetworkArgs
from infra.aws.provider import region
from infra.aws.security import HTTP, HTTPS, POSTGRES_PORT, REDIS_PORT, TASKS, Access, Role
from infra.settings import Settings
from infra.settings.units import whole_seconds
from infra.workload import Workload


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
    """Who connects to whom. An external server is reached through the internet, on its port."""
    postgres, redis = settings.postgres.port or POSTGRES_PORT, settings.redis.port or REDIS_PORT
    own_postgres, own_redis = settings.postgres.provider == "aws", settings.redis.provider == "aws"
    # A pooler and the server behind it often have two ports, of which one is the usual one.
    to_postgres = () if own_postgres else tuple(dict.fromkeys((POSTGRES_PORT, postgres)))
    to_redis = () if own_redis else tuple(dict.fromkeys((REDIS_PORT, redis)))
    outside: dict[Role, tuple[int, ...]] = {
        task: (*to_postgres, *((*to_redis, *_trace_ports(settings)) if task in ("api", "worker") else ()))
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


def _trace_ports(settings: Settings) -> tuple[int, ...]:
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
