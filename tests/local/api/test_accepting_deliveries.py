"""Deliveries, from the acceptance to the list; the worker's part is written straight into the tables."""

from __future__ import annotations

import asyncio
import json
import uuid

import psycopg
import pytest

pytestmark = pytest.mark.anyio

DELIVERY = {"url": "https://receiver.example.org/hook", "payload": {"order": 7}}


def rows(url: str, query: str, *args: object) -> list[tuple]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query, args)
        return cursor.fetchall() if cursor.description else []


async def test_accepted_with_its_job_in_one_transaction(start, migrated_url):
    async with start() as caller:
        user = await caller.as_user()
        answer = await caller.http.post("/v1/deliveries", json=DELIVERY, headers={**user, "X-Request-ID": "from-far"})
    assert answer.status_code == 202
    accepted = answer.json()
    assert accepted["status"] == "pending"
    assert answer.headers["location"] == f"/v1/deliveries/{accepted['id']}"
    jobs = rows(migrated_url, "SELECT kind, queue, subject_id, state, max_attempts, correlation_id FROM jobs")
    assert jobs == [("delivery", "webhook-processor", uuid.UUID(accepted["id"]), "pending", 3, "from-far")]


async def test_the_queue_is_told(start, redis_url, until):
    import redis

    async with start() as caller:
        await caller.http.post("/v1/deliveries", json=DELIVERY, headers=await caller.as_user())
        with redis.Redis.from_url(redis_url) as client:
            until(lambda: client.llen("rq:queue:webhook-processor") == 1)


@pytest.mark.feature("predictions")
@pytest.mark.flips("queue_routes")
async def test_a_kind_with_workers_of_its_own_goes_to_their_queue(start, migrated_url, redis_url, until):
    import redis

    async with start(QUEUE_ROUTES="prediction=slow,delivery=mail") as caller:
        await caller.http.post("/v1/deliveries", json=DELIVERY, headers=await caller.as_user())
        with redis.Redis.from_url(redis_url) as client:
            until(lambda: client.llen("rq:queue:mail") == 1)
            assert client.llen("rq:queue:webhook-processor") == 0
    assert rows(migrated_url, "SELECT queue FROM jobs") == [("mail",)]


async def test_accepted_without_redis(start, tmp_path, migrated_url):
    async with start(REDIS_URL=f"unix://{tmp_path}/none.sock") as caller:
        answer = await caller.http.post("/v1/deliveries", json=DELIVERY, headers=await caller.as_user())
    assert answer.status_code == 202
    assert len(rows(migrated_url, "SELECT 1 FROM jobs WHERE enqueued_at IS NULL")) == 1


