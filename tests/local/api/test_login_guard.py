"""Guessing passwords: who is refused, who is not, and what happens without Redis."""

from __future__ import annotations

import asyncio
from collections import Counter

import anyio
import pytest
import redis

pytestmark = pytest.mark.anyio

ANN = {"email": "ann@example.org", "password": "correct horse battery"}
BOB = {"email": "bob@example.org", "password": "correct horse battery"}
WRONG = "something else entirely"
PROXIED = {"TRUSTED_PROXIES": "127.0.0.0/8"}


async def log_in(caller, account=ANN, *, password=None, address="203.0.113.1"):
    given = {**account, **({"password": password} if password else {})}
    return await caller.http.post("/v1/auth/login", json=given, headers={"X-Forwarded-For": address})


async def fail(caller, account=ANN, *, times=1, address="203.0.113.1"):
    return [(await log_in(caller, account, password=WRONG, address=address)).status_code for _ in range(times)]


async def register(caller, *accounts):
    for account in accounts:
        await caller.http.post("/v1/auth/register", json=account)


@pytest.mark.flips("login_failures_max")
async def test_after_the_limit_even_the_right_password_is_refused(start):
    async with start(LOGIN_FAILURES_MAX="3", ENABLE_METRICS="true") as caller:
        await register(caller, ANN)
        assert await fail(caller, times=4) == [401, 401, 401, 429]
        refused = await log_in(caller)
        metrics = (await caller.http.get("/metrics")).text
    assert (refused.status_code, refused.headers["content-type"]) == (429, "application/problem+json")
    assert 890 <= int(refused.headers["retry-after"]) <= 900
    assert refused.headers["retry-after"] in refused.json()["detail"]
    assert "slipway_logins_refused_total 2.0" in metrics
    assert "slipway_login_guard_skipped_total 0.0" in metrics


@pytest.mark.flips("login_failures_window")
async def test_it_opens_again(start):
    async with start(LOGIN_FAILURES_MAX="1", LOGIN_FAILURES_WINDOW="1000") as caller:
        await register(caller, ANN)
        assert await fail(caller, times=2) == [401, 429]
        with anyio.fail_after(10):
            while (answer := await log_in(caller)).status_code == 429:
                assert answer.headers["retry-after"] == "1"
                await anyio.sleep(0.05)
    assert answer.status_code == 200


async def test_a_success_forgives(start):
    async with start(LOGIN_FAILURES_MAX="3") as caller:
        await register(caller, ANN)
        for _ in range(3):
            assert await fail(caller, times=2) == [401, 401]
            assert (await log_in(caller)).status_code == 200
        assert [(await log_in(caller)).status_code for _ in range(5)] == [200] * 5


async def test_unknown_accounts_are_refused_alike(start):
    async with start(LOGIN_FAILURES_MAX="2", LOGIN_FAILURES_WINDOW="86400000", **PROXIED) as caller:
        await register(caller, ANN)
        answers = {}
        for number, account in enumerate((ANN, BOB, {**ANN, "email": "nul\0@example.org"})):
            address = f"203.0.113.{number}"
            answers[account["email"]] = [
                await log_in(caller, account, password=WRONG, address=address) for _ in range(3)
            ]
    assert {tuple(a.status_code for a in row) for row in answers.values()} == {(401, 401, 429)}
    documents = [{**row[-1].json(), "detail": ""} for row in answers.values()]
    assert documents == [documents[0]] * 3


async def test_another_network_is_not_locked_out(start):
    async with start(LOGIN_FAILURES_MAX="2", **PROXIED) as caller:
        await register(caller, ANN)
        assert await fail(caller, times=3, address="198.51.100.1") == [401, 401, 429]
        assert (await log_in(caller, address="203.0.113.1")).status_code == 200


async def test_letter_case_and_the_rest_of_an_ipv6_network_make_no_difference(start):
    async with start(LOGIN_FAILURES_MAX="2", **PROXIED) as caller:
        assert await fail(caller, address="2001:db8::1") == [401]
        assert await fail(caller, {**ANN, "email": "ANN@example.org "}, address="2001:db8::2") == [401]
        assert await fail(caller, address="2001:db8::3") == [429]


async def test_ipv4_clients_that_are_shown_as_ipv6_do_not_lock_each_other_out(start):
    async with start(LOGIN_FAILURES_MAX="2", **PROXIED) as caller:
        await register(caller, ANN)
        assert await fail(caller, times=3, address="::ffff:198.51.100.1") == [401, 401, 429]
        assert await fail(caller, address="198.51.100.1") == [429]
        assert (await log_in(caller, address="::ffff:203.0.113.1")).status_code == 200


