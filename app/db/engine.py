"""Engines on psycopg 3: async for the API, sync for workers and migrations, with the same connection settings."""

from __future__ import annotations

from typing import Any

from sqlalchemy import URL, Engine, NullPool, create_engine, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.settings import Settings

# An idle TCP connection that a firewall or a failover cut is noticed within 30 + 3 × 5 s.
_CONNECT_ARGS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    # The same for one with data under way, which keepalive does not watch: the kernel would retry for 15 minutes.
    "tcp_user_timeout": 30_000,
    # Named prepared statements break behind a pooler in transaction mode (PgBouncer, RDS Proxy).
    "prepare_threshold": None,
}
_RECYCLE_SECONDS = 1800
"""Older connections are replaced, so that a fleet spreads over a new reader or pooler within half an hour."""


def async_engine(settings: Settings) -> AsyncEngine:
    """A pooled engine for one event loop. It connects on first use, and again after the database was away."""
    return create_async_engine(_url(settings), connect_args=_connect_args(settings), **_pool(settings))


def async_probe_engine(settings: Settings) -> AsyncEngine:
    """One connection apart from the pool, for health and metrics: a busy pool is not a database that is down."""
    pool = {**_pool(settings), "pool_size": 1, "max_overflow": 0}
    return create_async_engine(_url(settings), connect_args=_connect_args(settings), **pool)


def sync_engine(settings: Settings, *, pooled: bool = True) -> Engine:
    """A pooled engine for threads, or one that opens a connection for each use."""
    pool = _pool(settings) if pooled else {"poolclass": NullPool, "hide_parameters": True}
    return create_engine(_url(settings), connect_args=_connect_args(settings), **pool)


def _url(settings: Settings) -> URL:
    return make_url(settings.database_url.get_secret_value()).set(drivername="postgresql+psycopg")


def _connect_args(settings: Settings) -> dict[str, Any]:
    """The defaults, as far as the URL says nothing else."""
    given = _url(settings).query
    ours = {**_CONNECT_ARGS, "application_name": f"{settings.service_name}-{settings.mode}"}
    return {name: value for name, value in ours.items() if name not in given}


def _pool(settings: Settings) -> dict[str, Any]:
    return {
        "pool_size": settings.database_pool_size,
        "max_overflow": settings.database_max_overflow,
        "pool_timeout": settings.database_pool_timeout / 1000,
        "pool_pre_ping": True,
        "pool_recycle": _RECYCLE_SECONDS,
        "pool_use_lifo": True,
        # A failed statement's parameters are passwords' hashes and users' payloads: not for a log.
        "hide_parameters": True,
    }
