"""The URLs that every target builds from its endpoints, read back by the clients that will use them."""

from __future__ import annotations

import asyncio
import contextvars
import json
import string
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import psycopg.conninfo
import pulumi
import pytest
import redis.connection
from pulumi.runtime import set_all_config

from infra.contracts import (
    ExternalPostgres,
    ExternalRedis,
    Login,
    PostgresEndpoint,
    RedisEndpoint,
    SecretRef,
)
from infra.settings import SettingsError, from_pulumi

PASSWORD = "p/@:?#[]%&=+ " + string.punctuation + "ü"


def resolve(make: Callable[[], pulumi.Output[Any]]) -> tuple[Any, bool]:
    """The value of an output, and whether it is a secret."""

    async def run() -> tuple[Any, bool]:
        output = make()
        return await output.future(), await output.is_secret()

    return asyncio.run(run())


def endpoint(**changes: Any) -> PostgresEndpoint:
    arguments: dict[str, Any] = {
        "host": "db.internal",
        "port": 5432.0,  # Pulumi hands numbers over as floats
        "database": "slip way",
        "sslmode": "verify-full",
        "logins": {"app": Login(user="app_a", password=PASSWORD), "migrate": Login(user="m", password="x")},
        "options": {"sslrootcert": "/etc/ssl/rds ca.pem"},
    }
    return PostgresEndpoint(**arguments | changes)


def test_postgres_reads_back_every_part() -> None:
    url, secret = resolve(lambda: endpoint().url("app"))
    assert secret
    assert psycopg.conninfo.conninfo_to_dict(url) == {
        "user": "app_a",
        "password": PASSWORD,
        "host": "db.internal",
        "port": "5432",
        "dbname": "slip way",
        "sslmode": "verify-full",
        "sslrootcert": "/etc/ssl/rds ca.pem",
    }


def test_postgres_on_ipv6() -> None:
    url, _ = resolve(lambda: endpoint(host="fd00::7").url("migrate"))
    assert psycopg.conninfo.conninfo_to_dict(url)["host"] == "fd00::7"


def test_an_unknown_login_is_an_error() -> None:
    with pytest.raises(KeyError, match="nobody"):
        endpoint().url("nobody")


def test_libpq_variables_of_both_kinds_agree() -> None:
    """pg_dump on an external database reads the same as on one of the stack's own."""
    own, secret = resolve(lambda: endpoint().libpq("app"))
    assert secret
    assert own == {
        "PGUSER": "app_a",
        "PGPASSWORD": PASSWORD,
        "PGHOST": "db.internal",
        "PGPORT": "5432",
        "PGDATABASE": "slip way",
        "PGSSLMODE": "verify-full",
        "PGSSLROOTCERT": "/etc/ssl/rds ca.pem",
    }
    url, _ = resolve(lambda: endpoint().url("app"))
    assert resolve(lambda: ExternalPostgres(urls={"app": url}).libpq("backup")) == (own, True)


def test_external_servers_keep_their_urls() -> None:
    urls = {"app": "postgresql://a@pooler/x", "migrate": "postgresql://a@direct/x"}
    assert resolve(lambda: ExternalPostgres(urls=urls).url("migrate")) == ("postgresql://a@direct/x", True)
    assert resolve(lambda: ExternalPostgres(urls=urls).url("backup")) == ("postgresql://a@pooler/x", True)
    assert resolve(lambda: ExternalRedis(address="rediss://r:1").url()) == ("rediss://r:1", True)


@pytest.mark.parametrize("tls", [True, False])
def test_redis_reads_back_every_part(tls: bool) -> None:
    made = RedisEndpoint(host="cache.internal", port=6380.0, tls=tls, username="app_b", password=PASSWORD)  # type: ignore[arg-type]
    url, secret = resolve(made.url)
    assert secret
    parsed = redis.connection.parse_url(url)
    assert (parsed["host"], parsed["port"], parsed["db"]) == ("cache.internal", 6380, 0)
    assert (parsed["username"], parsed["password"]) == ("app_b", PASSWORD)
    assert url.startswith("rediss://" if tls else "redis://")


def test_no_password_in_a_repr() -> None:
    secret_ref = SecretRef(name="JWT_KEYS", value="hidden-value")  # type: ignore[arg-type]
    external = (ExternalPostgres(urls={"app": PASSWORD}), ExternalRedis(address=PASSWORD))
    for text in map(repr, (endpoint(), *external, secret_ref, Login(user="a", password=PASSWORD))):
        assert PASSWORD not in text
        assert quote(PASSWORD, safe="") not in text
        assert "hidden-value" not in text


def test_settings_from_the_running_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulumi, "get_project", lambda: "slipway")
    monkeypatch.setattr(pulumi, "get_stack", lambda: "dev")
    monkeypatch.delenv("PULUMI_CONFIG", raising=False)
    good = {"slipway:target": "local", "slipway:secrets": json.dumps({"openai_api_key": "sk-0c9f1b7ae2"})}
    bad = {"slipway:target": "local", "slipway:log": json.dumps({"level": "hidden-value"})}

    def run(values: dict[str, str], secret: list[str]) -> Any:
        set_all_config(values, secret)
        return from_pulumi()

    settings = contextvars.copy_context().run(run, good, ["slipway:secrets"])
    assert settings.stack == "dev"
    assert resolve(lambda: settings.secrets.output("openai_api_key")) == ("sk-0c9f1b7ae2", True)
    with pytest.raises(KeyError, match=r"secrets\.jwt is not set"):
        settings.secrets.output("jwt")
    with pytest.raises(SettingsError) as caught:
        contextvars.copy_context().run(run, bad, ["slipway:log"])
    assert "hidden-value" not in str(caught.value)
    assert "log.level = [secret]" in str(caught.value)
