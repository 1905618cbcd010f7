"""Connections to the Redis server that carries the queue, and whether it can."""

from __future__ import annotations

from typing import Final, cast

from redis import Redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import AuthenticationError, NoPermissionError, ReadOnlyError
from redis.retry import Retry

from app.observability.logging import get_logger

log = get_logger()

MINIMUM_SERVER: Final = (6, 2)
"""LMOVE came with Redis 6.2. Without it RQ pops with BLPOP, and a worker that dies then takes the job with it."""


class UnsuitableServerError(RuntimeError):
    """The Redis server cannot carry the queue; the message says why and what to do."""


def quick_client(url: str, *, name: str) -> Redis:
    """For a loop that goes on by itself when Redis is away: fails within seconds."""
    return _client(url, name=name, retries=1)


def patient_client(url: str, *, name: str) -> Redis:
    """For the book-keeping around a running job: outlasts a Redis restart or failover of about two minutes."""
    return _client(url, name=name, retries=40)


def _client(url: str, *, name: str, retries: int) -> Redis:
    # Keepalive is redis-py's default (30 s, then 3 x 5 s); a Unix socket has neither it nor a slow connect.
    network = {} if url.startswith("unix:") else {"socket_connect_timeout": 3}
    return Redis.from_url(
        url,
        **network,
        client_name=name,
        socket_timeout=5,
        health_check_interval=30,
        retry=Retry(ExponentialWithJitterBackoff(base=0.2, cap=3), retries=retries),
        # A primary that was demoted answers READONLY until its name points elsewhere. It is no connection error to
        # redis-py; as one, the connection is closed and made again, and the name read anew.
        retry_on_error=[ReadOnlyError],
    )


def check_server(client: Redis) -> None:
    """Raise UnsuitableServerError for a server that would lose jobs or cannot run RQ."""
    try:
        info = cast("dict[str, object]", client.info())
    except (AuthenticationError, NoPermissionError) as error:
        raise UnsuitableServerError(f"Redis refuses the user or password of REDIS_URL: {error}") from None
    version = str(info.get("redis_version", "0"))
    if tuple(int(part) for part in version.split(".")[:2]) < MINIMUM_SERVER:
        raise UnsuitableServerError(f"Redis {version} is too old: use Redis 6.2 or later, or Valkey")
    if info.get("cluster_enabled") in (1, "1"):
        raise UnsuitableServerError(
            "Redis runs in cluster mode, where RQ's multi-key commands fail: use a server with cluster mode disabled"
        )
    if (policy := info.get("maxmemory_policy", "noeviction")) != "noeviction":
        # Nothing is lost by it, but every evicted job waits for the sweeper.
        log.warning("Redis may evict jobs, set its maxmemory-policy to noeviction", maxmemory_policy=policy)
