"""/health and /metrics in each state of what lies behind them."""

from __future__ import annotations

import asyncio
import socket
import time
from importlib.util import find_spec

import psycopg
import pytest

from app.migrations import revisions

pytestmark = pytest.mark.anyio

NO_DATABASE = "postgresql://nobody@127.0.0.1:1/none"


async def test_healthy(start):
    async with start(SERVICE_VERSION="1.2.3") as caller:
        answer = await caller.http.get("/health")
    body = answer.json()
    assert answer.status_code == 200
    assert (body["status"], body["version"], body["problems"]) == ("healthy", "1.2.3", [])
    assert body["services"] == {"database": "available", "redis": "available"}
    assert set(body) == {"status", "timestamp", "uptime", "version", "services", "problems"}
    assert body["uptime"] >= 0


async def test_without_the_database_it_cannot_serve(start):
    async with start(DATABASE_URL=NO_DATABASE) as caller:
        answer = await caller.http.get("/health")
        live = await caller.http.get("/health/live")
        login = await caller.http.post("/v1/auth/login", json={"email": "a@example.org", "password": "x" * 12})
    assert (answer.status_code, answer.json()["status"]) == (503, "unhealthy")
    assert answer.json()["services"] == {"database": "unavailable", "redis": "available"}
    assert live.status_code == 200
    assert (login.status_code, login.headers["retry-after"]) == (503, "2")
    assert "127.0.0.1" not in login.text


async def test_without_redis_it_is_degraded_and_serves(start, tmp_path):
    async with start(REDIS_URL=f"unix://{tmp_path}/none.sock") as caller:
        answer = await caller.http.get("/health")
    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert answer.json()["services"] == {"database": "available", "redis": "unavailable"}


async def test_without_tables(start, migrated_url):
    with psycopg.connect(migrated_url) as connection:
        connection.execute("DROP TABLE alembic_version")
    async with start() as caller:
        answer = await caller.http.get("/health")
    assert answer.status_code == 503
    assert answer.json()["problems"] == ["database: it has no tables, run MODE=migrate"]


async def test_with_an_older_schema(start, migrated_url, monkeypatch):
    here = revisions.HEAD
    monkeypatch.setattr("app.migrations.revisions.KNOWN", (here, "9999"))
    monkeypatch.setattr("app.migrations.revisions.HEAD", "9999")
    async with start() as caller:
        answer = await caller.http.get("/health")
    assert answer.status_code == 503
    assert answer.json()["problems"] == [
        f"database: the schema is at {here}, this version needs 9999: run MODE=migrate"
    ]


async def test_with_a_newer_schema_it_serves(start, migrated_url):
    with psycopg.connect(migrated_url) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    async with start() as caller:
        assert (await caller.http.get("/health")).status_code == 200


async def test_draining(start):
    async with start() as caller:
        before = await caller.http.get("/health")
        caller.api.drain.begin()
        health, other = await caller.http.get("/health"), await caller.http.get("/health/live")
    assert "connection" not in before.headers
    assert (health.status_code, health.json()["problems"]) == (503, ["shutting down"])
    assert (other.status_code, other.headers["connection"]) == (200, "close")


