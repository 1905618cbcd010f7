"""Requests while Postgres takes no writes: a failover that left our sessions with the old primary."""

from __future__ import annotations

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from app.accounts import queries

pytestmark = pytest.mark.anyio

DELIVERY = {"url": "https://receiver.example.org/hook", "payload": {"order": 7}}


async def test_what_writes_is_asked_to_come_again_and_what_reads_is_answered(start, demoted, monkeypatch):
    monkeypatch.setattr("app.web.health.CACHE_SECONDS", 0.0)
    async with start() as caller:
        user = await caller.as_user()
        accepted = await caller.http.post("/v1/deliveries", json=DELIVERY, headers=user)
        account = {"email": "other@example.org", "password": "correct horse battery"}
        with demoted():
            refused = [
                await caller.http.post("/v1/deliveries", json=DELIVERY, headers=user),
                await caller.http.post("/v1/auth/register", json=account),
                await caller.http.post(f"{accepted.headers['location']}/retry", headers=user),
            ]
            found = await caller.http.get(accepted.headers["location"], headers=user)
            ill = await caller.http.get("/health")
        well = await caller.http.get("/health")
        again = await caller.http.post("/v1/deliveries", json=DELIVERY, headers=user)

    assert [(answer.status_code, answer.headers.get("retry-after")) for answer in refused] == [(503, "2")] * 3
    assert "takes no writes" in refused[0].json()["detail"]
    assert found.status_code == 200
    assert ill.status_code == 503
    assert ill.json()["problems"] == ["database: it takes no writes: it is a standby, or was demoted"]
    assert (well.status_code, again.status_code) == (200, 202)


async def test_a_role_that_may_only_read_is_no_health(start, migrated_url):
    with psycopg.connect(migrated_url, autocommit=True) as owner:
        owner.execute("DROP ROLE IF EXISTS only_reads")
        owner.execute("CREATE ROLE only_reads LOGIN")
        owner.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO only_reads")
        try:
            async with start(DATABASE_URL=migrated_url.replace("//postgres@", "//only_reads@")) as caller:
                answer = await caller.http.get("/health")
        finally:
            owner.execute("DROP OWNED BY only_reads")
            owner.execute("DROP ROLE only_reads")
    assert (answer.status_code, answer.json()["problems"]) == (
        503,
        ["database: this role may not read and write the tables"],
    )


async def test_a_request_that_lost_a_deadlock_is_done_again_whole(start, monkeypatch):
    add, failures = queries.add_account, [OperationalError("", {}, psycopg.errors.DeadlockDetected("")) for _ in "12"]

    async def crossed(*args, **kwargs):
        if failures:
            raise failures.pop()
        return await add(*args, **kwargs)

    monkeypatch.setattr(queries, "add_account", crossed)
    async with start() as caller:
        user = await caller.as_user()
        assert (await caller.http.get("/v1/auth/me", headers=user)).status_code == 200
    assert not failures
