"""Everything that can be configured, read once at start from the environment into one frozen object.

Times are milliseconds where the variable has no unit, and seconds where it was written with one (``15m`` → 900).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from ipaddress import IPv4Network, IPv6Network
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from app import settings_checks as checks
from app.environment import EnvironmentSource, SettingsError, is_secret
from app.features import JOB_KINDS
from app.settings_checks import KeyRing

Mode = Literal["api", "worker", "all", "migrate"]
if TYPE_CHECKING:
    JobKind = str
else:
    JobKind = Literal[JOB_KINDS]
Milliseconds = Annotated[int, Field(ge=1, le=86_400_000)]
Seconds = Annotated[int, BeforeValidator(checks.duration)]
Count = Annotated[int, Field(ge=1, le=100_000)]

_SECRET: dict[str, Any] = {"secret": True}
_ABSENT = SecretStr("")


def _doc(description: str) -> Any:
    return Field(description=description)


class Settings(BaseSettings):
    """One field a variable: the field's name in capitals. A secret is an empty SecretStr when its mode needs none.

    `mode` and `environment` stand first: the checks of later fields look at them.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    mode: Annotated[Mode, _doc("What this process is. `all` runs the API and a worker; `migrate` migrates and ends.")]
    environment: Annotated[
        Literal["production", "development", "test"],
        _doc("`production` refuses weak secrets, `*` in CORS and connections without TLS to other hosts."),
    ] = "production"
    service_name: Annotated[str, _doc("Name in logs, metrics and the database's session list.")] = "slipway"
    service_version: Annotated[str, _doc("Version in logs and `/health`.")] = "0.0.0"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _doc("Least severe level written.")] = "info"
    log_format: Annotated[Literal["json", "text"], _doc("`text` is for people at a terminal.")] = "json"

    host: Annotated[str, _doc("Address to listen on. Unused with inherited sockets (`LISTEN_FDS`).")] = "0.0.0.0"  # noqa: S104 - a container's only interface
    port: Annotated[int, Field(ge=1, le=65535), _doc("Port to listen on. Unused with inherited sockets.")] = 3000

    database_url: Annotated[
        SecretStr, Field(json_schema_extra=_SECRET), _doc("`postgresql://…`; `sslmode` is honoured.")
    ] = _ABSENT
    database_pool_size: Annotated[Count, _doc("Connections a process keeps.")] = 5
    database_max_overflow: Annotated[int, Field(ge=0, le=1000), _doc("Connections above the pool under load.")] = 5
    database_pool_timeout: Annotated[Milliseconds, _doc("Longest wait for a connection.")] = 5_000
    database_owner_role: Annotated[
        str | None,
        Field(pattern=r"^[A-Za-z_][A-Za-z0-9_$]{0,62}$"),
        _doc("Role that migrations switch to (`SET ROLE`)."),
    ] = None
    migration_lock_timeout: Annotated[
        Milliseconds, _doc("Longest wait of a migration for a table lock, and for another migration.")
    ] = 10_000
    redis_url: Annotated[
        SecretStr, Field(json_schema_extra=_SECRET), _doc("`rediss://…`, `redis://…` or `unix:///path`.")
    ] = _ABSENT

    jwt_secret: Annotated[
        SecretStr,
        Field(json_schema_extra=_SECRET),
        _doc("One signing key of at least 64 characters; key id `default`."),
    ] = _ABSENT
    jwt_keys: Annotated[
        SecretStr,
        Field(json_schema_extra=_SECRET),
        _doc('Key ring `{"active": "g7", "keys": {"g6": "…", "g7": "…"}}`: `active` signs, all verify.'),
    ] = _ABSENT
    jwt_issuer: Annotated[str, Field(min_length=1), _doc("`iss` of tokens.")] = "slipway"
    jwt_audience: Annotated[str, Field(min_length=1), _doc("`aud` of tokens.")] = "slipway"
    jwt_access_expires_in: Annotated[Seconds, _doc("Life of an access token: `30s`, `15m`, `12h`, `7d`.")] = 900
    jwt_refresh_expires_in: Annotated[Seconds, _doc("Life of a refresh token, in the same form.")] = 604_800

    cors_origin: Annotated[
        tuple[str, ...], BeforeValidator(checks.comma_list), _doc("Origins allowed to call from a browser, comma list.")
    ] = ()
    trusted_proxies: Annotated[
        tuple[IPv4Network | IPv6Network, ...],
        BeforeValidator(checks.networks),
        _doc("Networks whose `X-Forwarded-For` is believed, comma list."),
    ] = ()

    enable_swagger: Annotated[bool, _doc("Serve `/docs` and `/openapi.json`.")] = False
    enable_metrics: Annotated[bool, _doc("Serve `/metrics`.")] = False
    enable_health_check: Annotated[bool, _doc("Serve `/health`. `/health/live` is always there.")] = True
    enable_rate_limit: Annotated[bool, _doc("Limit requests per account, else per client address.")] = True
    rate_limit_max: Annotated[Count, _doc("Requests allowed in a window.")] = 100
    rate_limit_timewindow: Annotated[Annotated[int, Field(ge=1000, le=86_400_000)], _doc("Length of a window.")] = (
        60_000
    )

    login_failures_max: Annotated[
        Count,
        _doc("Failed logins of one account from one network in a window; the next one is answered 429."),
    ] = 5
    login_failures_window: Annotated[Annotated[int, Field(ge=1000, le=86_400_000)], _doc("Length of that window.")] = (
        900_000
    )

    enable_emf: Annotated[
        bool, _doc("Write the queues' figures into the log, in CloudWatch's embedded metric format.")
    ] = False
    emf_interval: Annotated[Annotated[int, Field(ge=1000, le=3_600_000)], _doc("How often.")] = 30_000
    emf_queues: Annotated[
        tuple[str, ...], BeforeValidator(checks.comma_list), _doc("Queues besides `QUEUE_NAME`, comma list.")
    ] = ()
    stack_name: Annotated[str, Field(min_length=1), _doc("`Stack` of these figures.")] = "local"
    metrics_port: Annotated[
        int, Field(ge=0, le=65535), _doc("Port of a worker's own metrics for Prometheus; 0 serves none.")
    ] = 0
    otel_exporter_otlp_endpoint: Annotated[
        str | None, _doc("OpenTelemetry collector, `http://host:4318`: traces are sent there, to `/v1/traces`.")
    ] = None
    otel_traces_sampler_arg: Annotated[
        float, Field(ge=0, le=1), _doc("Share of traces that are kept; the same for the API and the workers.")
    ] = 1.0

    request_timeout: Annotated[Milliseconds, _doc("Longest time for one request, then 503.")] = 30_000
    keep_alive_timeout: Annotated[
        Annotated[int, Field(ge=1000, le=3_600_000)],
        _doc("Idle life of a connection; above the load balancer's (60 s)."),
    ] = 75_000
    body_limit: Annotated[int, Field(ge=1024, le=104_857_600), _doc("Largest request body in bytes.")] = 1_048_576
    shutdown_drain: Annotated[
        int, Field(ge=0, le=600_000), _doc("After SIGTERM: how long to go on answering, with `Connection: close`.")
    ] = 1_000
    shutdown_timeout: Annotated[
        Milliseconds,
        _doc(
            "After that: how long requests under way may take. A worker: how long its jobs may take after SIGTERM; "
            "those that are not done by then are handed back to other workers."
        ),
    ] = 25_000

    queue_name: Annotated[str, Field(pattern=f"^{checks.QUEUE_NAME.pattern}$"), _doc("RQ queue.")] = "webhook-processor"
    queue_concurrency: Annotated[int, Field(ge=1, le=1000), _doc("Jobs at once in one worker process.")] = 10
    queue_routes: Annotated[
        tuple[tuple[JobKind, str], ...],
        BeforeValidator(checks.routes),
        _doc("Queues of kinds that have workers of their own: `kind=queue`, comma list. The rest: `QUEUE_NAME`."),
    ] = ()
    queue_urgent_kinds: Annotated[
        tuple[JobKind, ...],
        BeforeValidator(checks.comma_list),
        _doc("Kinds of jobs that go before all others on their queue, comma list."),
    ] = ()
    queue_isolated_kinds: Annotated[
        tuple[JobKind, ...],
        BeforeValidator(checks.comma_list),
        _doc("Kinds of jobs that run each in a process of its own, comma list: for work that computes."),
    ] = ()
    queue_isolated_memory: Annotated[
        int, Field(ge=0), _doc("Bytes of memory that such a process may have. 0: no limit.")
    ] = 0
    queue_remove_on_complete: Annotated[int, Field(ge=0), _doc("Finished jobs that Redis keeps.")] = 100
    queue_remove_on_fail: Annotated[int, Field(ge=0), _doc("Failed jobs that Redis keeps.")] = 1_000
    queue_job_timeout: Annotated[Milliseconds, _doc("Longest run of one job.")] = 100_000
    queue_lease: Annotated[
        Milliseconds, _doc("How long a claimed job belongs to its worker. Above `QUEUE_JOB_TIMEOUT`.")
    ] = 120_000
    sweep_interval: Annotated[Milliseconds, _doc("How often a worker looks for due, lost or abandoned jobs.")] = 5_000
    health_file: Annotated[str | None, _doc("File that a worker touches while it is well.")] = None

    delivery_timeout: Annotated[Milliseconds, _doc("Total time of one attempt. Below `QUEUE_JOB_TIMEOUT`.")] = 10_000
    delivery_max_attempts: Annotated[
        int, Field(ge=1, le=50), _doc("Attempts of a delivery that asks for no number.")
    ] = 3
    delivery_backoff: Annotated[Milliseconds, _doc("Base of the exponential wait between attempts, full jitter.")] = (
        2_000
    )
    delivery_backoff_max: Annotated[Milliseconds, _doc("Longest wait between attempts.")] = 600_000
    delivery_max_response_bytes: Annotated[
        int, Field(ge=0, le=10_485_760), _doc("Bytes read of a receiver's answer.")
    ] = 65_536
    delivery_allow_http: Annotated[bool, _doc("Deliver to `http://` too.")] = False
    delivery_allow_private_networks: Annotated[
        bool, _doc("Deliver to private, loopback and link-local addresses too. For a closed network only.")
    ] = False

    replicate_api_key: Annotated[
        SecretStr,
        Field(json_schema_extra={**_SECRET, "alias": "REPLICATE_API_TOKEN"}),
        _doc("Key of the Replicate API. `REPLICATE_API_TOKEN` is read too."),
    ] = _ABSENT
    openai_api_key: Annotated[SecretStr, Field(json_schema_extra=_SECRET), _doc("Key of the OpenAI API.")] = _ABSENT

    replicate_base_url: Annotated[str, _doc("Where the Replicate API is.")] = "https://api.replicate.com"
    openai_base_url: Annotated[str, _doc("Where the OpenAI API is, with its version.")] = "https://api.openai.com/v1"
    webhook_base_url: Annotated[
        str | None,
        _doc("Public address of this API. Without it Replicate is asked for results, and not to tell of them."),
    ] = None
    webhook_secret_replicate: Annotated[
        SecretStr,
        Field(json_schema_extra=_SECRET),
        _doc("Key of Replicate's webhooks, `whsec_…`; during a rotation two, comma separated."),
    ] = _ABSENT
    webhook_secret_openai: Annotated[
        SecretStr, Field(json_schema_extra=_SECRET), _doc("The same of OpenAI's webhooks.")
    ] = _ABSENT
    prediction_max_attempts: Annotated[
        int, Field(ge=1, le=50), _doc("Attempts to hand a prediction to its provider.")
    ] = 8
    prediction_timeout: Annotated[
        Milliseconds, _doc("How long a provider may work on a prediction until it counts as failed.")
    ] = 3_600_000
    prediction_poll_interval: Annotated[
        Milliseconds, _doc("How soon to ask for a result that no webhook will tell of; later ever more rarely.")
    ] = 5_000
    prediction_webhook_grace: Annotated[
        Milliseconds, _doc("How long to wait for a webhook before asking for the result.")
    ] = 120_000
    prediction_request_timeout: Annotated[
        Milliseconds, _doc("Longest time of one request to a provider; never above two fifths of `QUEUE_JOB_TIMEOUT`.")
    ] = 30_000
    prediction_max_response_bytes: Annotated[
        int, Field(ge=1024, le=104_857_600), _doc("Largest answer of a provider.")
    ] = 4_194_304

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Settings from `environ`; raises SettingsError with every problem at once."""
        source = EnvironmentSource(cls, environ)
        values = source()
        problems = dict(source.problems)
        try:
            settings = cls(**values)
        except ValidationError as invalid:
            for error in invalid.errors(include_url=False, include_context=False):
                name = str(error["loc"][0])
                problems.setdefault(
                    name, f"{name.upper()}{_given(name, values)}: {_message(error['type'], error['msg'])}"
                )
        if problems:
            order = list(cls.model_fields)
            raise SettingsError([problems[name] for name in sorted(problems, key=order.index)])
        return settings

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what `load` passes: reading the process environment behind its back would make tests depend on it."""
        return (init_settings,)

    @cached_property
    def key_ring(self) -> KeyRing:
        """The signing keys. With both variables set, `JWT_SECRET` only verifies: a move to a ring logs nobody out."""
        single, ring = self.jwt_secret.get_secret_value(), self.jwt_keys.get_secret_value()
        if not ring:
            return KeyRing(active="default", keys={"default": single})
        parsed = checks.key_ring(ring, production=False)
        return KeyRing(active=parsed.active, keys={**({"default": single} if single else {}), **parsed.keys})

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

    @field_validator("database_url")
    @classmethod
    def _database_url(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        return _checked(value, checks.database_url, info, needed_by=("api", "worker", "all", "migrate"))

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        return _checked(value, checks.redis_url, info, needed_by=("api", "worker", "all"))

    @field_validator("jwt_secret")
    @classmethod
    def _jwt_secret(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        return _checked(value, checks.signing_key, info, needed_by=())

    @field_validator("jwt_keys")
    @classmethod
    def _jwt_keys(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        # A JWT_SECRET that was given but refused is absent from `info.data`; its own problem is enough.
        alone = not value.get_secret_value() and info.data.get("jwt_secret") == _ABSENT
        if alone and info.data.get("mode") in ("api", "all"):
            raise ValueError(f"this or JWT_SECRET is required with MODE={info.data['mode']}")
        return _checked(value, checks.key_ring, info, needed_by=())

    @field_validator("replicate_api_key", "openai_api_key")
    @classmethod
    def _api_key(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        return _checked(value, checks.api_key, info, needed_by=())

    @field_validator("replicate_base_url", "openai_base_url", "webhook_base_url")
    @classmethod
    def _base_url(cls, value: str | None, info: ValidationInfo) -> str | None:
        return checks.base_url(value, production=_production(info)) if value else value

    @field_validator("webhook_secret_replicate", "webhook_secret_openai")
    @classmethod
    def _webhook_secret(cls, value: SecretStr, info: ValidationInfo) -> SecretStr:
        return _checked(value, checks.webhook_secrets, info, needed_by=())

    @field_validator("cors_origin")
    @classmethod
    def _cors_origin(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        return checks.origins(value, production=_production(info))

    @field_validator("metrics_port")
    @classmethod
    def _metrics_port(cls, value: int, info: ValidationInfo) -> int:
        if info.data.get("mode") == "all" and value == info.data.get("port"):
            raise ValueError("must differ from PORT, where the API of this MODE listens")
        return value

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _collector(cls, value: str | None) -> str | None:
        return value if value is None else checks.collector_url(value)

    @field_validator("jwt_refresh_expires_in", "queue_lease", "delivery_backoff_max")
    @classmethod
    def _above(cls, value: int, info: ValidationInfo) -> int:
        other = {
            "jwt_refresh_expires_in": "jwt_access_expires_in",
            "queue_lease": "queue_job_timeout",
            "delivery_backoff_max": "delivery_backoff",
        }[str(info.field_name)]
        if value < (least := info.data.get(other, value)):
            raise ValueError(f"must not be below {other.upper()} ({least})")
        return value

    @field_validator("delivery_timeout")
    @classmethod
    def _below(cls, value: int, info: ValidationInfo) -> int:
        if value >= (limit := info.data.get("queue_job_timeout", value + 1)):
            raise ValueError(f"must be below QUEUE_JOB_TIMEOUT ({limit})")
        return value


def _production(info: ValidationInfo) -> bool:
    """An unreadable ENVIRONMENT counts as production, so that nothing unsafe hides behind a typo."""
    return str(info.data.get("environment", "production")) == "production"


def _checked(secret: SecretStr, check: Any, info: ValidationInfo, *, needed_by: tuple[Mode, ...]) -> SecretStr:
    if value := secret.get_secret_value():
        check(value, production=_production(info))
    elif (mode := info.data.get("mode")) in needed_by:
        raise ValueError(f"is required with MODE={mode}")
    return secret


def _given(name: str, values: Mapping[str, Any]) -> str:
    # An @ may follow a password, in a URL that should have had none.
    shown = name in values and not is_secret(Settings.model_fields[name]) and "@" not in str(values[name])
    return f"={values[name]}" if shown else ""


def _message(kind: str, message: str) -> str:
    if kind == "missing":
        return "is required: one of api, worker, all, migrate"
    return message.removeprefix("Value error, ").removeprefix("Input should be ").strip()