async def test_the_same_key_twenty_times_at_once_is_one_delivery(start, migrated_url):
    async with start() as caller:
        headers = {**await caller.as_user(), "Idempotency-Key": "order-7"}
        answers = await asyncio.gather(
            *(caller.http.post("/v1/deliveries", json=DELIVERY, headers=headers) for _ in range(20))
        )
        reordered = json.dumps({"payload": {"order": 7}, "url": DELIVERY["url"]}, indent=2)
        again = await caller.http.post(
            "/v1/deliveries", content=reordered, headers={**headers, "Content-Type": "application/json"}
        )
        other = await caller.http.post("/v1/deliveries", json={**DELIVERY, "payload": 8}, headers=headers)
        stranger = {**await caller.as_user("other@example.org"), "Idempotency-Key": "order-7"}
        theirs = await caller.http.post("/v1/deliveries", json=DELIVERY, headers=stranger)

    assert {(a.status_code, a.text) for a in [*answers, again]} == {(202, answers[0].text)}
    assert sum("idempotent-replayed" in a.headers for a in answers) == 19
    assert other.status_code == 422
    assert "Idempotency-Key" in other.json()["detail"]
    assert theirs.json()["id"] != answers[0].json()["id"]
    assert rows(migrated_url, "SELECT count(*) FROM jobs") == [(2,)]


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"url": "http://receiver.example.org"}, "/url"),
        ({"url": "https://127.0.0.1/"}, "/url"),
        ({"url": "https://169.254.169.254/latest"}, "/url"),
        ({"url": "https://user:pw@receiver.example.org"}, "/url"),
        ({"url": "https://a\0b.org"}, "/url"),
        ({"url": 7}, "/url"),
        ({"payload": "nul \0"}, "/payload"),
        ({"payload": {"half \ud800": 1}}, "/payload"),
        ({"payload": 1e308 * 10}, None),
        ({"headers": {"Host": "inner"}}, "/headers"),
        ({"headers": {"Content-Length": "1"}}, "/headers"),
        ({"headers": {"X-A": "1", "x-a": "2"}}, "/headers"),
        ({"headers": {"X A": "1"}}, "/headers"),
        ({"headers": {"X-A": "1\r\nX-B: 2"}}, "/headers"),
        ({"headers": {"X-A": "1\x0b"}}, "/headers"),
        ({"headers": {"X-A": "\x7f"}}, "/headers"),
        ({"headers": {"X-A": "caf\xe9"}}, "/headers"),
        ({"headers": {"X-A": "\xa01"}}, "/headers"),
        ({"headers": {" X-A": "1"}}, "/headers"),
        ({"headers": {"X-A:": "1"}}, "/headers"),
        ({"headers": {"": "1"}}, "/headers"),
        ({"headers": {"Keep-Alive": "1"}}, "/headers"),
        ({"headers": {"TE": "trailers"}}, "/headers"),
        ({"headers": {f"X-{n}": "x" * 4000 for n in range(9)}}, "/headers"),
        ({"headers": {f"X-{n}": "" for n in range(51)}}, "/headers"),
        ({"max_attempts": 0}, "/max_attempts"),
        ({"max_attempts": 51}, "/max_attempts"),
        ({"retries": 3}, "/retries"),
    ],
)
async def test_bad_input_is_named_and_nothing_is_kept(start, migrated_url, change, pointer):
    async with start() as caller:
        headers = {**await caller.as_user(), "Content-Type": "application/json"}
        answer = await caller.http.post("/v1/deliveries", content=json.dumps({**DELIVERY, **change}), headers=headers)
    assert answer.status_code == (422 if pointer else 400)
    assert [e["pointer"].split("/")[1] for e in answer.json().get("errors", [])] == ([pointer[1:]] if pointer else [])
    assert rows(migrated_url, "SELECT 1 FROM deliveries") == []


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff\xfe{}", "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b'{"url":"https://a.example.org","payload":' + b"[" * 300 + b"]" * 300 + b"}", "application/json", 422),
        (b'{"url":"https://a.example.org","payload":1e999}', "application/json", 422),
        (b'{"url":"https://a.example.org","payload":' + b"9" * 5000 + b"}", "application/json", 400),
        (b"[]", "application/json", 422),
        (b"null", "application/json", 422),
        (b"", "application/json", 400),
        (b"url=x", "application/x-www-form-urlencoded", 415),
        (b"{}", "", 415),
    ],
)
async def test_bodies_that_are_no_json_object(start, content, content_type, status):
    async with start() as caller:
        headers = {**await caller.as_user(), "Content-Type": content_type}
        answer = await caller.http.post("/v1/deliveries", content=content, headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")


@pytest.mark.flips("delivery_max_attempts", "delivery_allow_http")
async def test_what_a_setting_allows(start):
    async with start(
        DELIVERY_ALLOW_HTTP="true", DELIVERY_ALLOW_PRIVATE_NETWORKS="true", DELIVERY_MAX_ATTEMPTS="9"
    ) as c:
        user = await c.as_user()
        accepted = await c.http.post("/v1/deliveries", json={**DELIVERY, "url": "http://127.0.0.1:9/"}, headers=user)
        found = await c.http.get(accepted.headers["location"], headers=user)
    assert found.json()["max_attempts"] == 9


async def test_a_delivery_with_its_attempts(start, migrated_url):
    async with start() as caller:
        user = await caller.as_user()
        sent = {**DELIVERY, "headers": {"X-Signature": "abc"}, "payload": [1.5, None, "é", {"a": {}}]}
        location = (await caller.http.post("/v1/deliveries", json=sent, headers=user)).headers["location"]
        rows(
            migrated_url,
            "INSERT INTO delivery_attempts (delivery_id, number, started_at, duration_ms, status_code, error)"
            " SELECT id, n, now(), 12, CASE n WHEN 2 THEN 500 END, 'no luck' FROM deliveries, generate_series(1, 2) n",
        )
        found = (await caller.http.get(location, headers=user)).json()
    assert (found["payload"], found["headers"]) == (sent["payload"], sent["headers"])
    assert found["attempt_count"] == 2
    assert [(a["number"], a["status_code"], a["error"]) for a in found["attempts"]] == [
        (1, None, "no luck"),
        (2, 500, "no luck"),
    ]


async def test_pages_hold_everything_once(start, migrated_url):
    async with start() as caller:
        user = await caller.as_user()
        for _ in range(7):
            await caller.http.post("/v1/deliveries", json=DELIVERY, headers=user)
        # Equal times must not make a row come twice or never.
        rows(migrated_url, "UPDATE deliveries SET created_at = now()")
        seen, cursor, pages = [], None, 0
        while pages == 0 or cursor:
            query = {"limit": 3, **({"cursor": cursor} if cursor else {})}
            page = (await caller.http.get("/v1/deliveries", params=query, headers=user)).json()
            seen += [item["id"] for item in page["items"]]
            cursor, pages = page["next_cursor"], pages + 1
    assert pages == 3
    assert len(seen) == len(set(seen)) == 7


async def test_what_arrives_while_paging_moves_nothing(start):
    async with start() as caller:
        user = await caller.as_user()
        ids = [(await caller.http.post("/v1/deliveries", json=DELIVERY, headers=user)).json()["id"] for _ in range(4)]
        first = (await caller.http.get("/v1/deliveries?limit=2", headers=user)).json()
        for _ in range(3):
            await caller.http.post("/v1/deliveries", json=DELIVERY, headers=user)
        query = {"limit": 2, "cursor": first["next_cursor"]}
        second = (await caller.http.get("/v1/deliveries", params=query, headers=user)).json()
    assert [item["id"] for page in (first, second) for item in page["items"]] == ids[::-1]
    assert second["next_cursor"] is None


async def test_list_by_status_and_newest_first(start, migrated_url):
    async with start() as caller:
        user = await caller.as_user()
        ids = [(await caller.http.post("/v1/deliveries", json=DELIVERY, headers=user)).json()["id"] for _ in range(3)]
        rows(migrated_url, "UPDATE deliveries SET status = 'failed' WHERE id <> %s", ids[1])
        failed = await caller.http.get("/v1/deliveries?status=failed", headers=user)
        everything = await caller.http.get("/v1/deliveries", headers=user)
    assert [item["id"] for item in failed.json()["items"]] == [ids[2], ids[0]]
    assert [item["id"] for item in everything.json()["items"]] == ids[::-1]


@pytest.mark.parametrize(
    "query",
    [
        *("limit=0", "limit=101", "limit=x", "status=lost", "page=2", "limit=1&limit=2"),
        *("cursor=", "cursor=abc", "cursor=%00"),
    ],
)
async def test_bad_queries(start, query):
    async with start() as caller:
        answer = await caller.http.get(f"/v1/deliveries?{query}", headers=await caller.as_user())
    assert answer.status_code == 422


async def test_only_a_failed_delivery_is_tried_again(start, migrated_url):
    async with start() as caller:
        user = await caller.as_user()
        location = (await caller.http.post("/v1/deliveries", json=DELIVERY, headers=user)).headers["location"]
        early = await caller.http.post(f"{location}/retry", headers=user)
        rows(migrated_url, "UPDATE deliveries SET status = 'failed', last_error = 'x', completed_at = now()")
        answers = await asyncio.gather(*(caller.http.post(f"{location}/retry", headers=user) for _ in range(5)))
        found = (await caller.http.get(location, headers=user)).json()
    assert early.status_code == 409
    assert sorted(a.status_code for a in answers) == [202, 409, 409, 409, 409]
    assert (found["status"], found["last_error"], found["completed_at"]) == ("pending", None, None)
    assert rows(migrated_url, "SELECT count(*) FROM jobs") == [(2,)]


async def test_others_deliveries_do_not_exist(start):
    async with start() as caller:
        mine = (await caller.http.post("/v1/deliveries", json=DELIVERY, headers=await caller.as_user())).headers[
            "location"
        ]
        stranger = await caller.as_user("other@example.org")
        answers = [
            await caller.http.get(mine, headers=stranger),
            await caller.http.post(f"{mine}/retry", headers=stranger),
            await caller.http.get(f"/v1/deliveries/{uuid.uuid4()}", headers=stranger),
            await caller.http.get("/v1/deliveries/7", headers=stranger),
        ]
        listed = (await caller.http.get("/v1/deliveries", headers=stranger)).json()
        unknown = await caller.http.get(mine)
    assert [a.status_code for a in answers] == [404] * 4
    assert listed == {"items": [], "next_cursor": None}
    assert unknown.status_code == 401


async def test_a_token_of_a_removed_account(start, migrated_url):
    async with start() as caller:
        user = await caller.as_user()
        rows(migrated_url, "DELETE FROM users")
        answer = await caller.http.post("/v1/deliveries", json=DELIVERY, headers=user)
    assert answer.status_code == 401


@pytest.mark.parametrize("payload", [None, "", 0, [], 12345678901234567890, '\\u00e9 "quoted" \\ é 😀'])
async def test_any_json_is_kept_as_it_came(start, migrated_url, payload):
    async with start() as caller:
        user = await caller.as_user()
        accepted = await caller.http.post("/v1/deliveries", json={**DELIVERY, "payload": payload}, headers=user)
        shown = await caller.http.get(accepted.headers["location"], headers=user)
    assert shown.json()["payload"] == payload
    assert rows(migrated_url, "SELECT payload IS NULL FROM deliveries") == [(False,)]
