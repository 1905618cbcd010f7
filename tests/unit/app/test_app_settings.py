"""The environment contract: every default, every refusal, all problems at once, no secret in a message."""

from __future__ import annotations

import base64
import json
import random
from ipaddress import ip_network

import pytest

from app.environment import SettingsError, is_secret
from app.features import JOB_KINDS
from app.settings import Settings

# Fixed, because parametrized tests are named by their values, and two test processes must name them alike.
_KEYS = random.Random(7)
KEY, OTHER, *MORE = (base64.urlsafe_b64encode(_KEYS.randbytes(64)).decode() for _ in range(11))
WEBHOOK_SECRETS = ["whsec_" + base64.b64encode(_KEYS.randbytes(24)).decode() for _ in range(2)]

FLIPS = {
    "MODE": ("worker", "worker"),
    "ENVIRONMENT": ("development", "development"),
    "SERVICE_NAME": ("shop", "shop"),
    "SERVICE_VERSION": ("1.2.3", "1.2.3"),
    "LOG_LEVEL": ("debug", "debug"),
    "LOG_FORMAT": ("text", "text"),
    "HOST": ("127.0.0.1", "127.0.0.1"),
    "PORT": ("8080", 8080),
    "DATABASE_URL": ("postgresql:///other", "postgresql:///other"),
    "DATABASE_POOL_SIZE": ("7", 7),
    "DATABASE_MAX_OVERFLOW": ("0", 0),
    "DATABASE_POOL_TIMEOUT": ("100", 100),
    "DATABASE_OWNER_ROLE": ("owner", "owner"),
    "MIGRATION_LOCK_TIMEOUT": ("100", 100),
    "REDIS_URL": ("unix:///run/redis.sock", "unix:///run/redis.sock"),
    "JWT_SECRET": (KEY, KEY),
    "JWT_KEYS": (f'{{"active": "a", "keys": {{"a": "{KEY}"}}}}', f'{{"active": "a", "keys": {{"a": "{KEY}"}}}}'),
    "JWT_ISSUER": ("me", "me"),
    "JWT_AUDIENCE": ("you", "you"),
    "JWT_ACCESS_EXPIRES_IN": ("90s", 90),
    "JWT_REFRESH_EXPIRES_IN": ("2d", 172_800),
    "CORS_ORIGIN": ("https://a.example.org, https://b.example.org", ("https://a.example.org", "https://b.example.org")),
    "TRUSTED_PROXIES": ("10.0.0.0/8,::1", (ip_network("10.0.0.0/8"), ip_network("::1/128"))),
    "ENABLE_SWAGGER": ("true", True),
    "ENABLE_METRICS": ("1", True),
    "ENABLE_HEALTH_CHECK": ("false", False),
    "ENABLE_RATE_LIMIT": ("no", False),
    "RATE_LIMIT_MAX": ("5", 5),
    "RATE_LIMIT_TIMEWINDOW": ("1000", 1000),
    "LOGIN_FAILURES_MAX": ("9", 9),
    "LOGIN_FAILURES_WINDOW": ("1000", 1000),
    "ENABLE_EMF": ("true", True),
    "EMF_INTERVAL": ("5000", 5000),
    "EMF_QUEUES": ("mail, slow", ("mail", "slow")),
    "STACK_NAME": ("prod", "prod"),
    "METRICS_PORT": ("9100", 9100),
    "OTEL_EXPORTER_OTLP_ENDPOINT": ("http://collector:4318", "http://collector:4318"),
    "OTEL_TRACES_SAMPLER_ARG": ("0.05", 0.05),
    "REQUEST_TIMEOUT": ("5", 5),
    "KEEP_ALIVE_TIMEOUT": ("5000", 5000),
    "BODY_LIMIT": ("2048", 2048),
    "SHUTDOWN_DRAIN": ("0", 0),
    "SHUTDOWN_TIMEOUT": ("5", 5),
    "QUEUE_NAME": ("other", "other"),
    "QUEUE_CONCURRENCY": ("1", 1),
    "QUEUE_ROUTES": ("delivery=mail", (("delivery", "mail"),)),
    "QUEUE_URGENT_KINDS": (", ".join(JOB_KINDS), JOB_KINDS),
    "QUEUE_ISOLATED_KINDS": ("delivery", ("delivery",)),
    "QUEUE_ISOLATED_MEMORY": ("1000000", 1_000_000),
    "QUEUE_REMOVE_ON_COMPLETE": ("0", 0),
    "QUEUE_REMOVE_ON_FAIL": ("0", 0),
    "QUEUE_JOB_TIMEOUT": ("20000", 20_000),
    "QUEUE_LEASE": ("200000", 200_000),
    "SWEEP_INTERVAL": ("100", 100),
    "HEALTH_FILE": ("/tmp/beat", "/tmp/beat"),
    "DELIVERY_TIMEOUT": ("500", 500),
    "DELIVERY_MAX_ATTEMPTS": ("1", 1),
    "DELIVERY_BACKOFF": ("10", 10),
    "DELIVERY_BACKOFF_MAX": ("3000", 3000),
    "DELIVERY_MAX_RESPONSE_BYTES": ("0", 0),
    "DELIVERY_ALLOW_HTTP": ("true", True),
    "DELIVERY_ALLOW_PRIVATE_NETWORKS": ("true", True),
    "REPLICATE_API_KEY": ("r8_abc123", "r8_abc123"),
    "OPENAI_API_KEY": ("sk-abc123", "sk-abc123"),
    "REPLICATE_BASE_URL": ("https://proxy.example.org/replicate/", "https://proxy.example.org/replicate"),
    "OPENAI_BASE_URL": ("https://[::1]:8443/v1", "https://[::1]:8443/v1"),
    "WEBHOOK_BASE_URL": ("https://api.example.org", "https://api.example.org"),
    "WEBHOOK_SECRET_REPLICATE": (WEBHOOK_SECRETS[0], WEBHOOK_SECRETS[0]),
    "WEBHOOK_SECRET_OPENAI": (", ".join(WEBHOOK_SECRETS), ", ".join(WEBHOOK_SECRETS)),
    "PREDICTION_MAX_ATTEMPTS": ("1", 1),
    "PREDICTION_TIMEOUT": ("1000", 1000),
    "PREDICTION_POLL_INTERVAL": ("100", 100),
    "PREDICTION_WEBHOOK_GRACE": ("100", 100),
    "PREDICTION_REQUEST_TIMEOUT": ("100", 100),
    "PREDICTION_MAX_RESPONSE_BYTES": ("1024", 1024),
}


