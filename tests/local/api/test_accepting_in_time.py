"""Requests whose time is over while their delivery waits, or is under way at the database."""

from __future__ import annotations

import asyncio
import uuid

import httpx2
import psycopg
import pytest
from fake_provider import INPUT, MODEL
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg
from sqlalchemy.util import await_only

from app.deliveries import queries
from app.web.connections import IS_DISCONNECTED

pytestmark = pytest.mark.anyio

SHORT = {"REQUEST_TIMEOUT": "700"}


def body(order: int) -> dict[str, object]:
    return {"url": "https://receiver.example.org/hook", "payload": order}


def stored(url: str) -> list[int]:
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT payload FROM deliveries JOIN jobs ON subject_id = deliveries.id").fetchall()
    return sorted(payload for (payload,) in found)


async def test_what_was_refused_while_the_table_was_locked_is_not_stored_later(start, migrated_url):
    """The first two are at the database, the others wait for them; before, all nine were stored."""
    async with start() as caller:
        user = await caller.as_user()
    async with start(**SHORT) as caller:
        with psycopg.connect(migrated_url) as blocker:
            blocker.execute("LOCK TABLE deliveries")
            refused = await asyncio.gather(
                *(caller.http.post("/v1/deliveries", json=body(order), headers=user) for order in range(9))
            )
        last = await caller.http.post("/v1/deliveries", json=body(100), headers=user)

    assert [answer.status_code for answer in refused] == [503] * 9
    assert {answer.json()["detail"] for answer in refused} == {"the request took longer than 0.7 s"}
    assert last.status_code == 202
    assert stored(migrated_url) == [100]


async def test_one_that_waits_for_a_lock_keeps_only_itself_waiting(start, migrated_url):
    """The same Idempotency-Key is under way elsewhere. Whoever goes with it is tried again without it."""
    async with start() as caller:
        user = await caller.as_user()
    async with start(REQUEST_TIMEOUT="2000") as caller:

        async def post(order: int, key: str) -> int:
            headers = {**user, "Idempotency-Key": key}
            return (await caller.http.post("/v1/deliveries", json=body(order), headers=headers)).status_code

        with psycopg.connect(migrated_url) as elsewhere:
            for key in ("one", "two"):
                elsewhere.execute(
                    "INSERT INTO deliveries (id, user_id, url, payload, headers, max_attempts, idempotency_key)"
                    " SELECT %s, id, '', 'null', '{}', 1, %s FROM users",
                    [uuid.uuid4(), key],
                )
            blocked = [asyncio.create_task(post(order, key)) for order, key in ((1, "one"), (2, "two"))]
            # They come long after those two, so that their own time is over long after.
            await asyncio.sleep(1)
            others = [asyncio.create_task(post(order, f"other-{order}")) for order in range(3, 9)]
            assert [await task for task in (*blocked, *others)] == [503, 503, *[202] * 6]
            elsewhere.rollback()

    assert stored(migrated_url) == [*range(3, 9)]


async def test_a_commit_whose_answer_comes_as_the_time_is_over_is_told_as_one(start, migrated_url, monkeypatch):
    committed = asyncio.Event()
    add = queries.add

    async def slow_answer(*args, **options):
        added = await add(*args, **options)
        committed.set()
        # Held back until the request's time is over: the request to cancel finds no statement any more.
        await asyncio.sleep(0.3)
        return added

    async with start() as caller:
        user = await caller.as_user()
    async with start(REQUEST_TIMEOUT="150") as caller:
        monkeypatch.setattr(queries, "add", slow_answer)
        answer = await caller.http.post("/v1/deliveries", json=body(1), headers=user)

    assert committed.is_set()
    assert answer.status_code == 202
    assert stored(migrated_url) == [1]


async def test_when_nothing_is_known_the_caller_is_told_what_to_do(start, migrated_url, monkeypatch):
    """The database says nothing at all, neither to the statement nor to the request to cancel it."""

    async def silent(*args, **options):
        await asyncio.Event().wait()

    async with start() as caller:
        user = await caller.as_user()
    async with start(REQUEST_TIMEOUT="150") as caller:
        with monkeypatch.context() as patch:
            patch.setattr(queries, "add", silent)
            lost = [await caller.http.post("/v1/deliveries", json=body(order), headers=user) for order in range(3)]
        after = await caller.http.post("/v1/deliveries", json=body(9), headers=user)

    assert {answer.status_code for answer in lost} == {503}
    assert all("it is not known whether the delivery was accepted" in answer.json()["detail"] for answer in lost)
    assert {answer.headers["connection"] for answer in lost} == {"close"}
    # Three statements that hung would have kept both workers for good.
    assert after.status_code == 202


async def test_what_a_client_sent_that_has_closed_its_connection_is_not_stored(start, migrated_url):
    async with start() as caller:
        user = await caller.as_user()

        async def closed(scope, receive, send):
            await caller.http._transport.app({**scope, IS_DISCONNECTED: lambda: True}, receive, send)

        transport = httpx2.ASGITransport(app=closed, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://api") as gone:
            with pytest.raises(AssertionError):  # there is no answer
                await gone.post("/v1/deliveries", json=body(1), headers=user)
        await caller.http.post("/v1/deliveries", json=body(2), headers=user)

    assert stored(migrated_url) == [2]


@pytest.fixture
def slow_commits(monkeypatch):
    """The answer to a commit is held back until the request's time is over."""

    def hold_back() -> None:
        commit = PGDialectAsync_psycopg.do_commit

        def slow(dialect, connection):
            commit(dialect, connection)
            await_only(asyncio.sleep(0.3))

        monkeypatch.setattr(PGDialectAsync_psycopg, "do_commit", slow)

    return hold_back


@pytest.mark.feature("predictions")
async def test_any_request_whose_time_ends_at_its_commit_is_answered_by_the_outcome(start, migrated_url, slow_commits):
    """Told 503, a caller without a key had a second prediction with his next try."""
    settings = {"REPLICATE_API_KEY": "r8_test"}
    prediction = {"provider": "replicate", "model": MODEL["replicate"], "input": INPUT["replicate"]}
    async with start(**settings) as caller:
        user = await caller.as_user()
        accepted = (await caller.http.post("/v1/deliveries", json=body(1), headers=user)).json()
    with psycopg.connect(migrated_url) as connection:
        connection.execute("UPDATE deliveries SET status = 'failed'")
    async with start(**settings, REQUEST_TIMEOUT="150") as caller:
        slow_commits()
        made = await caller.http.post("/v1/predictions", json=prediction, headers=user)
        again = await caller.http.post(f"/v1/deliveries/{accepted['id']}/retry", headers=user)
        canceled = await caller.http.post(f"/v1/predictions/{made.json().get('id')}/cancel", headers=user)

    assert [made.status_code, again.status_code, canceled.json()["status"]] == [202, 202, "canceled"]


async def test_an_account_and_its_login_whose_time_ends_at_their_commit_are_answered(start, slow_commits):
    """Told 503, somebody registered again and heard that the address is taken; a login left a token nobody has."""
    person = {"email": "late@example.com", "password": "correct horse battery staple"}
    async with start(REQUEST_TIMEOUT="400") as caller:
        slow_commits()
        made = await caller.http.post("/v1/auth/register", json=person)
        entered = await caller.http.post("/v1/auth/login", json=person)
        refreshed = await caller.http.post(
            "/v1/auth/refresh", json={"refresh_token": entered.json().get("refresh_token")}
        )
    assert [made.status_code, entered.status_code, refreshed.status_code] == [201, 200, 200]
