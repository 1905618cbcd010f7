"""Engines on psycopg 3: async for the API, sync for workers and migrations, with the same connection settings."""

from __future__ import annotations

import time
from typing import Any

import psycopg
from sqlalchemy import URL, Engine, ExceptionContext, NullPool, create_engine, event, make_url
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.db import errors
from app.settings import Settings

# An idle TCP connection that a firewall or a failover cut is noticed within 30 + 3 × 5 s.
_CONNECT_ARGS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    # The same for one with data under way, which keepalive does not watch: the kernel would retry for 15 minutes.
    "tcp_user_timeout": 30_000,
    # Until it is known that no pooler is between: see _prepare_if_direct.
    "prepare_threshold": None,
}
_PREPARE_AFTER = 5
"""Executions of a statement on a connection until the server keeps its plan; psycopg's own default."""
_TRUSTED_SECONDS = 0.1
"""A connection that was used so recently is not asked whether it still works: that took a round trip of every
transaction of a busy process. One that breaks within it fails what it is used for, and takes the others along."""
_READ_ONLY_SECONDS = 1.0
"""For so long a connection to a server that takes no writes is kept for those who read. Then it is made anew: the
address may lead to another server by now."""
_RECYCLE_SECONDS = 1800
"""Older connections are replaced, so that a fleet spreads over a new reader or pooler within half an hour."""


def async_engine(settings: Settings) -> AsyncEngine:
    """A pooled engine for one event loop. It connects on first use, and again after the database was away."""
    return _async_engine(settings, _pool(settings))


def async_probe_engine(settings: Settings) -> AsyncEngine:
    """One connection apart from the pool, for health and metrics: a busy pool is not a database that is down."""
    return _async_engine(settings, {**_pool(settings), "pool_size": 1, "max_overflow": 0})


def sync_engine(settings: Settings, *, pooled: bool = True) -> Engine:
    """A pooled engine for threads, or one that opens a connection for each use."""
    pool = _pool(settings) if pooled else {"poolclass": NullPool, "hide_parameters": True}
    engine = create_engine(_url(settings), connect_args=_connect_args(settings), **pool)
    if pooled:
        _watch(engine)
    return engine


def _async_engine(settings: Settings, pool: dict[str, Any]) -> AsyncEngine:
    engine = create_async_engine(_url(settings), connect_args=_connect_args(settings), **pool)
    _watch(engine.sync_engine)
    return engine


def _watch(engine: Engine) -> None:
    event.listen(engine, "connect", _prepare_if_direct)
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "handle_error", _drop_connections)

    def look(connection: Any, record: Any, _: Any) -> None:
        now = time.monotonic()
        if now >= record.info.get("used", 0.0) + _TRUSTED_SECONDS:
            try:
                engine.dialect.do_ping(connection)
            except psycopg.Error as error:
                # The pool connects anew. Its other connections were made to the same server.
                raise InvalidatePoolError from error
        if now >= record.info.get("made", now) + _READ_ONLY_SECONDS and _is_read_only(connection):
            raise InvalidatePoolError

    event.listen(engine, "checkout", look)


def _drop_connections(context: ExceptionContext) -> None:
    """What SQLAlchemy drops is a connection that broke, and all others with it. These work, and are useless: a server
    that was demoted keeps its sessions, so that a pool stays with it for as long as it lives while the new primary
    waits elsewhere; and a plan that no longer fits stays with its connection."""
    kind = errors.kind(context.original_exception)
    if kind in (errors.Kind.READ_ONLY, errors.Kind.STALE):
        context.is_disconnect = True
    elif kind is errors.Kind.ENDED:
        context.invalidate_pool_on_disconnect = False


def _is_read_only(connection: Any) -> bool:
    """As the server said last: since version 14 it reports both with the answer to a statement, unasked. Whether this
    is true behind a pooler depends on the pooler, so that it is not looked at there (see `_prepare_if_direct`)."""
    info = _raw(connection).info
    return "on" in (info.parameter_status("in_hot_standby"), info.parameter_status("default_transaction_read_only"))


def _note_use(_: Any, record: Any) -> None:
    record.info["used"] = time.monotonic()


def _prepare_if_direct(connection: Any, record: Any) -> None:
    """Let the server keep the plans of statements, unless a pooler is between it and us.

    A pooler in transaction mode (PgBouncer, RDS Proxy) hands the next transaction to another session, where a statement
    of that name is missing or, worse, is another client's. A pooler cannot hide: the process number that it gave when
    the connection was made is its own invention, because a request to cancel has to reach it first.
    """
    cursor = connection.cursor()
    try:
        cursor.execute("SELECT pg_backend_pid()")
        (serving,) = cursor.fetchone()
    finally:
        cursor.close()
    connection.rollback()
    raw = _raw(connection)
    if raw.info.backend_pid == serving:
        raw.prepare_threshold = _PREPARE_AFTER
        record.info["made"] = time.monotonic()
    _note_use(connection, record)


def _raw(connection: Any) -> Any:
    """psycopg's own, which SQLAlchemy wraps for asyncio."""
    return getattr(connection, "driver_connection", connection)


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
        "pool_recycle": _RECYCLE_SECONDS,
        "pool_use_lifo": True,
        # A failed statement's parameters are passwords' hashes and users' payloads: not for a log.
        "hide_parameters": True,
    }