def problems(environ: dict[str, str]) -> list[str]:
    with pytest.raises(SettingsError) as raised:
        Settings.load(environ)
    return raised.value.problems


def plain(value: object) -> object:
    return value.get_secret_value() if hasattr(value, "get_secret_value") else value


def test_every_setting_is_flipped_below() -> None:
    assert set(FLIPS) == {name.upper() for name in Settings.model_fields}


@pytest.mark.parametrize("name", FLIPS)
def test_each_setting_is_read(production: dict[str, str], name: str) -> None:
    given, expected = FLIPS[name]
    settings = Settings.load({**production, name: given})
    assert plain(getattr(settings, name.lower())) == expected
    assert plain(getattr(Settings.load(production), name.lower())) != expected


def test_an_empty_variable_is_not_set(production: dict[str, str]) -> None:
    assert Settings.load({**production, "PORT": "", "CORS_ORIGIN": ""}).port == 3000


@pytest.mark.parametrize("name", [n.upper() for n, f in Settings.model_fields.items() if is_secret(f)])
def test_each_secret_may_come_from_a_file(production: dict[str, str], tmp_path, name: str) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{FLIPS[name][0]}\n")
    rest = {key: value for key, value in production.items() if key != name}
    settings = Settings.load({**rest, f"{name}_FILE": str(file)})
    assert plain(getattr(settings, name.lower())) == FLIPS[name][1]


def test_secret_files_that_cannot_be_used(production: dict[str, str], tmp_path) -> None:
    empty, binary, huge = tmp_path / "empty", tmp_path / "binary", tmp_path / "huge"
    empty.touch()
    binary.write_bytes(b"\xff\xfe")
    huge.write_bytes(b"x" * 70_000)
    del production["JWT_SECRET"]
    found = problems(
        {
            **production,
            "DATABASE_URL_FILE": "/nowhere",
            "JWT_SECRET_FILE": str(binary),
            "OPENAI_API_KEY_FILE": str(empty),
            "REPLICATE_API_KEY_FILE": str(huge),
            "JWT_KEYS_FILE": str(tmp_path),
        }
    )
    assert [problem.partition(" ")[0] for problem in found] == [
        "DATABASE_URL",
        "JWT_SECRET_FILE:",
        "JWT_KEYS_FILE:",
        "REPLICATE_API_KEY_FILE:",
        "OPENAI_API_KEY_FILE:",
    ]
    assert "both set" in found[0]


