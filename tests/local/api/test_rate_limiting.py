"""The rate limit on a real Valkey: who shares a count, what the answer says, and what happens without Redis."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.anyio


@pytest.mark.flips("rate_limit_max")
async def test_the_limit_and_its_headers(start):
    async with start(RATE_LIMIT_MAX="3", RATE_LIMIT_TIMEWINDOW="60000") as caller:
        answers = [await caller.http.get("/v1/auth/me") for _ in range(4)]
    assert [a.status_code for a in answers] == [401, 401, 401, 429]
    assert answers[0].headers["ratelimit-policy"] == '"default";q=3;w=60'
    assert answers[0].headers["ratelimit"].startswith('"default";r=2;')
    refused = answers[-1]
    assert refused.headers["content-type"] == "application/problem+json"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert refused.headers["x-request-id"]
    assert refused.headers["x-content-type-options"] == "nosniff"


@pytest.mark.flips("rate_limit_timewindow")
async def test_it_opens_again(start, until):
    async with start(RATE_LIMIT_MAX="1", RATE_LIMIT_TIMEWINDOW="1000") as caller:
        assert (await caller.http.get("/v1/auth/me")).status_code == 401
        assert (await caller.http.get("/v1/auth/me")).status_code == 429
        for _ in range(200):
            if (await caller.http.get("/v1/auth/me")).status_code == 401:
                return
            import anyio

            await anyio.sleep(0.05)
    raise AssertionError("still limited after 10 s")


async def test_accounts_have_their_own_count(start):
    async with start(RATE_LIMIT_MAX="6") as caller:
        ann, bob = await caller.as_user("ann@example.org"), await caller.as_user("bob@example.org")
        by_ann = [(await caller.http.get("/v1/auth/me", headers=ann)).status_code for _ in range(7)]
        by_bob = await caller.http.get("/v1/auth/me", headers=bob)
    assert by_ann == [200] * 6 + [429]
    assert by_bob.status_code == 200


async def test_a_bad_token_counts_for_the_address(start):
    async with start(RATE_LIMIT_MAX="2") as caller:
        answers = [
            (await caller.http.get("/v1/auth/me", headers={"Authorization": f"Bearer {n}"})).status_code
            for n in range(3)
        ]
    assert answers == [401, 401, 429]


async def test_addresses_behind_a_trusted_proxy(start):
    async with start(RATE_LIMIT_MAX="1", TRUSTED_PROXIES="127.0.0.0/8") as caller:
        first = await caller.http.get("/v1/auth/me", headers={"X-Forwarded-For": "203.0.113.1"})
        other = await caller.http.get("/v1/auth/me", headers={"X-Forwarded-For": "203.0.113.2"})
        forged = await caller.http.get("/v1/auth/me", headers={"X-Forwarded-For": "198.51.100.9, 203.0.113.1"})
    assert [a.status_code for a in (first, other, forged)] == [401, 401, 429]


@pytest.mark.parametrize("form", ["::ffff:203.0.113.{}", "64:ff9b::203.0.113.{}", "[::ffff:203.0.113.{}]:443"])
async def test_ipv4_clients_that_are_shown_as_ipv6_have_a_limit_each(start, form):
    async with start(RATE_LIMIT_MAX="1", TRUSTED_PROXIES="127.0.0.0/8") as caller:
        answers = [
            (await caller.http.get("/v1/auth/me", headers={"X-Forwarded-For": address})).status_code
            for address in (form.format(1), form.format(2), form.format(1), "203.0.113.2")
        ]
    assert answers == [401, 401, 429, 429]


async def test_two_replicas_share_the_count(start):
    async with start(RATE_LIMIT_MAX="2") as one, start(RATE_LIMIT_MAX="2") as two:
        answers = [(await caller.http.get("/v1/auth/me")).status_code for caller in (one, two, one, two)]
    assert answers == [401, 401, 429, 429]


async def test_without_redis_it_lets_pass_and_counts(start, tmp_path):
    async with start(RATE_LIMIT_MAX="1", REDIS_URL=f"unix://{tmp_path}/none.sock", ENABLE_METRICS="true") as caller:
        answers = [(await caller.http.get("/v1/auth/me")).status_code for _ in range(3)]
        metrics = (await caller.http.get("/metrics")).text
    assert answers == [401] * 3
    assert "slipway_rate_limit_skipped_total 3.0" in metrics


@pytest.mark.flips("enable_rate_limit")
async def test_probes_are_exempt_and_it_can_be_switched_off(start):
    async with start(RATE_LIMIT_MAX="1") as caller:
        assert [(await caller.http.get("/health/live")).status_code for _ in range(3)] == [200] * 3
    async with start(RATE_LIMIT_MAX="1", ENABLE_RATE_LIMIT="false") as caller:
        assert [(await caller.http.get("/v1/auth/me")).status_code for _ in range(3)] == [401] * 3


async def test_a_page_of_a_listed_origin_can_read_the_refusal_and_preflights_are_not_counted(start):
    page = {"Origin": "https://shop.example.org"}
    async with start(RATE_LIMIT_MAX="1", CORS_ORIGIN=page["Origin"]) as caller:
        for _ in range(3):
            preflight = await caller.http.options(
                "/v1/auth/me", headers={**page, "Access-Control-Request-Method": "GET"}
            )
            assert preflight.status_code == 200
        answers = [await caller.http.get("/v1/auth/me", headers=page) for _ in range(2)]
    assert [a.status_code for a in answers] == [401, 429]
    assert answers[1].headers["access-control-allow-origin"] == page["Origin"]
    assert "Retry-After" in answers[1].headers["access-control-expose-headers"]
