"""What every target gives and takes. A target turns these records into resources; they name no provider.

Times are whole seconds, memory is bytes, processor is vCPUs. Fields that only a resource has are `pulumi.Input`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import parse_qs, quote, unquote, urlencode, urlsplit

from pulumi import Input, Output

Mode = Literal["api", "worker", "all", "migrate"]
LoginName = Literal["app", "migrate", "backup"]
"""Who a process is to Postgres: the application reads and writes, `migrate` may become the owner, `backup` reads."""


@dataclass(frozen=True, kw_only=True)
class Login:
    """A user of a server."""

    user: Input[str]
    password: Input[str] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class PostgresEndpoint:
    """A database that the stack runs itself."""

    host: Input[str]
    port: Input[int]
    database: Input[str]
    sslmode: Input[str]
    logins: Mapping[str, Login]
    options: Mapping[str, str] = field(default_factory=dict)
    """Further parameters of the URL: ``sslrootcert``."""

    def url(self, login: str) -> Output[str]:
        """`DATABASE_URL` for that login, as a secret, with every part quoted."""
        return Output.secret(self._parts(login).apply(lambda parts: postgres_url(**parts, options=self.options)))

    def libpq(self, login: str) -> Output[Mapping[str, str]]:
        """The variables that libpq's own tools read (``PGHOST`` ...), as a secret: pg_dump takes no URL from the
        environment, and one on its command line would show in the process list."""
        return Output.secret(self._parts(login).apply(lambda parts: _libpq(**parts, options=self.options)))

    def _parts(self, login: str) -> Output[dict[str, Any]]:
        who = self.logins[login]
        return Output.all(
            user=who.user,
            password=who.password,
            host=self.host,
            port=self.port,
            database=self.database,
            sslmode=self.sslmode,
        )


@dataclass(frozen=True, kw_only=True)
class ExternalPostgres:
    """A database that somebody else runs, by whole URLs. `app` stands in for a login without a URL of its own."""

    urls: Mapping[str, Input[str]] = field(repr=False)

    def url(self, login: str) -> Output[str]:
        return Output.secret(self.urls.get(login) or self.urls["app"])

    def libpq(self, login: str) -> Output[Mapping[str, str]]:
        """As `PostgresEndpoint.libpq`, taken from the URL."""
        return Output.secret(self.url(login).apply(_libpq_of_url))


@dataclass(frozen=True, kw_only=True)
class RedisEndpoint:
    """A Redis or Valkey that the stack runs itself."""

    host: Input[str]
    port: Input[int]
    tls: Input[bool]
    password: Input[str] = field(repr=False)
    username: Input[str] = "default"
    database: int = 0

    def url(self) -> Output[str]:
        parts = Output.all(host=self.host, port=self.port, tls=self.tls, password=self.password, username=self.username)
        return Output.secret(parts.apply(lambda parts: redis_url(**parts, database=self.database)))


@dataclass(frozen=True, kw_only=True)
class ExternalRedis:
    """A Redis that somebody else runs."""

    address: Input[str] = field(repr=False)

    def url(self) -> Output[str]:
        return Output.secret(self.address)


@dataclass(frozen=True, kw_only=True)
class Image:
    """What to run: an image by digest; on the local target ``source:<fingerprint of app/>``, so that edited code
    rolls like a new image."""

    reference: Input[str]


@dataclass(frozen=True, kw_only=True)
class SecretRef:
    """A secret variable of a process: its name, and the value or the address where the platform finds it."""

    name: str
    value: Output[str] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class _Check:
    interval: int = 10
    """Seconds between two checks."""
    timeout: int = 5
    """Seconds that one check may take."""
    retries: int = 3
    """Failures in a row that count as unhealthy."""
    start_period: int = 60
    """Seconds after start in which failures do not count."""


@dataclass(frozen=True, kw_only=True)
class HttpHealth(_Check):
    """Healthy when a GET of `path` on `port` answers 200."""

    path: str
    port: int


@dataclass(frozen=True, kw_only=True)
class CommandHealth(_Check):
    """Healthy when `command`, run inside the replica, exits with 0."""

    command: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """When replicas are added and removed. A measure that is None is not looked at."""

    max_replicas: int
    out_cooldown: int
    in_cooldown: int
    cpu_percent: int | None = None
    memory_percent: int | None = None
    latency_p95_ms: int | None = None
    requests_per_second: int | None = None
    """Per replica."""
    backlog_high: int | None = None
    """Waiting jobs above which to add."""
    backlog_low: int | None = None
    """Waiting jobs below which to remove."""
    wait: int | None = None
    """Seconds that the oldest job waits, above which to add."""
    slots: int | None = None
    """Jobs that one replica does at once; None for a service that takes none from a queue."""


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """How a new version takes over, in percent of `replicas`."""

    minimum_healthy_percent: int
    maximum_percent: int
    timeout: int
    """Seconds until a rollout that has not settled counts as failed."""


@dataclass(frozen=True, kw_only=True)
class ServiceSpec:
    """A long-running process of the application."""

    name: str
    mode: Mode
    command: tuple[str, ...]
    environment: Mapping[str, str]
    """Plain variables. Never a secret."""
    secrets: tuple[str, ...]
    """Names of the secret variables that the target must bind."""
    database_login: LoginName
    """The login whose URL becomes `DATABASE_URL`."""
    health: HttpHealth | CommandHealth
    """Whether a replica is well: restart it otherwise, and wait for this when rolling."""
    health_command: tuple[str, ...]
    """The same question as a command, for runtimes that know no HTTP check."""
    readiness: HttpHealth | None
    """Whether to send it requests; None when it takes none."""
    port: int | None
    stop_timeout: int
    """Seconds from SIGTERM to SIGKILL."""
    replicas: int
    """Replicas that always run; the floor of `scaling`."""
    scaling: Scaling | None
    rollout: Rollout
    cpu: float
    memory: int
    size: str | None
    """Instance size where the platform sells sizes; it then stands for `cpu` and `memory`."""
    spot: bool
    """Whether replicas above `replicas` may run on capacity that can be taken away."""
    queue: str | None
    """The queue that it serves; None when it serves none."""
    connections: int
    """Most database connections that one replica holds."""


@dataclass(frozen=True, kw_only=True)
class TaskSpec:
    """A process that runs once and ends: exit code 0 is success."""

    name: str
    mode: Mode | None
    """None for a program that is not the application's."""
    command: tuple[str, ...]
    environment: Mapping[str, str]
    secrets: tuple[str, ...]
    database_login: LoginName
    timeout: int
    """Seconds after which it is stopped and has failed."""
    cpu: float
    memory: int
    schedule: str | None = None
    """Cron expression in UTC; None when another resource starts it."""