def test_the_other_name_of_the_replicate_key(production: dict[str, str]) -> None:
    settings = Settings.load({**production, "REPLICATE_API_TOKEN": "r8_abc123"})
    assert settings.replicate_api_key.get_secret_value() == "r8_abc123"


@pytest.mark.parametrize(
    ("mode", "needs"),
    [
        ("api", ["DATABASE_URL", "REDIS_URL", "JWT_KEYS"]),
        ("all", ["DATABASE_URL", "REDIS_URL", "JWT_KEYS"]),
        ("worker", ["DATABASE_URL", "REDIS_URL"]),
        ("migrate", ["DATABASE_URL"]),
    ],
)
def test_what_each_mode_needs(mode: str, needs: list[str]) -> None:
    assert [problem.partition(":")[0] for problem in problems({"MODE": mode})] == needs


def test_an_unknown_mode_lists_the_legal_ones() -> None:
    (problem,) = [p for p in problems({"MODE": "server"}) if p.startswith("MODE")]
    assert problem == "MODE=server: 'api', 'worker', 'all' or 'migrate'"
    assert problems({}) == ["MODE: is required: one of api, worker, all, migrate"]


@pytest.mark.flips("environment")
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "postgresql://app:J7k2mQ9x@db.internal/app"),
        ("DATABASE_URL", "postgresql://app:J7k2mQ9x@db.internal/app?sslmode=prefer"),
        ("DATABASE_URL", "postgresql://app:password@db.internal/app?sslmode=require"),
        ("REDIS_URL", "redis://default:u8Xk29sLq@redis.internal:6379"),
        ("REDIS_URL", "rediss://default:changeme@redis.internal:6379"),
        ("JWT_SECRET", "a" * 64),
        ("JWT_SECRET", "change-me-" + KEY),
        ("JWT_SECRET", "<generated-with-openssl-rand-base64-64-and-then-some-more-text-0123>"),
        ("JWT_KEYS", json.dumps({"active": "a", "keys": {"a": "ab" * 32}})),
        ("CORS_ORIGIN", "*"),
        ("REPLICATE_API_KEY", "r8_xxxxx"),
        ("OPENAI_API_KEY", "sk-xxxxx"),
        ("REPLICATE_BASE_URL", "http://proxy.internal"),
        ("WEBHOOK_BASE_URL", "http://api.example.org"),
        ("WEBHOOK_SECRET_OPENAI", "whsec_" + "AAAA" * 8),
    ],
)
def test_what_production_refuses_and_development_takes(production: dict[str, str], name: str, value: str) -> None:
    (problem,) = problems({**production, name: value})
    assert problem.startswith(name)
    Settings.load({**production, name: value, "ENVIRONMENT": "development"})


