"""Refresh tokens in all orders: two tabs at once, lost answers, a copy that is about, and a family that ends meanwhile.

Orders are made, not hoped for: a connection of the test holds the row that the next step needs, and Postgres tells how
many requests wait for a lock.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections import Counter
from contextlib import asynccontextmanager

import anyio
import jwt
import psycopg
import pytest
from sqlalchemy.dialects.postgresql.psycopg import PGDialectAsync_psycopg

from app.accounts.service import REFRESH_GRACE

pytestmark = pytest.mark.anyio

ACCOUNT = {"email": "ann@example.org", "password": "correct horse battery"}


async def refresh(caller, tokens):
    return await caller.http.post("/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})


async def statuses(caller, *tokens):
    return [(await refresh(caller, given)).status_code for given in tokens]


async def chain(caller, length):
    """The pairs of a new login, each but the last used for the next."""
    pairs = [(await caller.http.post("/v1/auth/login", json=ACCOUNT)).json()]
    for _ in range(length - 1):
        pairs.append((await refresh(caller, pairs[-1])).json())
    return pairs


def token_id(tokens):
    return uuid.UUID(jwt.decode(tokens["refresh_token"], options={"verify_signature": False})["jti"])


class Database:
    """The test's own view of the tables, besides the application."""

    def __init__(self, url):
        self.url = url

    async def rows(self, statement, *values):
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            found = await connection.execute(statement, values)
            return await found.fetchall() if found.description else []

    async def age(self, *pairs):
        """As if each of them had been used a moment longer ago than the grace."""
        await self.rows(
            "UPDATE refresh_tokens SET used_at = used_at - %s WHERE id = ANY(%s)",
            REFRESH_GRACE,
            [token_id(pair) for pair in pairs],
        )

    async def live(self):
        found = await self.rows("SELECT id FROM refresh_tokens WHERE used_at IS NULL AND revoked_at IS NULL")
        return {row[0] for row in found}

    @asynccontextmanager
    async def held(self, *pairs):
        """The rows of these tokens, locked for the block, with a way to wait for `count` that wait for a lock."""
        async with await psycopg.AsyncConnection.connect(self.url) as connection:
            ids = [token_id(pair) for pair in pairs]
            await connection.execute("SELECT FROM refresh_tokens WHERE id = ANY(%s) FOR UPDATE", (ids,))
            yield self.waiting

    async def waiting(self, count):
        with anyio.fail_after(20):
            while True:
                ((found,),) = await self.rows(_WAITING)
                if found >= count:
                    return
                await anyio.sleep(0.01)


