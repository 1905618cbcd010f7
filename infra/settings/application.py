"""What the application does: tokens, limits of its clients, deliveries, predictions and what can be switched."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated

from infra.settings.group import Group
from infra.settings.rules import Between, Duration, Size, Span, Text
from infra.settings.units import single_unit
from infra.settings.variables import API, ROLLS_ALL, WORKER, Effect, Variable

_BASE_URL = Text(r"https?://[^\s/?#@]{1,253}(/[^\s?#@]{1,200})?", "an address such as https://api.example.com")
_NAME = Text(r"\S(.{0,126}\S)?", "1 to 128 characters")


class RateLimit(Group):
    """Requests of one account, else of one client address. Switched by `features.rate_limit`."""

    max: Annotated[int, Between(1, 100_000, "requests"), Variable("RATE_LIMIT_MAX", API)] = 100
    """Requests allowed in a window (`RATE_LIMIT_MAX`)."""
    window: Annotated[timedelta, Span("1s", "24h"), Variable("RATE_LIMIT_TIMEWINDOW", API)] = timedelta(seconds=60)
    """Length of a window (`RATE_LIMIT_TIMEWINDOW`)."""


class LoginFailures(Group):
    """Against guessing passwords. A network from which an account has logged in before is held to this limit alone;
    all other networks together may fail five times as often for one account, and one network twenty times as often for
    all accounts."""

    max: Annotated[int, Between(1, 100_000, "failures"), Variable("LOGIN_FAILURES_MAX", API)] = 5
    """Failed logins of one account from one network in a window (`LOGIN_FAILURES_MAX`). The next is answered 429."""
    window: Annotated[timedelta, Span("1s", "24h"), Variable("LOGIN_FAILURES_WINDOW", API)] = timedelta(minutes=15)
    """Length of a window (`LOGIN_FAILURES_WINDOW`)."""


class Jwt(Group):
    """The tokens that the API issues. Their keys are `rotation.jwt` or `secrets.jwt`."""

    issuer: Annotated[str, _NAME, Variable("JWT_ISSUER", API)] = "slipway"
    """`iss` of tokens (`JWT_ISSUER`). A change invalidates every token."""
    audience: Annotated[str, _NAME, Variable("JWT_AUDIENCE", API)] = "slipway"
    """`aud` of tokens (`JWT_AUDIENCE`). A change invalidates every token."""
    access_expires_in: Annotated[timedelta, Span("1s", "24h"), Variable("JWT_ACCESS_EXPIRES_IN", API, single_unit)] = (
        timedelta(minutes=15)
    )
    """Life of an access token (`JWT_ACCESS_EXPIRES_IN`)."""
    refresh_expires_in: Annotated[
        timedelta, Span("1m", "365d"), Variable("JWT_REFRESH_EXPIRES_IN", API, single_unit)
    ] = timedelta(days=7)
    """Life of a refresh token (`JWT_REFRESH_EXPIRES_IN`). A step of `rotation.jwt` is refused before
    that time since the last one."""


class Deliveries(Group):
    """Outbound webhook deliveries."""

    timeout: Annotated[Duration, Variable("DELIVERY_TIMEOUT", API | WORKER)] = timedelta(seconds=10)
    """Total time of one attempt (`DELIVERY_TIMEOUT`); below `worker.job_timeout`."""
    max_attempts: Annotated[int, Between(1, 50, "attempts"), Variable("DELIVERY_MAX_ATTEMPTS", API)] = 3
    """Attempts of a delivery that asks for no number (`DELIVERY_MAX_ATTEMPTS`)."""
    backoff: Annotated[Duration, Variable("DELIVERY_BACKOFF", WORKER)] = timedelta(seconds=2)
    """Base of the exponential wait between attempts, with full jitter (`DELIVERY_BACKOFF`)."""
    backoff_max: Annotated[Duration, Variable("DELIVERY_BACKOFF_MAX", WORKER)] = timedelta(minutes=10)
    """Longest wait between attempts (`DELIVERY_BACKOFF_MAX`); not below `backoff`."""
    max_response_size: Annotated[int, Size("0 B", "10 MiB"), Variable("DELIVERY_MAX_RESPONSE_BYTES", WORKER)] = (
        64 * 1024
    )
    """How much of a receiver's answer is read and kept (`DELIVERY_MAX_RESPONSE_BYTES`)."""
    allow_http: Annotated[bool, Variable("DELIVERY_ALLOW_HTTP", API | WORKER)] = False
    """Deliver to `http://` too (`DELIVERY_ALLOW_HTTP`). Default on the local target: true."""
    allow_private_networks: Annotated[bool, Variable("DELIVERY_ALLOW_PRIVATE_NETWORKS", API | WORKER)] = False
    """Deliver to private, loopback and link-local addresses too (`DELIVERY_ALLOW_PRIVATE_NETWORKS`): a user could then
    reach what only the server may. Default on the local target: true."""