def postgres_url(
    *, user: str, password: str, host: str, port: float, database: str, sslmode: str, options: Mapping[str, str]
) -> str:
    """A libpq URL. Passwords may hold any character; an IPv6 host gets its brackets."""
    query = urlencode({"sslmode": sslmode, **options}, quote_via=quote)
    login = f"{quote(user, safe='')}:{quote(password, safe='')}"
    return f"postgresql://{login}@{_host(host)}:{int(port)}/{quote(database, safe='')}?{query}"


def redis_url(*, username: str, password: str, host: str, port: float, tls: bool, database: int) -> str:
    """``rediss://`` with TLS, ``redis://`` without."""
    login = f"{quote(username, safe='')}:{quote(password, safe='')}"
    return f"{'rediss' if tls else 'redis'}://{login}@{_host(host)}:{int(port)}/{database}"


def _host(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _libpq(
    *, user: str, password: str, host: str, port: float, database: str, sslmode: str, options: Mapping[str, str]
) -> dict[str, str]:
    # Pulumi hands numbers over as floats; libpq wants 5432, not 5432.0.
    login = {"PGUSER": user, "PGPASSWORD": password, "PGHOST": host, "PGPORT": str(int(port))}
    return login | {"PGDATABASE": database, "PGSSLMODE": sslmode} | _libpq_options(options)


def _libpq_of_url(url: str) -> dict[str, str]:
    parts = urlsplit(url)
    login = {"PGUSER": unquote(parts.username or ""), "PGPASSWORD": unquote(parts.password or "")}
    place = {"PGHOST": parts.hostname or "", "PGPORT": str(parts.port or 5432), "PGDATABASE": unquote(parts.path[1:])}
    options = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    sslmode = {"PGSSLMODE": options["sslmode"]} if "sslmode" in options else {}
    return login | place | sslmode | _libpq_options(options)


def _libpq_options(options: Mapping[str, str]) -> dict[str, str]:
    known = {"sslrootcert": "PGSSLROOTCERT", "channel_binding": "PGCHANNELBINDING", "options": "PGOPTIONS"}
    return {variable: options[name] for name, variable in known.items() if name in options}
