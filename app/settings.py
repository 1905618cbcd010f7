"""Everything that can be configured, read once at start from the environment into one frozen object.

Times are milliseconds where the variable has no unit, and seconds where it was written with one (``15m`` → 900).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from app import settings_checks as checks
from app.environment import Environment
from app.features import JOB_KINDS

Mode = Literal["api", "worker", "all", "migrate"]
if TYPE_CHECKING:
    JobKind = str
else:
    JobKind = Literal[JOB_KINDS]
Milliseconds = Annotated[int, Field(ge=1, le=86_400_000)]
Seconds = Annotated[int, BeforeValidator(checks.duration)]
Window = Annotated[int, Field(ge=1000, le=86_400_000)]
"""Milliseconds of a window of time in which something is counted."""
Count = Annotated[int, Field(ge=1, le=100_000)]
CommaList = Annotated[tuple[str, ...], BeforeValidator(checks.comma_list)]
Kinds = Annotated[tuple[JobKind, ...], BeforeValidator(checks.comma_list)]

_ABSENT = SecretStr("")


def _production(info: ValidationInfo) -> bool:
    """An unreadable ENVIRONMENT counts as production, so that nothing unsafe hides behind a typo."""
    return str(info.data.get("environment", "production")) == "production"


def _checked(check: Callable[..., Any]) -> AfterValidator:
    """A check that is stricter in production."""

    def checked(value: Any, info: ValidationInfo) -> Any:
        return check(value, production=_production(info))

    return AfterValidator(checked)


def _secret(check: Callable[..., Any], *needed_by: Mode) -> AfterValidator:
    """A secret that must pass the check where it is given, and must be given in those modes."""

    def checked(secret: SecretStr, info: ValidationInfo) -> SecretStr:
        if value := secret.get_secret_value():
            check(value, production=_production(info))
        elif (mode := info.data.get("mode")) in needed_by:
            raise ValueError(f"is required with MODE={mode}")
        return secret

    return AfterValidator(checked)


def _not_below(other: str) -> AfterValidator:
    def checked(value: int, info: ValidationInfo) -> int:
        if value < (least := info.data.get(other, value)):
            raise ValueError(f"must not be below {other.upper()} ({least})")
        return value

    return AfterValidator(checked)


def _below(other: str) -> AfterValidator:
    def checked(value: int, info: ValidationInfo) -> int:
        if value >= (limit := info.data.get(other, value + 1)):
            raise ValueError(f"must be below {other.upper()} ({limit})")
        return value

    return AfterValidator(checked)


BaseUrl = Annotated[str, _checked(checks.base_url)]


class Settings(Environment):
    """One field a variable: the field's name in capitals. A secret is an empty SecretStr when its mode needs none.

    `mode` and `environment` stand first: the checks of later fields look at them.
    """

    mode: Mode = Field(
        description="What this process is. `all` runs the API and a worker; `migrate` migrates and ends."
    )
    environment: Literal["production", "development", "test"] = Field(
        "production",
        description="`production` refuses weak secrets, `*` in CORS and connections without TLS to other hosts.",
    )
    service_name: str = Field("slipway", description="Name in logs, metrics and the database's session list.")
    service_version: str = Field("0.0.0", description="Version in logs and `/health`.")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe level written.")
    log_format: Literal["json", "text"] = Field("json", description="`text` is for people at a terminal.")

    host: str = Field("0.0.0.0", description="Address to listen on. Unused with inherited sockets (`LISTEN_FDS`).")  # noqa: S104 - a container's only interface
    port: int = Field(3000, ge=1, le=65535, description="Port to listen on. Unused with inherited sockets.")

    database_url: Annotated[SecretStr, _secret(checks.database_url, "api", "worker", "all", "migrate")] = Field(
        _ABSENT, description="`postgresql://…`; `sslmode` is honoured."
    )
    database_pool_size: Count = Field(5, description="Connections a process keeps.")
    database_max_overflow: int = Field(5, ge=0, le=1000, description="Connections above the pool under load.")
    database_pool_timeout: Milliseconds = Field(5_000, description="Longest wait for a connection.")
    database_owner_role: str | None = Field(
        None, pattern=r"^[A-Za-z_][A-Za-z0-9_$]{0,62}$", description="Role that migrations switch to (`SET ROLE`)."
    )
    migration_lock_timeout: Milliseconds = Field(
        10_000, description="Longest wait of a migration for a table lock, and for another migration."
    )
    redis_url: Annotated[SecretStr, _secret(checks.redis_url, "api", "worker", "all")] = Field(
        _ABSENT, description="`rediss://…`, `redis://…` or `unix:///path`."
    )

    jwt_secret: Annotated[SecretStr, _secret(checks.signing_key)] = Field(
        _ABSENT, description="One signing key of at least 64 characters; key id `default`."
    )
    jwt_keys: Annotated[SecretStr, _secret(checks.key_ring)] = Field(
        _ABSENT, description='Key ring `{"active": "g7", "keys": {"g6": "…", "g7": "…"}}`: `active` signs, all verify.'
    )
    jwt_issuer: str = Field("slipway", min_length=1, description="`iss` of tokens.")
    jwt_audience: str = Field("slipway", min_length=1, description="`aud` of tokens.")
    jwt_access_expires_in: Seconds = Field(900, description="Life of an access token: `30s`, `15m`, `12h`, `7d`.")
    jwt_refresh_expires_in: Annotated[Seconds, _not_below("jwt_access_expires_in")] = Field(
        604_800, description="Life of a refresh token, in the same form."
    )

    cors_origin: Annotated[CommaList, _checked(checks.origins)] = Field(
        (), description="Origins allowed to call from a browser, comma list."
    )
    trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], BeforeValidator(checks.networks)] = Field(
        (), description="Networks whose `X-Forwarded-For` is believed, comma list."
    )

    enable_swagger: bool = Field(False, description="Serve `/docs` and `/openapi.json`.")
    enable_metrics: bool = Field(False, description="Serve `/metrics`.")
    enable_health_check: bool = Field(True, description="Serve `/health`. `/health/live` is always there.")
    enable_rate_limit: bool = Field(True, description="Limit requests per account, else per client address.")
    rate_limit_max: Count = Field(100, description="Requests allowed in a window.")
    rate_limit_timewindow: Window = Field(60_000, description="Length of a window.")

    login_failures_max: Count = Field(
        5, description="Failed logins of one account from one network in a window; the next one is answered 429."
    )
    login_failures_window: Window = Field(900_000, description="Length of that window.")

    enable_emf: bool = Field(
        False, description="Write the queues' figures into the log, in CloudWatch's embedded metric format."
    )
    emf_interval: int = Field(30_000, ge=1000, le=3_600_000, description="How often.")
    emf_queues: CommaList = Field((), description="Queues besides `QUEUE_NAME`, comma list.")
    stack_name: str = Field("local", min_length=1, description="`Stack` of these figures.")
    metrics_port: int = Field(
        0, ge=0, le=65535, description="Port of a worker's own metrics for Prometheus; 0 serves none."
    )
    otel_exporter_otlp_endpoint: Annotated[str, AfterValidator(checks.collector_url)] | None = Field(
        None, description="OpenTelemetry collector, `http://host:4318`: traces are sent there, to `/v1/traces`."
    )
    otel_traces_sampler_arg: float = Field(
        1.0, ge=0, le=1, description="Share of traces that are kept; the same for the API and the workers."
    )

    request_timeout: Milliseconds = Field(30_000, description="Longest time for one request, then 503.")
    keep_alive_timeout: int = Field(
        75_000, ge=1000, le=3_600_000, description="Idle life of a connection; above the load balancer's (60 s)."
    )
    body_limit: int = Field(1_048_576, ge=1024, le=104_857_600, description="Largest request body in bytes.")
    shutdown_drain: int = Field(
        1_000, ge=0, le=600_000, description="After SIGTERM: how long to go on answering, with `Connection: close`."
    )
    shutdown_timeout: Milliseconds = Field(
        25_000,
        description="After that: how long requests under way may take. A worker: how long its jobs may take after "
        "SIGTERM; those that are not done by then are handed back to other workers.",
    )

    queue_name: str = Field("webhook-processor", pattern=f"^{checks.QUEUE_NAME.pattern}$", description="RQ queue.")
    queue_concurrency: int = Field(10, ge=1, le=1000, description="Jobs at once in one worker process.")
    queue_routes: Annotated[tuple[tuple[JobKind, str], ...], BeforeValidator(checks.routes)] = Field(
        (),
        description="Queues of kinds that have workers of their own: `kind=queue`, comma list. The rest: `QUEUE_NAME`.",
    )
    queue_urgent_kinds: Kinds = Field(
        (), description="Kinds of jobs that go before all others on their queue, comma list."
    )
    queue_isolated_kinds: Kinds = Field(
        (), description="Kinds of jobs that run each in a process of its own, comma list: for work that computes."
    )
    queue_isolated_memory: int = Field(
        0, ge=0, description="Bytes of memory that such a process may have. 0: no limit."
    )
    queue_remove_on_complete: int = Field(100, ge=0, description="Finished jobs that Redis keeps.")
    queue_remove_on_fail: int = Field(1_000, ge=0, description="Failed jobs that Redis keeps.")
    queue_job_timeout: Milliseconds = Field(100_000, description="Longest run of one job.")
    queue_lease: Annotated[Milliseconds, _not_below("queue_job_timeout")] = Field(
        120_000, description="How long a claimed job belongs to its worker. Above `QUEUE_JOB_TIMEOUT`."
    )
    sweep_interval: Milliseconds = Field(5_000, description="How often a worker looks for due, lost or abandoned jobs.")
    health_file: str | None = Field(None, description="File that a worker touches while it is well.")

    delivery_timeout: Annotated[Milliseconds, _below("queue_job_timeout")] = Field(
        10_000, description="Total time of one attempt. Below `QUEUE_JOB_TIMEOUT`."
    )
    delivery_max_attempts: int = Field(3, ge=1, le=50, description="Attempts of a delivery that asks for no number.")
    delivery_backoff: Milliseconds = Field(
        2_000, description="Base of the exponential wait between attempts, full jitter."
    )
    delivery_backoff_max: Annotated[Milliseconds, _not_below("delivery_backoff")] = Field(
        600_000, description="Longest wait between attempts."
    )
    delivery_max_response_bytes: int = Field(
        65_536, ge=0, le=10_485_760, description="Bytes read of a receiver's answer."
    )
    delivery_allow_http: bool = Field(False, description="Deliver to `http://` too.")
    delivery_allow_private_networks: bool = Field(
        False, description="Deliver to private, loopback and link-local addresses too. For a closed network only."
    )

    replicate_api_key: Annotated[SecretStr, _secret(checks.api_key)] = Field(
        _ABSENT,
        json_schema_extra={"alias": "REPLICATE_API_TOKEN"},
        description="Key of the Replicate API. `REPLICATE_API_TOKEN` is read too.",
    )
    openai_api_key: Annotated[SecretStr, _secret(checks.api_key)] = Field(_ABSENT, description="Key of the OpenAI API.")

    replicate_base_url: BaseUrl = Field("https://api.replicate.com", description="Where the Replicate API is.")
    openai_base_url: BaseUrl = Field(
        "https://api.openai.com/v1", description="Where the OpenAI API is, with its version."
    )
    webhook_base_url: BaseUrl | None = Field(
        None,
        description="Public address of this API. Without it Replicate is asked for results, and not to tell of them.",
    )
    webhook_secret_replicate: Annotated[SecretStr, _secret(checks.webhook_secrets)] = Field(
        _ABSENT, description="Key of Replicate's webhooks, `whsec_…`; during a rotation two, comma separated."
    )
    webhook_secret_openai: Annotated[SecretStr, _secret(checks.webhook_secrets)] = Field(
        _ABSENT, description="The same of OpenAI's webhooks."
    )
    prediction_max_attempts: int = Field(8, ge=1, le=50, description="Attempts to hand a prediction to its provider.")
    prediction_timeout: Milliseconds = Field(
        3_600_000, description="How long a provider may work on a prediction until it counts as failed."
    )
    prediction_poll_interval: Milliseconds = Field(
        5_000, description="How soon to ask for a result that no webhook will tell of; later ever more rarely."
    )
    prediction_webhook_grace: Milliseconds = Field(
        120_000, description="How long to wait for a webhook before asking for the result."
    )
    prediction_request_timeout: Milliseconds = Field(
        30_000, description="Longest time of one request to a provider; never above two fifths of `QUEUE_JOB_TIMEOUT`."
    )
    prediction_max_response_bytes: int = Field(
        4_194_304, ge=1024, le=104_857_600, description="Largest answer of a provider."
    )

    @cached_property
    def key_ring(self) -> checks.KeyRing:
        """The signing keys. With both variables set, `JWT_SECRET` only verifies: a move to a ring logs nobody out."""
        single, ring = self.jwt_secret.get_secret_value(), self.jwt_keys.get_secret_value()
        if not ring:
            return checks.KeyRing(active="default", keys={"default": single})
        parsed = checks.key_ring(ring, production=False)
        return checks.KeyRing(active=parsed.active, keys={**({"default": single} if single else {}), **parsed.keys})

    @cached_property
    def webhook_secrets(self) -> Mapping[str, tuple[str, ...]]:
        """What each provider may sign its webhooks with; none for a provider whose webhooks are not set up."""
        given = {"replicate": self.webhook_secret_replicate, "openai": self.webhook_secret_openai}
        texts = {name: secret.get_secret_value() for name, secret in given.items()}
        return {n: checks.webhook_secrets(text, production=False) if text else () for n, text in texts.items()}

    def queue_of(self, kind: str) -> str:
        """The queue that jobs of this kind are put on."""
        return next((queue for routed, queue in self.queue_routes if routed == kind), self.queue_name)

    def is_urgent(self, kind: str) -> bool:
        """Whether jobs of this kind go before others."""
        return kind in self.queue_urgent_kinds

    @field_validator("jwt_keys")
    @classmethod
    def _jwt_keys(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        # A JWT_SECRET that was given but refused is absent from `info.data`; its own problem is enough.
        alone = not value.get_secret_value() and info.data.get("jwt_secret") == _ABSENT
        if alone and info.data.get("mode") in ("api", "all"):
            raise ValueError(f"this or JWT_SECRET is required with MODE={info.data['mode']}")
        return value

    @field_validator("metrics_port")
    @classmethod
    def _metrics_port(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("mode") == "all" and value == info.data.get("port"):
            raise ValueError("must differ from PORT, where the API of this MODE listens")
        return value