_WAITING = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND wait_event_type = 'Lock'
"""


@pytest.fixture
def database(migrated_url):
    return Database(migrated_url)


@pytest.fixture
async def replicas(start):
    async with start() as one, start() as other:
        await one.http.post("/v1/auth/register", json=ACCOUNT)
        yield one, other


async def test_all_who_refresh_at_once_get_the_same_token(replicas, database):
    one, other = replicas
    (first,) = await chain(one, 1)
    answers = await asyncio.gather(*(refresh(caller, first) for caller in (one, other) for _ in range(5)))
    assert Counter(answer.status_code for answer in answers) == {200: 10}
    assert len({answer.json()["refresh_token"] for answer in answers}) == 1
    assert await database.live() == {token_id(answers[0].json())}
    # Each has a pair that goes on.
    bearer = {"Authorization": f"Bearer {answers[-1].json()['access_token']}"}
    assert (await one.http.get("/v1/auth/me", headers=bearer)).status_code == 200
    assert await statuses(other, answers[-1].json()) == [200]


async def test_a_repeat_within_the_grace_gives_the_token_again_and_a_later_one_ends_the_family(replicas, database):
    one, other = replicas
    (other_login,) = await chain(one, 1)
    first, second = await chain(one, 2)
    assert (await refresh(other, first)).json()["refresh_token"] == second["refresh_token"]
    await database.age(first)
    assert await statuses(one, first, second) == [401, 401]
    assert await database.live() == {token_id(other_login)}


async def test_a_repeat_does_not_make_the_grace_longer(replicas, database):
    one, _ = replicas
    (first, _) = await chain(one, 2)
    assert await statuses(one, first, first) == [200, 200]
    before = await database.rows("SELECT used_at FROM refresh_tokens WHERE id = %s", token_id(first))
    assert await statuses(one, first) == [200]
    assert await database.rows("SELECT used_at FROM refresh_tokens WHERE id = %s", token_id(first)) == before


async def test_within_the_grace_a_token_leads_to_the_end_of_its_chain(replicas, database):
    """A third tab that was slower than two rounds of the others."""
    one, other = replicas
    first, second, third = await chain(one, 3)
    for used in (first, second):
        assert (await refresh(other, used)).json()["refresh_token"] == third["refresh_token"]
    assert await database.live() == {token_id(third)}


async def test_a_thief_within_the_grace_is_found_out_when_the_owner_goes_on(replicas, database):
    one, _ = replicas
    first, owners = await chain(one, 2)
    thiefs = (await refresh(one, first)).json()
    assert token_id(thiefs) == token_id(owners)
    assert await statuses(one, owners) == [200]
    await database.age(owners)
    assert await statuses(one, thiefs) == [401]
    assert await database.live() == set()


async def test_the_client_repeats_when_the_answer_to_the_commit_was_lost(replicas, database, monkeypatch):
    one, other = replicas
    (first,) = await chain(one, 1)

    def commit_and_lose(_, connection):
        connection.commit()
        raise psycopg.OperationalError("the connection was closed in the middle of the answer")

    with monkeypatch.context() as patched:
        patched.setattr(PGDialectAsync_psycopg, "do_commit", commit_and_lose)
        lost = await refresh(one, first)
    assert (lost.status_code, "retry-after" in lost.headers) == (503, True)
    assert int(lost.headers["retry-after"]) < REFRESH_GRACE.total_seconds()
    (stored,) = await database.live()
    repeated = await refresh(other, first)
    assert (repeated.status_code, token_id(repeated.json())) == (200, stored)
    assert await statuses(one, repeated.json()) == [200]


async def test_the_client_repeats_when_nothing_was_committed(replicas, database, monkeypatch):
    one, other = replicas
    (first,) = await chain(one, 1)

    def lose(_, connection):
        connection.rollback()
        raise psycopg.OperationalError("the connection was closed in the middle of the statement")

    with monkeypatch.context() as patched:
        patched.setattr(PGDialectAsync_psycopg, "do_commit", lose)
        assert await statuses(one, first) == [503]
    assert await database.live() == {token_id(first)}
    assert await statuses(other, first) == [200]


async def test_two_that_wait_for_the_same_row_get_the_same_token(replicas, database):
    one, other = replicas
    (first,) = await chain(one, 1)
    async with database.held(first) as waiting:
        pending = [asyncio.create_task(refresh(caller, first)) for caller in (one, other)]
        await waiting(2)
    answers = [await task for task in pending]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert await database.live() == {token_id(answers[0].json())} == {token_id(answers[1].json())}


@pytest.mark.parametrize("first_comes", ["the refresh", "the replay"])
async def test_a_family_that_ends_while_it_is_refreshed_has_ended(replicas, database, first_comes):
    """Of the two one waits for the other. What the refresh made is revoked too, whichever comes first."""
    one, other = replicas
    stolen, _, live = await chain(one, 3)
    await database.age(stolen)
    order = [(one, live), (other, stolen)] if first_comes == "the refresh" else [(other, stolen), (one, live)]
    async with database.held(live) as waiting:
        pending = []
        for caller, tokens in order:
            pending.append(asyncio.create_task(refresh(caller, tokens)))
            await waiting(len(pending))
    answers = [(await task).status_code for task in pending]
    assert answers == ([200, 401] if first_comes == "the refresh" else [401, 401])
    assert await database.live() == set()


async def test_two_replays_at_once_do_not_wait_for_each_other_forever(replicas, database):
    one, other = replicas
    *used, _ = await chain(one, 5)
    await database.age(*used)
    async with database.held(*used) as waiting:
        pending = [
            asyncio.create_task(refresh(caller, tokens))
            for caller, tokens in zip((one, other, one, other), used, strict=True)
        ]
        await waiting(4)
    assert [(await task).status_code for task in pending] == [401] * 4
    assert await database.live() == set()


@pytest.mark.parametrize("repeats", [False, True])
async def test_a_family_that_is_revoked_during_a_refresh_is_not_refreshed(replicas, database, repeats):
    """By hand, or by whatever will log out one day."""
    one, _ = replicas
    pairs = await chain(one, 2)
    given = pairs[0] if repeats else pairs[1]
    async with await psycopg.AsyncConnection.connect(database.url) as connection:
        await connection.execute("UPDATE refresh_tokens SET revoked_at = now() WHERE revoked_at IS NULL")
        pending = asyncio.create_task(refresh(one, given))
        await database.waiting(1)
    assert (await pending).status_code == 401
    assert await database.live() == set()


async def test_a_login_beside_a_refresh_of_another_family(replicas, database):
    one, other = replicas
    (first,) = await chain(one, 1)
    async with database.held(first) as waiting:
        pending = asyncio.create_task(refresh(one, first))
        await waiting(1)
        login = asyncio.create_task(other.http.post("/v1/auth/login", json=ACCOUNT))
        await waiting(2)
    answers = [await pending, await login]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert await database.live() == {token_id(answer.json()) for answer in answers}


@pytest.mark.parametrize("age", [0, 61])
async def test_a_successor_that_the_version_before_made_is_given_again(replicas, database, age):
    """It marks and inserts the same, holding the row of the token alone."""
    one, _ = replicas
    (first,) = await chain(one, 1)
    successor = uuid.uuid4()
    async with await psycopg.AsyncConnection.connect(database.url) as connection:
        await connection.execute("SELECT FROM refresh_tokens WHERE id = %s FOR UPDATE", (token_id(first),))
        pending = asyncio.create_task(refresh(one, first))
        await database.waiting(1)
        await connection.execute(
            "UPDATE refresh_tokens SET used_at = now() - make_interval(secs => %s) WHERE id = %s",
            (age, token_id(first)),
        )
        await connection.execute(
            "INSERT INTO refresh_tokens (id, user_id, family_id, expires_at)"
            " SELECT %s, user_id, family_id, expires_at FROM refresh_tokens WHERE id = %s",
            (successor, token_id(first)),
        )
    answer = await pending
    if age:
        assert (answer.status_code, await database.live()) == (401, set())
    else:
        assert (answer.status_code, token_id(answer.json())) == (200, successor)
        assert await statuses(one, answer.json()) == [200]


@pytest.mark.parametrize("life", ["1h", "30d"])
async def test_the_life_of_tokens_changes_between_a_use_and_its_repeat(start, life):
    async with start() as before, start(JWT_REFRESH_EXPIRES_IN=life) as after:
        await before.http.post("/v1/auth/register", json=ACCOUNT)
        first, second = await chain(before, 2)
        repeated = (await refresh(after, first)).json()
        assert token_id(repeated) == token_id(second)
        assert await statuses(after, repeated) == [200]


async def test_another_account_cannot_repeat_it(replicas, environ):
    one, _ = replicas
    first, _ = await chain(one, 2)
    claims = jwt.decode(first["refresh_token"], options={"verify_signature": False})
    forged = jwt.encode(
        {**claims, "sub": str(uuid.uuid4())}, environ["JWT_SECRET"], headers={"kid": "default", "typ": "rt+jwt"}
    )
    assert await statuses(one, {"refresh_token": forged}, {"refresh_token": secrets.token_urlsafe(20)}) == [401, 401]