def test_an_unreadable_environment_counts_as_production(production: dict[str, str]) -> None:
    found = problems({**production, "ENVIRONMENT": "prod", "CORS_ORIGIN": "*"})
    assert [p.partition("=")[0] for p in found] == ["ENVIRONMENT", "CORS_ORIGIN"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql:///app?host=/run/postgresql",
        "postgresql://app:J7k2mQ9x@127.0.0.1/app",
        "postgresql://app:J7k2mQ9x@[::1]/app",
        "postgresql://app:J7k2mQ9x@localhost/app",
        "postgres://app:J7k2mQ9x@db.internal/app?sslmode=require",
    ],
)
def test_databases_that_production_takes(production: dict[str, str], url: str) -> None:
    Settings.load({**production, "DATABASE_URL": url})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://x/y"),
        ("DATABASE_URL", "postgresql://host"),
        ("DATABASE_URL", "postgresql://u:secret@[half/db"),
        ("DATABASE_URL", "postgresql://u:secret@host:port/db"),
        ("REDIS_URL", "http://x"),
        ("REDIS_URL", "unix://"),
        ("JWT_SECRET", "x" * 63),
        ("JWT_KEYS", "{"),
        ("JWT_KEYS", "[]"),
        ("JWT_KEYS", '{"active": "a", "keys": {}}'),
        ("JWT_KEYS", json.dumps({"active": "b", "keys": {"a": KEY}})),
        ("JWT_KEYS", json.dumps({"active": "a", "keys": {"a": "short"}})),
        ("JWT_KEYS", json.dumps({"active": "a", "keys": {"a": KEY, "b": KEY}})),
        ("JWT_KEYS", json.dumps({"active": "a b", "keys": {"a b": KEY}})),
        ("JWT_KEYS", json.dumps({"active": "a", "keys": {"a": KEY}, "next": "b"})),
        ("JWT_KEYS", json.dumps({"active": "0", "keys": dict(zip("012345678", MORE, strict=True))})),
        ("JWT_ACCESS_EXPIRES_IN", "15"),
        ("JWT_ACCESS_EXPIRES_IN", "0m"),
        ("JWT_REFRESH_EXPIRES_IN", "1m"),
        ("CORS_ORIGIN", "a.example.org"),
        ("CORS_ORIGIN", "https://a.example.org/path"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("BODY_LIMIT", "1"),
        ("QUEUE_LEASE", "1000"),
        ("DELIVERY_TIMEOUT", "100000"),
        ("DELIVERY_BACKOFF_MAX", "1"),
        ("DATABASE_OWNER_ROLE", 'x"; DROP'),
        ("OPENAI_API_KEY", "two words"),
        ("OPENAI_BASE_URL", "api.openai.com/v1"),
        ("OPENAI_BASE_URL", "https://user:hunter22@api.openai.com/v1"),
        ("OPENAI_BASE_URL", "https://api.openai.com/v1?key=a"),
        ("WEBHOOK_BASE_URL", "ftp://api.example.org"),
        ("WEBHOOK_SECRET_OPENAI", WEBHOOK_SECRETS[0].removeprefix("whsec_")),
        ("WEBHOOK_SECRET_OPENAI", "whsec_c2hvcnQ="),
        ("WEBHOOK_SECRET_OPENAI", "whsec_*****"),
        ("WEBHOOK_SECRET_OPENAI", ",".join([WEBHOOK_SECRETS[0]] * 2)),
        ("WEBHOOK_SECRET_OPENAI", ",".join([*WEBHOOK_SECRETS, KEY])),
        ("PREDICTION_MAX_ATTEMPTS", "0"),
        ("ENABLE_METRICS", "perhaps"),
        ("METRICS_PORT", "65536"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4318"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318?key=1"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:port"),
        ("OTEL_TRACES_SAMPLER_ARG", "1.1"),
    ],
)
def test_values_that_nobody_can_mean(production: dict[str, str], name: str, value: str) -> None:
    (problem,) = problems({**production, "ENVIRONMENT": "test", name: value})
    assert problem.startswith(name)


def test_a_worker_beside_an_api_has_a_metrics_port_of_its_own(production: dict[str, str]) -> None:
    (problem,) = problems({**production, "MODE": "all", "METRICS_PORT": "3000"})
    assert "must differ from PORT" in problem
    assert Settings.load({**production, "MODE": "worker", "METRICS_PORT": "3000"}).metrics_port == 3000


def test_a_password_in_a_plain_variable_is_refused_and_not_repeated(production: dict[str, str]) -> None:
    (problem,) = problems({**production, "OTEL_EXPORTER_OTLP_ENDPOINT": "https://me:hunter22@collector"})
    assert "must hold no password" in problem
    assert "hunter22" not in problem


def test_no_message_holds_a_secret(production: dict[str, str]) -> None:
    mark = "hunter22"
    names = ("DATABASE_URL", "REDIS_URL", "JWT_SECRET", "JWT_KEYS", "OPENAI_API_KEY", "WEBHOOK_SECRET_REPLICATE")
    found = problems({**production, **dict.fromkeys(names, f"<{mark}>")})
    assert len(found) == 6
    assert mark not in "".join(found)
    assert "J7k2mQ9x" not in repr(Settings.load(production))


def test_a_ring_beside_a_single_secret_keeps_old_tokens_valid(production: dict[str, str]) -> None:
    ring = json.dumps({"active": "g1", "keys": {"g1": OTHER}})
    settings = Settings.load({**production, "JWT_SECRET": KEY, "JWT_KEYS": ring})
    assert settings.key_ring.active == "g1"
    assert settings.key_ring.keys == {"default": KEY, "g1": OTHER}
    assert KEY not in repr(settings.key_ring)


def test_it_is_frozen(production: dict[str, str]) -> None:
    settings = Settings.load(production)
    with pytest.raises(ValueError, match="frozen"):
        settings.port = 1  # type: ignore[misc]