async def test_one_look_serves_many_probes(start, migrated_url):
    def looks() -> int:
        with psycopg.connect(migrated_url) as connection:
            query = (
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            row = connection.execute(query).fetchone()
            assert row
            return int(row[0])

    async with start() as caller:
        answers = await asyncio.gather(*(caller.http.get("/health") for _ in range(30)))
        assert looks() == 1
    assert {a.status_code for a in answers} == {200}


async def test_pools_heal_after_the_database_dropped_its_connections(start, migrated_url):
    async with start() as caller:
        user = await caller.as_user()
        with psycopg.connect(migrated_url, autocommit=True) as connection:
            query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"  # noqa: E501
            connection.execute(query)
        # For so long a connection is taken for a good one after it was used.
        await asyncio.sleep(0.15)
        assert (await caller.http.get("/v1/auth/me", headers=user)).status_code == 200
        assert (await caller.http.get("/health")).status_code == 200


async def test_a_connection_that_breaks_between_two_requests_costs_the_second_one_a_503(start, migrated_url):
    async with start() as caller:
        user = await caller.as_user()
        with psycopg.connect(migrated_url, autocommit=True) as connection:
            await caller.http.get("/v1/auth/me", headers=user)
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        statuses = [(await caller.http.get("/v1/auth/me", headers=user)).status_code for _ in range(3)]
    assert statuses[0] in (200, 503)
    assert statuses[1:] == [200, 200]


@pytest.mark.flips("enable_swagger", "enable_metrics", "enable_health_check")
async def test_the_switches_of_the_routes(start):
    async with start(ENABLE_HEALTH_CHECK="false") as caller:
        paths = ("/health", "/health/live", "/metrics", "/docs", "/openapi.json")
        assert [(await caller.http.get(path)).status_code for path in paths] == [404, 200, 404, 404, 404]
    async with start(ENABLE_METRICS="true", ENABLE_SWAGGER="true") as caller:
        page = 200 if find_spec("offapi") else 503
        assert [(await caller.http.get(path)).status_code for path in paths] == [200, 200, 200, page, 200]


async def test_metrics(start, migrated_url, tmp_path):
    async with start(ENABLE_METRICS="true", REDIS_URL=f"unix://{tmp_path}/none.sock", EMF_QUEUES="mail") as caller:
        user = await caller.as_user()
        location = (
            await caller.http.post("/v1/deliveries", json={"url": "https://a.example.org", "payload": 1}, headers=user)
        ).headers["location"]
        await caller.http.get(location, headers=user)
        await caller.http.get("/wp-login.php")
        await caller.http.request("SCAN", "/health/live")
        text = (await caller.http.get("/metrics")).text
    lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert lines['http_requests_total{method="GET",route="/v1/deliveries/{id}",status="200"}'] == "1.0"
    assert lines['http_requests_total{method="GET",route="unmatched",status="404"}'] == "1.0"
    assert lines['http_requests_total{method="other",route="/health/live",status="405"}'] == "1.0"
    assert lines["http_requests_in_flight"] == "1.0"
    assert lines['slipway_outbox_unsent{queue="webhook-processor"}'] == "1.0"
    assert lines['slipway_jobs_open{queue="webhook-processor",state="due"}'] == "1.0"
    assert lines['slipway_jobs_open{queue="mail",state="due"}'] == "0.0"
    assert float(lines['slipway_jobs_oldest_due_seconds{queue="webhook-processor"}']) > 0
    assert lines['slipway_service_up{service="redis"}'] == "0.0"
    assert float(lines["slipway_rate_limit_skipped_total"]) >= 4
    assert "slipway_nudge_failures_total" in lines


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
async def test_metrics_are_not_told_through_a_load_balancer(start, header):
    async with start(ENABLE_METRICS="true") as caller:
        answer = await caller.http.get("/metrics", headers={header: "203.0.113.7"})
    assert answer.status_code == 404
    assert "slipway" not in answer.text


async def test_documentation_page_without_its_files_says_so(start, monkeypatch):
    monkeypatch.setattr("app.web.docs._assets", lambda: None)
    async with start(ENABLE_SWAGGER="true") as caller:
        page, script = await caller.http.get("/docs"), await caller.http.get("/docs/swagger-ui.js")
    assert (page.status_code, script.status_code) == (503, 404)
    assert "/openapi.json is there" in page.json()["detail"]


@pytest.mark.skipif(find_spec("offapi") is None, reason="the package offapi, which brings Swagger UI, is not installed")
async def test_documentation_page_needs_no_other_origin(start):
    async with start(ENABLE_SWAGGER="true") as caller:
        page = await caller.http.get("/docs")
        document = (await caller.http.get("/openapi.json")).json()
        script = await caller.http.get("/docs/swagger-ui.js")
        unknown = await caller.http.get("/docs/__init__.py")
    assert "//" not in page.text
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert (script.status_code, unknown.status_code) == (200, 404)
    assert "/v1/deliveries/{id}/retry" in document["paths"]


async def test_servers_that_accept_and_say_nothing_cost_a_bounded_time(start):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        silent_urls = {"DATABASE_URL": f"postgresql://x@127.0.0.1:{port}/x", "REDIS_URL": f"redis://127.0.0.1:{port}"}
        async with start(**silent_urls) as caller:
            begin = time.monotonic()
            answer = await caller.http.get("/health")
            health_seconds = time.monotonic() - begin
            begin = time.monotonic()
            for _ in range(5):
                assert (await caller.http.get("/v1/auth/me")).status_code == 401
            limited_seconds = time.monotonic() - begin
    assert answer.status_code == 503
    assert answer.json()["services"] == {"database": "unavailable", "redis": "unavailable"}
    assert health_seconds < 2
    assert limited_seconds < 1


async def test_a_busy_pool_is_not_a_database_that_is_down(start, migrated_url):
    async with start(DATABASE_POOL_SIZE="1", DATABASE_MAX_OVERFLOW="0", DATABASE_POOL_TIMEOUT="100") as caller:
        user = await caller.as_user()
        with psycopg.connect(migrated_url) as connection:
            connection.execute("LOCK TABLE users")
            held = asyncio.create_task(caller.http.get("/v1/auth/me", headers=user))
            await asyncio.sleep(0.05)
            refused = await caller.http.get("/v1/auth/me", headers=user)
            health = await caller.http.get("/health")
        assert (await held).status_code == 200
    assert refused.status_code == 503
    assert health.status_code == 200
