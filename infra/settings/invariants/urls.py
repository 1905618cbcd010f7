"""The URLs of external servers: complete, over TLS, with a password that nobody guesses. No message repeats one."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import SplitResult, parse_qs, urlsplit

from infra.settings.invariants.broken import Broken, Context, Found

TLS_MODES: Final = ("require", "verify-ca", "verify-full")
POSTGRES_PORT: Final = 5432
REDIS_PORT: Final = 6379
URLS: Final = {"database_url": "postgres", "migration_database_url": "postgres", "redis_url": "redis"}
"""The secret that leads to an external server, and the group of that server."""
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
PLACEHOLDER: Final = re.compile(
    r"change[-_ ]?me|your[-_ ]|placeholder|example|replace[-_ ]?(me|this)|<.*>|^x{3,}|xxxx", re.IGNORECASE
)
_GUESSABLE: Final = frozenset(
    {"", "pass", "password", "postgres", "redis", "secret", "admin", "root", "test", "changeme", "default"}
)


def database_urls(context: Context) -> Found:
    """External databases: a complete URL, TLS, and a password that nobody guesses."""
    for name in ("database_url", "migration_database_url"):
        text, where = context.settings.secrets.text(name), f"secrets.{name}"
        if text is None or context.settings.postgres.provider != "external":
            continue
        parts = _complete(text, "postgresql", "postgres")
        if parts is None or len(parts.path) < 2:
            allowed = "postgresql://user:password@host:5432/database?sslmode=verify-full"
            yield Broken(where, "is no complete Postgres URL", allowed=allowed)
        else:
            secure = parse_qs(parts.query).get("sslmode", [""])[-1] in TLS_MODES
            yield from _exposed(context, where, parts, secure=secure)


def migration_connection(context: Context) -> Found:
    """A pooler in transaction mode hands each statement to another session, and a lock is bound to one."""
    secrets = context.settings.secrets
    if secrets.migration_database_url is not None or context.settings.postgres.provider != "external":
        return
    parts = split_url(secrets.text("database_url") or "")
    if parts is not None and ("-pooler." in (parts.hostname or "") or parts.port == 6543):
        yield Broken(
            "secrets.migration_database_url",
            "is required: secrets.database_url leads to a pooler in transaction mode, where a migration cannot "
            "hold its lock",
            allowed="the same database on its direct address",
            also=("secrets.database_url", "postgres.provider"),
        )


def alert_webhook(context: Context) -> Found:
    """Alarms name what is wrong and where: they travel encrypted or not at all."""
    text = context.settings.secrets.text("alert_webhook")
    if text is not None and _complete(text, "https") is None:
        yield Broken("secrets.alert_webhook", "is no https address", allowed="https://host/path")


def redis_url(context: Context) -> Found:
    text, where = context.settings.secrets.text("redis_url"), "secrets.redis_url"
    if text is None or context.settings.redis.provider != "external":
        return
    if (parts := _complete(text, "redis", "rediss")) is None:
        yield Broken(where, "is no complete Redis URL", allowed="rediss://user:password@host:6379/0")
    else:
        yield from _exposed(context, where, parts, secure=parts.scheme == "rediss")


def _exposed(context: Context, where: str, parts: SplitResult, *, secure: bool) -> Found:
    """TLS and a password, unless the server is this machine's."""
    if context.settings.environment != "production" and parts.hostname in LOOPBACK:
        return
    if not secure:
        yield Broken(
            where,
            "reaches another host without TLS",
            allowed="rediss:// instead of redis://" if parts.scheme == "redis" else f"sslmode={' or '.join(TLS_MODES)}",
        )
    password = (parts.password or "").lower()
    if password in _GUESSABLE or PLACEHOLDER.search(password):
        yield Broken(where, "holds no password, or one that is guessed at once")


def split_url(url: str) -> SplitResult | None:
    """The parts of a URL, or None: Python's own message would repeat the URL with its password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _complete(url: str, *schemes: str) -> SplitResult | None:
    """The parts of a URL of one of these schemes that names a host."""
    parts = split_url(url)
    return parts if parts is not None and parts.scheme in schemes and parts.hostname else None


def outside_ports(context: Context) -> Found:
    """On AWS the network lets tasks out to a server's own port only, and the URL is a secret that no rule may read: a
    plan made without it would have other rules. So another port than the usual one is named in the open."""
    settings = context.settings
    if settings.target != "aws":
        return
    for name, group in URLS.items():
        server, text = getattr(settings, group), settings.secrets.text(name)
        usual = POSTGRES_PORT if group == "postgres" else REDIS_PORT
        parts = split_url(text) if text and server.provider == "external" else None
        if parts is None or parts.port is None or parts.port in (usual, server.port):
            continue
        yield Broken(
            f"{group}.port",
            f"does not let tasks out to secrets.{name}",
            allowed=f"its port; {usual} is always open",
            suggestion=str(parts.port),
            also=(f"secrets.{name}", f"{group}.provider"),
        )


RULES: Final = (database_urls, migration_connection, redis_url, alert_webhook, outside_ports)
