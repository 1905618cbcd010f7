"""Settings that no request shows: what they change in what is built."""

from __future__ import annotations

from typing import Any

import jwt
import pytest
from starlette.middleware import Middleware

from app import composition
from app.accounts.tokens import Tokens
from app.db.engine import async_engine, async_probe_engine, sync_engine
from app.settings import Settings
from app.web.client_address import network_of
from app.web.server import config as server_config


def load(production: dict[str, str], **changes: str) -> Settings:
    return Settings.load({**production, **changes})


def middleware(settings: Settings, name: str) -> Middleware | None:
    found = {getattr(m.cls, "__name__", ""): m for m in composition.api(settings).app.user_middleware}
    return found.get(name)


@pytest.mark.parametrize("make", [async_engine, sync_engine])
def test_database_pool(production: dict[str, str], make: Any) -> None:
    changes = {"DATABASE_POOL_SIZE": "3", "DATABASE_MAX_OVERFLOW": "2", "DATABASE_POOL_TIMEOUT": "1500"}
    pool = make(load(production, **changes)).pool
    assert (pool.size(), pool._max_overflow, pool.timeout()) == (3, 2, 1.5)


def test_the_probes_have_one_connection(production: dict[str, str]) -> None:
    pool = async_probe_engine(load(production)).pool
    assert (pool.size(), pool._max_overflow) == (1, 0)


def test_what_the_database_url_says_wins(production: dict[str, str]) -> None:
    url = production["DATABASE_URL"] + "&connect_timeout=30"
    from app.db.engine import _connect_args

    assert "connect_timeout" not in _connect_args(load(production, DATABASE_URL=url))
    arguments = _connect_args(load(production, SERVICE_NAME="shop"))
    assert (arguments["connect_timeout"], arguments["application_name"]) == (5, "shop-api")


def test_server_timeouts(production: dict[str, str]) -> None:
    settings = load(production, KEEP_ALIVE_TIMEOUT="5000", SHUTDOWN_TIMEOUT="7000")
    config = server_config(composition.api(settings))
    assert (config.timeout_keep_alive, config.timeout_graceful_shutdown) == (5, 7)
    default = server_config(composition.api(load(production)))
    # Above the idle timeout of the load balancers in front, else they use a connection that is just being closed.
    assert default.timeout_keep_alive > 60


def test_request_timeout_and_body_limit(production: dict[str, str]) -> None:
    settings = load(production, REQUEST_TIMEOUT="1500", BODY_LIMIT="2048")
    timeout, body = middleware(settings, "RequestTimeoutMiddleware"), middleware(settings, "BodyLimitMiddleware")
    assert timeout
    assert body
    assert (timeout.kwargs, body.kwargs) == ({"seconds": 1.5}, {"size": 2048})


def test_rate_limit(production: dict[str, str]) -> None:
    found = middleware(load(production, RATE_LIMIT_MAX="5", RATE_LIMIT_TIMEWINDOW="10000"), "RateLimitMiddleware")
    assert found
    limiter: Any = found.kwargs["limiter"]
    assert (limiter.limit, limiter.window_seconds) == (5, 10)
    assert middleware(load(production, ENABLE_RATE_LIMIT="false"), "RateLimitMiddleware") is None


def test_token_claims(production: dict[str, str]) -> None:
    import uuid

    changes = {
        "JWT_ISSUER": "me",
        "JWT_AUDIENCE": "you",
        "JWT_ACCESS_EXPIRES_IN": "30s",
        "JWT_REFRESH_EXPIRES_IN": "2h",
    }
    tokens = Tokens.of(load(production, **changes))
    for text, seconds in (
        (tokens.issue_access(uuid.uuid4()).text, 30),
        (tokens.issue_refresh(uuid.uuid4(), family_id=uuid.uuid4()).text, 7200),
    ):
        claims = jwt.decode(text, options={"verify_signature": False})
        assert (claims["iss"], claims["aud"], claims["exp"] - claims["iat"]) == ("me", "you", seconds)


@pytest.mark.parametrize(
    ("address", "counted_as"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2::%eth0", "2001:db8:1:2::/64"),
        ("unknown", "unknown"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:cb00:7107", "203.0.113.7"),
        ("64:ff9b::203.0.113.7", "203.0.113.7"),
        ("2002:cb00:7107::1", "203.0.113.7"),
        ("2002:cb00:7107:ffff::2", "203.0.113.7"),
        # Server 192.0.2.1, then flags and port, then the client with all bits turned over (RFC 4380).
        ("2001:0:c000:201:8000:63bf:34ff:8ef8", "203.0.113.7"),
        ("2001:0:c000:201:0:fffe:34ff:8ef7", "203.0.113.8"),
        ("64:ff9b:1::203.0.113.7", "64:ff9b:1::cb00:7107"),
        ("64:ff9b:1:cb00:71:700::", "64:ff9b:1:cb00:71:700::"),
    ],
)
def test_what_counts_as_one_address(address: str, counted_as: str) -> None:
    assert network_of(address) == counted_as


def test_a_trusted_network_in_mapped_form_is_the_ipv4_network(production: dict[str, str]) -> None:
    proxies = load(production, TRUSTED_PROXIES="::ffff:10.1.0.0/112, ::ffff:192.0.2.1, fd00::/8, ::/0").trusted_proxies
    assert [str(network) for network in proxies] == ["10.1.0.0/16", "192.0.2.1/32", "fd00::/8", "::/0"]
