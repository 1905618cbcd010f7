"""Rotation of the signing key with old and new replicas side by side, over the rings that the stack really makes."""

from __future__ import annotations

import json
import secrets
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from infra import signing_keys
from infra.rotation import RotationError, key_id, ring
from infra.rotation_record import CLOCKS, SigningKeys
from infra.signing_keys import SigningKeysProvider

pytestmark = pytest.mark.anyio

ACCOUNT = {"email": "ann@example.org", "password": "correct horse battery"}
KEYS = {key_id(generation): secrets.token_urlsafe(64) for generation in range(1, 12)}


def at(generation: int, *, floor: int | None = None) -> dict[str, str]:
    """The settings of a replica at this generation of `rotation.jwt`."""
    made = ring(generation, floor=floor)
    return {
        "JWT_SECRET": "",
        "JWT_KEYS": json.dumps({"active": made.active, "keys": {name: KEYS[name] for name in made.key_ids}}),
    }


async def log_in(caller):
    return (await caller.http.post("/v1/auth/login", json=ACCOUNT)).json()


async def me(caller, tokens):
    bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
    return (await caller.http.get("/v1/auth/me", headers=bearer)).status_code


async def refresh(caller, tokens):
    return await caller.http.post("/v1/auth/refresh", json={"refresh_token": tokens["refresh_token"]})


@pytest.mark.parametrize("generation", [1, 7])
async def test_while_replicas_are_replaced_each_accepts_what_the_other_signs(start, generation):
    async with start(**at(generation)) as old, start(**at(generation + 1)) as new:
        await old.http.post("/v1/auth/register", json=ACCOUNT)
        by_old, by_new = await log_in(old), await log_in(new)
        kids = [jwt.get_unverified_header(tokens["access_token"])["kid"] for tokens in (by_old, by_new)]
        assert kids == [key_id(generation), key_id(generation + 1)]
        for tokens in (by_old, by_new):
            assert [await me(caller, tokens) for caller in (old, new)] == [200, 200]
        # The new replica's key is the old one's next: known to all before it signs.
        crossed = [await refresh(new, by_old), await refresh(old, by_new)]
        assert [answer.status_code for answer in crossed] == [200, 200]
        assert [await me(old, crossed[0].json()), await me(new, crossed[1].json())] == [200, 200]


async def test_two_steps_at_once_are_what_the_ring_does_not_cover(start):
    """Why a rotation goes one generation at a time, and the settings refuse any other step."""
    async with start(**at(5)) as old, start(**at(7)) as new:
        await old.http.post("/v1/auth/register", json=ACCOUNT)
        by_old, by_new = await log_in(old), await log_in(new)
        assert [await me(old, by_new), await me(new, by_old)] == [401, 401]


async def test_a_session_outlives_a_rotation_and_goes_on_under_each_new_key(start):
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(start(**at(1)))
        await first.http.post("/v1/auth/register", json=ACCOUNT)
        tokens = await log_in(first)
        for generation in (2, 3, 4):
            caller = await stack.enter_async_context(start(**at(generation)))
            assert await me(caller, tokens) == 200
            answer = await refresh(caller, tokens)
            assert answer.status_code == 200
            tokens = answer.json()
            assert jwt.get_unverified_header(tokens["refresh_token"])["kid"] == key_id(generation)


async def test_a_retired_key_and_one_below_the_floor_are_refused(start):
    async with start(**at(7)) as caller:
        await caller.http.post("/v1/auth/register", json=ACCOUNT)
        tokens = await log_in(caller)
    async with start(**at(8)) as kept, start(**at(8, floor=8)) as dropped, start(**at(9)) as retired:
        assert [await me(caller, tokens) for caller in (kept, dropped, retired)] == [200, 401, 401]
        assert [(await refresh(caller, tokens)).status_code for caller in (dropped, retired)] == [401, 401]


@pytest.mark.parametrize("repeated_by", ["the new replica", "the old replica"])
async def test_a_refresh_is_repeated_by_a_replica_that_signs_with_another_key(start, repeated_by):
    """Both texts are the same token: one refresh more makes it used in either."""
    async with start(**at(3)) as old, start(**at(4)) as new:
        await old.http.post("/v1/auth/register", json=ACCOUNT)
        tokens = await log_in(old)
        first, second = (old, new) if repeated_by == "the new replica" else (new, old)
        pairs = [(await refresh(caller, tokens)).json() for caller in (first, second)]
        decoded = [jwt.decode(pair["refresh_token"], options={"verify_signature": False}) for pair in pairs]
        assert decoded[0] == decoded[1]
        assert len({jwt.get_unverified_header(pair["refresh_token"])["kid"] for pair in pairs}) == 2
        onward = [await refresh(caller, pair) for caller, pair in ((old, pairs[1]), (new, pairs[0]))]
        assert [answer.status_code for answer in onward] == [200, 200]
        assert [await me(caller, answer.json()) for caller, answer in zip((new, old), onward, strict=True)] == [
            200,
            200,
        ]


async def test_a_second_step_is_refused_as_long_as_it_would_reject_a_live_token(start, monkeypatch):
    """Two steps within the life of a refresh token reject it; the time that the record names is past its end."""
    life = timedelta(days=7)
    async with start(**at(1)) as first:
        await first.http.post("/v1/auth/register", json=ACCOUNT)
        # The last token that the first key signs, as the first step arrives.
        tokens = await log_in(first)
    arrived = datetime.now(UTC)
    monkeypatch.setattr(signing_keys, "now", lambda: arrived)
    record = {"generation": 1, "token_life": life.total_seconds()}
    record = SigningKeysProvider().create(record).outs
    record = SigningKeysProvider().update("", record, {**record, "generation": 2}).outs
    third = SigningKeys(generation=3, token_life=int(life.total_seconds()))

    async with start(**at(2)) as second, start(**at(3)) as next_one:
        assert [await me(caller, tokens) for caller in (second, next_one)] == [200, 401]
        assert [(await refresh(caller, tokens)).status_code for caller in (next_one, second)] == [401, 200]

    ends = max(
        datetime.fromtimestamp(jwt.decode(token, options={"verify_signature": False})["exp"], UTC)
        for token in (tokens["access_token"], tokens["refresh_token"])
    )
    for moment in (arrived, ends - timedelta(seconds=1)):
        with pytest.raises(RotationError, match="drops key g1, whose tokens may live until"):
            third.check(record, moment)
    allowed = arrived + life + CLOCKS
    assert ends < allowed
    assert third.check(record, allowed) is None