class Predictions(Group):
    """Predictions by Replicate and OpenAI, whose keys are in `secrets`."""

    replicate_base_url: Annotated[str, _BASE_URL, Variable("REPLICATE_BASE_URL", WORKER)] = "https://api.replicate.com"
    """Where the Replicate API is (`REPLICATE_BASE_URL`)."""
    openai_base_url: Annotated[str, _BASE_URL, Variable("OPENAI_BASE_URL", WORKER)] = "https://api.openai.com/v1"
    """Where the OpenAI API is, or one that speaks like it, with its version (`OPENAI_BASE_URL`)."""
    webhook_base_url: Annotated[str, _BASE_URL, Variable("WEBHOOK_BASE_URL", WORKER)] | None = None
    """Public address of the API, for Replicate's webhooks (`WEBHOOK_BASE_URL`). Default: `https://` and `domain.name`,
    where there is one. Without it, or without `secrets.webhook_secret_replicate`, results are asked for."""
    max_attempts: Annotated[int, Between(1, 50, "attempts"), Variable("PREDICTION_MAX_ATTEMPTS", API)] = 8
    """Attempts to hand a prediction to its provider (`PREDICTION_MAX_ATTEMPTS`)."""
    timeout: Annotated[timedelta, Span("1s", "24h"), Variable("PREDICTION_TIMEOUT", WORKER)] = timedelta(hours=1)
    """How long a provider may work on a prediction until it is called off and counts as failed
    (`PREDICTION_TIMEOUT`). Replicate keeps results for an hour."""
    poll_interval: Annotated[timedelta, Span("100ms", "1h"), Variable("PREDICTION_POLL_INTERVAL", WORKER)] = timedelta(
        seconds=5
    )
    """How soon to ask for a result that no webhook will tell of; later ever more rarely
    (`PREDICTION_POLL_INTERVAL`)."""
    webhook_grace: Annotated[timedelta, Span("1s", "24h"), Variable("PREDICTION_WEBHOOK_GRACE", WORKER)] = timedelta(
        minutes=2
    )
    """How long to wait for a webhook before asking for the result (`PREDICTION_WEBHOOK_GRACE`)."""
    request_timeout: Annotated[timedelta, Span("100ms", "10m"), Variable("PREDICTION_REQUEST_TIMEOUT", WORKER)] = (
        timedelta(seconds=30)
    )
    """Longest time of one request to a provider (`PREDICTION_REQUEST_TIMEOUT`); never above two fifths of
    `worker.job_timeout`."""
    max_response_size: Annotated[int, Size("1 KiB", "100 MiB"), Variable("PREDICTION_MAX_RESPONSE_BYTES", WORKER)] = (
        4 * 1024 * 1024
    )
    """Largest answer of a provider (`PREDICTION_MAX_RESPONSE_BYTES`)."""


class Features(Group):
    """What the application offers besides its purpose."""

    swagger: Annotated[bool, Variable("ENABLE_SWAGGER", API)] = False
    """Serve `/docs` and `/openapi.json` (`ENABLE_SWAGGER`)."""
    metrics: Annotated[bool, Variable("ENABLE_METRICS", API)] = False
    """Serve `/metrics` of the API for Prometheus (`ENABLE_METRICS`)."""
    metrics_port: Annotated[int, Between(0, 65535), Variable("METRICS_PORT", WORKER)] = 0
    """Port of each worker's own metrics (`METRICS_PORT`); 0 serves none. Reachable inside the network only. Not on the
    local target, whose workers share one host, nor on DigitalOcean, where a worker has no port."""
    health_check: Annotated[bool, Variable("ENABLE_HEALTH_CHECK", API)] = True
    """Serve `/health` (`ENABLE_HEALTH_CHECK`). Without it, load balancers ask `/health/live`, which does not ask
    the database and Redis."""
    rate_limit: Annotated[bool, Variable("ENABLE_RATE_LIMIT", API)] = True
    """Limit requests by `api.rate_limit` (`ENABLE_RATE_LIMIT`)."""
    emf: Annotated[bool, Variable("ENABLE_EMF", API)] = False
    """Write the queues' figures into the log, in CloudWatch's embedded metric format (`ENABLE_EMF`): workers scale on
    them and alarms watch them. Seven figures of each queue, 0.30 USD a month each. Default on AWS: true."""
    emf_interval: Annotated[timedelta, Span("5s", "1m"), Variable("EMF_INTERVAL", API)] = timedelta(seconds=30)
    """How often (`EMF_INTERVAL`). Twice in each minute that CloudWatch counts, so that no minute is left without."""
    exec: Annotated[bool, Effect(ROLLS_ALL)] = False
    """Let people with the permission open a shell in a running replica (`aws ecs execute-command`); what they type is
    recorded. AWS only."""
