"""Settings of the API that no other test here flips: each with two values and what differs."""

from __future__ import annotations

import asyncio
import json
import socket
import time
import uuid

import psycopg
import pytest
import redis

pytestmark = pytest.mark.anyio

ACCOUNT = {"email": "ann@example.org", "password": "correct horse battery"}
DELIVERY = {"url": "https://receiver.example.org/hook", "payload": 1}


@pytest.mark.flips("service_version", "service_name")
async def test_what_the_service_calls_itself(start):
    shown = []
    for name, version in (("shop", "1.2.3"), ("till", "2.0.0")):
        async with start(ENABLE_SWAGGER="true", SERVICE_NAME=name, SERVICE_VERSION=version) as caller:
            health = (await caller.http.get("/health")).json()
            info = (await caller.http.get("/openapi.json")).json()["info"]
        shown.append((info["title"], info["version"], health["version"]))
    assert shown == [("shop", "1.2.3", "1.2.3"), ("till", "2.0.0", "2.0.0")]


@pytest.mark.flips("database_url")
async def test_accounts_live_in_the_database_that_is_named(start, migrated_url, postgres_server, migrated_template):
    other = f"other_{uuid.uuid4().hex}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {other} TEMPLATE {migrated_template}")
        try:
            for url in (migrated_url, postgres_server.replace("/postgres?", f"/{other}?")):
                async with start(DATABASE_URL=url) as caller:
                    assert (await caller.http.post("/v1/auth/login", json=ACCOUNT)).status_code == 401
                    await caller.http.post("/v1/auth/register", json=ACCOUNT)
                    assert (await caller.http.post("/v1/auth/login", json=ACCOUNT)).status_code == 200
        finally:
            connection.execute(f"DROP DATABASE {other} WITH (FORCE)")


@pytest.mark.flips("redis_url", "queue_name", "queue_job_timeout")
@pytest.mark.parametrize(
    ("database", "queue", "seconds"), [(0, "webhook-processor", 100), (1, "webhook-processor", 50), (0, "other", 20)]
)
async def test_where_a_job_is_announced(start, redis_url, until, database, queue, seconds):
    changes = {
        "REDIS_URL": f"{redis_url}?db={database}",
        "QUEUE_NAME": queue,
        "QUEUE_JOB_TIMEOUT": str(seconds * 1000),
    }
    async with start(**changes) as caller:
        await caller.http.post("/v1/deliveries", json=DELIVERY, headers=await caller.as_user())
        with redis.Redis.from_url(redis_url, db=database) as client:
            until(lambda: client.llen(f"rq:queue:{queue}") == 1)
            [job] = client.lrange(f"rq:queue:{queue}", 0, -1)
            assert client.hget(f"rq:job:{job.decode()}", "timeout") == str(seconds).encode()
            assert len(client.keys("rq:queue:*")) == 1


@pytest.mark.flips("database_pool_size", "database_max_overflow", "database_pool_timeout")
@pytest.mark.parametrize(
    ("size", "overflow", "wait", "status"),
    [("1", "0", "100", 503), ("2", "0", "100", 200), ("1", "1", "100", 200), ("1", "0", "5000", 200)],
)
async def test_how_many_connections_there_are_and_how_long_one_is_waited_for(
    start, migrated_url, size, overflow, wait, status
):
    pool = {"DATABASE_POOL_SIZE": size, "DATABASE_MAX_OVERFLOW": overflow, "DATABASE_POOL_TIMEOUT": wait}
    async with start(**pool) as caller:
        user = await caller.as_user()
        with psycopg.connect(migrated_url) as connection:
            connection.execute("LOCK TABLE users")
            held = asyncio.create_task(caller.http.get("/v1/auth/me", headers=user))
            await asyncio.sleep(0.05)
            other = asyncio.create_task(caller.http.get("/v1/deliveries", headers=user))
            await asyncio.wait([other], timeout=0.5 if wait == "5000" else 20)
        assert (await held).status_code == 200
        assert (await other).status_code == status


@pytest.mark.flips("request_timeout")
@pytest.mark.parametrize(("milliseconds", "status"), [("200", 503), ("20000", 200)])
async def test_a_request_gets_so_much_time(start, migrated_url, milliseconds, status):
    async with start() as caller:
        user = await caller.as_user()
    async with start(REQUEST_TIMEOUT=milliseconds) as caller:
        with psycopg.connect(migrated_url) as connection:
            connection.execute("LOCK TABLE users")
            asked = asyncio.create_task(caller.http.get("/v1/auth/me", headers=user))
            await asyncio.wait([asked], timeout=20 if status == 503 else 0.6)
        answer = await asked
        assert answer.status_code == status
        if status == 503:
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["connection"] == "close"