async def test_guesses_from_many_networks_end_but_not_for_whom_the_owner_logs_in_from(start):
    async with start(LOGIN_FAILURES_MAX="2", **PROXIED) as caller:
        await register(caller, ANN, BOB)
        home, elsewhere = "203.0.113.1", "203.0.113.2"
        assert (await log_in(caller, address=home)).status_code == 200
        guesses = [(await fail(caller, address=f"198.51.100.{n}"))[0] for n in range(12)]
        assert guesses == [401] * 10 + [429] * 2
        assert (await log_in(caller, address=home)).status_code == 200
        assert (await log_in(caller, address=elsewhere)).status_code == 429
        assert (await log_in(caller, BOB, address=elsewhere)).status_code == 200


async def test_one_network_that_tries_many_accounts_is_stopped(start):
    async with start(LOGIN_FAILURES_MAX="1", **PROXIED) as caller:
        await register(caller, ANN, BOB)
        assert (await log_in(caller, BOB, address="198.51.100.1")).status_code == 200
        tried = [
            (await fail(caller, {**ANN, "email": f"{n}@example.org"}, address="198.51.100.1"))[0] for n in range(21)
        ]
        assert tried == [401] * 20 + [429]
        assert (await log_in(caller, ANN, address="198.51.100.1")).status_code == 429
        assert (await log_in(caller, ANN, address="198.51.100.2")).status_code == 200
        # Who has logged in from there before goes on doing so.
        assert (await log_in(caller, BOB, address="198.51.100.1")).status_code == 200


async def test_logging_in_to_an_account_of_ones_own_does_not_reset_the_others(start):
    async with start(LOGIN_FAILURES_MAX="2", **PROXIED) as caller:
        await register(caller, ANN, BOB)
        assert await fail(caller, times=2) == [401, 401]
        assert (await log_in(caller, BOB)).status_code == 200
        assert await fail(caller) == [429]


async def test_many_guesses_at_once_are_not_more_than_one_after_the_other(start):
    async with start(LOGIN_FAILURES_MAX="3") as one, start(LOGIN_FAILURES_MAX="3") as other:
        await register(one, ANN)
        answers = await asyncio.gather(*(log_in(c, password=WRONG) for c in (one, other) for _ in range(10)))
    assert Counter(a.status_code for a in answers) == {401: 3, 429: 17}


async def test_a_refusal_is_cheap_and_nothing_is_counted_for_it(start, redis_url):
    async with start(LOGIN_FAILURES_MAX="1") as caller:
        assert await fail(caller, times=10) == [401] + [429] * 9
    with redis.Redis.from_url(redis_url) as client:
        lengths = {_window(key.decode()): client.llen(key) for key in client.scan_iter("LIMITS:*login*")}
    assert lengths == {"slipway-login-pair": 1, "slipway-login-account": 1, "slipway-login-network": 1}


def _window(key: str) -> str:
    return key.removeprefix("LIMITS:").split("/")[0]


async def test_keys_hold_no_address_and_end_by_themselves(start, redis_url):
    async with start(LOGIN_FAILURES_WINDOW="60000") as caller:
        await register(caller, ANN, BOB)
        await fail(caller)
        await log_in(caller, BOB)
    with redis.Redis.from_url(redis_url) as client:
        keys = {key.decode(): client.ttl(key) for key in client.scan_iter("*login*")}
    assert len(keys) == 4
    assert not any("ann" in key or "example.org" in key for key in keys)
    assert all(0 < ttl <= (604_800 if ":known:" in key else 60) for key, ttl in keys.items())


async def test_a_database_that_is_away_uses_up_no_attempt(start, redis_url):
    async with start(LOGIN_FAILURES_MAX="1", DATABASE_URL="postgresql://x@127.0.0.1:1/x") as caller:
        assert await fail(caller, times=3) == [503] * 3
    with redis.Redis.from_url(redis_url) as client:
        assert list(client.scan_iter("*login*")) == []


async def test_without_redis_everybody_gets_in_and_it_is_counted(start, tmp_path):
    nothing = f"unix://{tmp_path}/none.sock"
    async with start(LOGIN_FAILURES_MAX="1", REDIS_URL=nothing, ENABLE_METRICS="true") as caller:
        await register(caller, ANN)
        assert await fail(caller, times=3) == [401] * 3
        assert (await log_in(caller)).status_code == 200
        metrics = (await caller.http.get("/metrics")).text
    assert "slipway_login_guard_skipped_total 8.0" in metrics
