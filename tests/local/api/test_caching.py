"""ETags: what a client may keep, when it is told that it still holds, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event

pytestmark = pytest.mark.anyio

DELIVERY = {"url": "https://receiver.example.org/hook", "payload": {"order": 7}}
ATTEMPT = (
    "INSERT INTO delivery_attempts (delivery_id, number, started_at, duration_ms)"
    " SELECT id, 1, now(), 1 FROM deliveries"
)


def change(url: str, statement: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(statement)


@contextmanager
def statements() -> Iterator[list[str]]:
    seen: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(Engine, "before_cursor_execute", note)


async def accepted(caller: Any, user: dict[str, str], payload: Any = 7) -> str:
    answer = await caller.http.post("/v1/deliveries", json={**DELIVERY, "payload": payload}, headers=user)
    return str(answer.headers["location"])


async def test_a_delivery_that_has_not_changed_is_not_sent_again(start):
    async with start() as caller:
        user = await caller.as_user()
        location = await accepted(caller, user)
        first = await caller.http.get(location, headers=user)
        again = await caller.http.get(location, headers={**user, "If-None-Match": first.headers["etag"]})
    assert first.headers["etag"].startswith('W/"')
    assert first.headers["cache-control"] == again.headers["cache-control"] == "private, no-cache"
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    assert not {"content-type", "content-length"} & set(again.headers)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE deliveries SET status = 'delivering', updated_at = clock_timestamp()",
        "UPDATE deliveries SET updated_at = updated_at + interval '1 microsecond'",
        ATTEMPT,
    ],
)
async def test_one_that_has_changed_is(start, migrated_url, statement):
    async with start() as caller:
        user = await caller.as_user()
        location = await accepted(caller, user)
        etag = (await caller.http.get(location, headers=user)).headers["etag"]
        change(migrated_url, statement)
        changed = await caller.http.get(location, headers={**user, "If-None-Match": etag})
        again = await caller.http.get(location, headers={**user, "If-None-Match": changed.headers["etag"]})
    assert (changed.status_code, again.status_code) == (200, 304)
    assert changed.headers["etag"] != etag


async def test_every_replica_gives_the_same_tag(start):
    async with start() as one, start() as other:
        user = await one.as_user()
        location = await accepted(one, user)
        etag = (await one.http.get(location, headers=user)).headers["etag"]
        assert (await other.http.get(location, headers={**user, "If-None-Match": etag})).status_code == 304


@pytest.mark.parametrize(
    ("form", "status"),
    [("{}", 304), ('"a", {} , "b"', 304), ("*", 304), ('"a"', 200), ("rubbish", 200), ("", 200)],
)
async def test_forms_of_the_condition(start, form, status):
    async with start() as caller:
        user = await caller.as_user()
        location = await accepted(caller, user)
        etag = (await caller.http.get(location, headers=user)).headers["etag"]
        strong = etag.removeprefix("W/")
        for tag in (etag, strong):
            answer = await caller.http.get(location, headers={**user, "If-None-Match": form.format(tag)})
            assert answer.status_code == status


async def test_a_tag_opens_no_door(start):
    async with start() as caller:
        user = await caller.as_user()
        location = await accepted(caller, user)
        etag = (await caller.http.get(location, headers=user)).headers["etag"]
        stranger = await caller.as_user("other@example.org")
        for tag in (etag, "*"):
            theirs = await caller.http.get(location, headers={**stranger, "If-None-Match": tag})
            nobodys = await caller.http.get(location, headers={"If-None-Match": tag})
            assert (theirs.status_code, nobodys.status_code) == (404, 401)
            assert theirs.headers["cache-control"] == nobodys.headers["cache-control"] == "no-store"


async def test_a_tag_that_holds_costs_one_small_query(start):
    async with start() as caller:
        user = await caller.as_user()
        location = await accepted(caller, user)
        etag = (await caller.http.get(location, headers=user)).headers["etag"]
        with statements() as seen:
            assert (await caller.http.get(location, headers={**user, "If-None-Match": etag})).status_code == 304
    assert len(seen) == 1
    assert "payload" not in seen[0]


async def test_a_page_that_has_not_changed_is_not_sent_again(start, migrated_url):
    async with start() as caller:
        user = await caller.as_user()
        await accepted(caller, user)
        first = await caller.http.get("/v1/deliveries", headers=user)
        condition = {**user, "If-None-Match": first.headers["etag"]}
        again = await caller.http.get("/v1/deliveries", headers=condition)
        other = await caller.http.get("/v1/deliveries?status=failed", headers=condition)
        change(migrated_url, "UPDATE deliveries SET last_error = 'x'")
        changed = await caller.http.get("/v1/deliveries", headers=condition)
    assert first.headers["cache-control"] == "private, no-cache"
    assert [a.status_code for a in (again, other, changed)] == [304, 200, 200]


async def test_compressed_answers_keep_their_tag(start):
    async with start() as caller:
        user = await caller.as_user()
        location = await accepted(caller, user, payload="x" * 3000)
        packed = await caller.http.get(location, headers={**user, "Accept-Encoding": "gzip"})
        plain = await caller.http.get(location, headers={**user, "Accept-Encoding": "identity"})
        again = await caller.http.get(location, headers={**user, "If-None-Match": packed.headers["etag"]})
    assert packed.headers["content-encoding"] == "gzip"
    assert "content-encoding" not in plain.headers
    assert packed.headers["etag"] == plain.headers["etag"]
    assert "accept-encoding" in packed.headers["vary"].lower()
    assert "accept-encoding" in plain.headers["vary"].lower()
    assert again.status_code == 304


async def test_nothing_else_may_be_kept(start):
    account = {"email": "ann@example.org", "password": "correct horse battery"}
    async with start() as caller:
        answers = [
            await caller.http.post("/v1/auth/register", json=account),
            login := await caller.http.post("/v1/auth/login", json=account),
            await caller.http.get("/v1/auth/me", headers={"Authorization": f"Bearer {login.json()['access_token']}"}),
            await caller.http.get("/v1/auth/me"),
            await caller.http.get("/v1/deliveries"),
            await caller.http.get("/health"),
        ]
    assert [a.headers["cache-control"] for a in answers] == ["no-store"] * len(answers)
    assert not any("etag" in a.headers for a in answers)