@pytest.mark.flips("jwt_secret", "jwt_issuer", "jwt_audience", "jwt_access_expires_in", "jwt_refresh_expires_in")
@pytest.mark.parametrize(
    "change", [{}, {"JWT_SECRET": "0123456789abcdef" * 4}, {"JWT_ISSUER": "other"}, {"JWT_AUDIENCE": "other"}]
)
async def test_tokens_of_another_service_are_refused(start, change):
    async with start(JWT_ACCESS_EXPIRES_IN="60s", JWT_REFRESH_EXPIRES_IN="2h") as caller:
        await caller.as_user()
        tokens = (await caller.http.post("/v1/auth/login", json={**ACCOUNT, "email": "someone@example.org"})).json()
    assert tokens["expires_in"] == 60
    async with start(**change) as caller:
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        me = await caller.http.get("/v1/auth/me", headers=bearer)
        refreshed = await caller.http.post("/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert (me.status_code, refreshed.status_code) == ((401, 401) if change else (200, 200))
    assert change or refreshed.json()["expires_in"] == 900


@pytest.mark.flips("trusted_proxies")
@pytest.mark.parametrize(("proxies", "second"), [("127.0.0.0/8", 401), ("", 429), ("10.0.0.0/8", 429)])
async def test_whose_word_counts_for_the_client_address(start, proxies, second):
    async with start(RATE_LIMIT_MAX="1", TRUSTED_PROXIES=proxies) as caller:
        answers = [
            (await caller.http.get("/v1/auth/me", headers={"X-Forwarded-For": f"203.0.113.{n}"})).status_code
            for n in (1, 2)
        ]
    assert answers == [401, second]


@pytest.mark.flips("body_limit")
@pytest.mark.parametrize(("limit", "status"), [("2000", 413), ("4000", 422)])
async def test_how_large_a_body_may_be(start, limit, status):
    async with start(BODY_LIMIT=limit) as caller:
        answer = await caller.http.post("/v1/auth/register", json={"email": "x" * 3000})
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.flips("host", "port")
def test_where_it_listens(spawn, until, asking):
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        ports = [bound.getsockname()[1] for bound in (one, two)]
    wide = spawn(PORT=str(ports[0]))
    narrow = spawn(HOST="127.0.0.1", PORT=str(ports[1]))
    for replica, host, port in ((wide, "0.0.0.0", ports[0]), (narrow, "127.0.0.1", ports[1])):
        until(lambda port=port: asking(port, "/health/live")[0] == 200)
        address = f"http://{host}:{port}"
        assert replica.lines()[0]["addresses"] == [address]
        assert replica.stop() == 0


@pytest.mark.flips("keep_alive_timeout")
def test_how_long_an_idle_connection_lives(spawn, listener, until, asking):
    spawn(listeners=[listener], KEEP_ALIVE_TIMEOUT="1000")
    until(lambda: asking(listener.getsockname()[1], "/health/live")[0] == 200)
    with socket.create_server(("127.0.0.1", 0)) as patient:
        spawn(listeners=[patient], KEEP_ALIVE_TIMEOUT="60000")
        until(lambda: asking(patient.getsockname()[1], "/health/live")[0] == 200)
        seconds = []
        for address in (listener.getsockname(), patient.getsockname()):
            with socket.create_connection(address, timeout=5) as idle:
                idle.sendall(b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")
                assert idle.recv(65536).startswith(b"HTTP/1.1 200")
                begin = time.monotonic()
                try:
                    while idle.recv(65536):
                        pass
                    seconds.append(time.monotonic() - begin)
                except TimeoutError:
                    seconds.append(None)
    assert seconds[0] is not None
    assert 0.5 < seconds[0] < 5
    assert seconds[1] is None


@pytest.mark.flips("shutdown_drain")
def test_how_long_it_goes_on_answering(spawn, until, asking):
    for drain, answers in (("0", False), ("20000", True)):
        with socket.create_server(("127.0.0.1", 0)) as bound:
            port = bound.getsockname()[1]
            replica = spawn(listeners=[bound], SHUTDOWN_DRAIN=drain)
            until(lambda port=port: asking(port)[0] == 200)
            replica.popen.terminate()
            if answers:
                until(lambda port=port: asking(port)[0] == 503)
                assert replica.popen.poll() is None
                replica.popen.terminate()
            replica.popen.wait(10)


@pytest.mark.flips("log_level", "log_format")
@pytest.mark.parametrize(
    ("level", "form", "json_lines", "seen"),
    [("info", "json", True, True), ("error", "json", True, False), ("info", "text", False, True)],
)
def test_what_the_log_holds_and_how(spawn, listener, until, asking, level, form, json_lines, seen):
    replica = spawn(listeners=[listener], LOG_LEVEL=level, LOG_FORMAT=form)
    until(lambda: asking(listener.getsockname()[1], "/v1/auth/me")[0] == 401)
    assert replica.stop() == 0
    text = replica.log.read_text()
    assert ("/v1/auth/me" in text) == seen
    lines = text.splitlines()
    if json_lines:
        assert all(json.loads(line) for line in lines)
    else:
        assert not any(line.startswith("{") for line in lines)
