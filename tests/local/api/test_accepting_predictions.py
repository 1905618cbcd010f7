"""Predictions, from the acceptance to the list; the worker's part is written straight into the tables."""

from __future__ import annotations

import asyncio
import json
import uuid

import psycopg
import pytest
from fake_provider import INPUT, MODEL

pytestmark = [pytest.mark.anyio, pytest.mark.feature("predictions")]

PREDICTION = {"provider": "replicate", "model": MODEL["replicate"], "input": INPUT["replicate"]}
OPENAI = {"provider": "openai", "model": MODEL["openai"], "input": INPUT["openai"]}
KEYS = {"REPLICATE_API_KEY": "r8_test", "OPENAI_API_KEY": "sk-test"}


def rows(url: str, query: str, *args: object) -> list[tuple]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query, args)
        return cursor.fetchall() if cursor.description else []


@pytest.mark.flips("prediction_max_attempts")
async def test_accepted_with_its_job_in_one_transaction(start, migrated_url):
    async with start(**KEYS, PREDICTION_MAX_ATTEMPTS="5") as caller:
        user = await caller.as_user()
        answer = await caller.http.post(
            "/v1/predictions", json=PREDICTION, headers={**user, "X-Request-ID": "from-far"}
        )
        found = (await caller.http.get(answer.headers["location"], headers=user)).json()
    assert answer.status_code == 202
    accepted = answer.json()
    assert (accepted["status"], answer.headers["location"]) == ("queued", f"/v1/predictions/{accepted['id']}")
    assert {name: found[name] for name in PREDICTION} == PREDICTION
    assert (found["output"], found["error"], found["provider_id"], found["completed_at"]) == (None,) * 4
    jobs = rows(migrated_url, "SELECT kind, queue, subject_id, state, max_attempts, correlation_id FROM jobs")
    assert jobs == [("prediction", "webhook-processor", uuid.UUID(accepted["id"]), "pending", 5, "from-far")]


async def test_the_queue_is_told(start, redis_url, until):
    import redis

    async with start(**KEYS) as caller:
        await caller.http.post("/v1/predictions", json=OPENAI, headers=await caller.as_user())
        with redis.Redis.from_url(redis_url) as client:
            until(lambda: client.llen("rq:queue:webhook-processor") == 1)


@pytest.mark.flips("queue_routes")
async def test_predictions_may_have_a_queue_of_their_own(start, redis_url, until):
    import redis

    async with start(**KEYS, QUEUE_ROUTES="prediction=slow") as caller:
        user = await caller.as_user()
        accepted = await caller.http.post("/v1/predictions", json=OPENAI, headers=user)
        with redis.Redis.from_url(redis_url) as client:
            until(lambda: client.llen("rq:queue:slow") == 1)
    assert accepted.status_code == 202


async def test_the_same_key_twenty_times_at_once_is_one_prediction(start, migrated_url):
    async with start(**KEYS) as caller:
        headers = {**await caller.as_user(), "Idempotency-Key": "order-7"}
        answers = await asyncio.gather(
            *(caller.http.post("/v1/predictions", json=PREDICTION, headers=headers) for _ in range(20))
        )
        other = await caller.http.post("/v1/predictions", json={**PREDICTION, "input": {}}, headers=headers)
        bad = await caller.http.post(
            "/v1/predictions", json=PREDICTION, headers={**headers, "Idempotency-Key": "two words"}
        )
    assert {(a.status_code, a.text) for a in answers} == {(202, answers[0].text)}
    assert sum("idempotent-replayed" in a.headers for a in answers) == 19
    assert (other.status_code, bad.status_code) == (422, 422)
    assert rows(migrated_url, "SELECT count(*) FROM jobs") == [(1,)]


@pytest.mark.parametrize(
    ("given", "pointer"),
    [
        ({**PREDICTION, "provider": "other"}, "/provider"),
        ({**PREDICTION, "model": "no-owner"}, "/model"),
        ({**PREDICTION, "model": "../v1/account"}, "/model"),
        ({**PREDICTION, "model": "acme/model/predictions"}, "/model"),
        ({**PREDICTION, "model": "acme/model:latest"}, "/model"),
        ({**PREDICTION, "model": "nul\0/x"}, "/model"),
        ({**PREDICTION, "input": "text"}, "/input"),
        ({**PREDICTION, "input": {"a": "\0"}}, "/input"),
        ({**PREDICTION, "webhook": "https://me.example.org"}, "/webhook"),
        ({**OPENAI, "model": "gpt test"}, "/model"),
        ({**OPENAI, "input": {}}, "/input"),
        ({**OPENAI, "input": {"input": "a", "stream": True}}, "/input"),
        ({**OPENAI, "input": {"input": "a", "metadata": {"prediction_id": "x"}}}, "/input"),
        ({**OPENAI, "input": {"input": "a", "metadata": [1]}}, "/input"),
    ],
)
async def test_bad_input_is_named_and_nothing_is_kept(start, migrated_url, given, pointer):
    async with start(**KEYS) as caller:
        headers = {**await caller.as_user(), "Content-Type": "application/json"}
        answer = await caller.http.post("/v1/predictions", content=json.dumps(given), headers=headers)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert rows(migrated_url, "SELECT 1 FROM predictions") == []


@pytest.mark.parametrize("model", ["acme/model", f"acme/model:{'0a' * 32}", "0a" * 32, "stability-ai/sd3.5_large"])
async def test_models_of_replicate(start, model):
    async with start(**KEYS) as caller:
        answer = await caller.http.post(
            "/v1/predictions", json={**PREDICTION, "model": model}, headers=await caller.as_user()
        )
    assert answer.status_code == 202


@pytest.mark.flips("openai_api_key")
async def test_a_provider_without_a_key_is_said_to_be_missing(start):
    async with start(REPLICATE_API_KEY="r8_test") as caller:
        user = await caller.as_user()
        refused = await caller.http.post("/v1/predictions", json=OPENAI, headers=user)
        taken = await caller.http.post("/v1/predictions", json=PREDICTION, headers=user)
    assert (refused.status_code, taken.status_code) == (422, 202)
    [error] = refused.json()["errors"]
    assert error == {"pointer": "/provider", "detail": "openai is not set up here: OPENAI_API_KEY is not set"}


async def test_a_result_is_read(start, migrated_url):
    async with start(**KEYS) as caller:
        user = await caller.as_user()
        location = (await caller.http.post("/v1/predictions", json=PREDICTION, headers=user)).headers["location"]
        rows(
            migrated_url,
            "UPDATE predictions SET status = 'succeeded', provider_id = 'abc', output = '[1.5, null, \"é\"]',"
            " submitted_at = now(), completed_at = now()",
        )
        found = (await caller.http.get(location, headers=user)).json()
        page = (await caller.http.get("/v1/predictions", headers=user)).json()
    assert (found["status"], found["provider_id"], found["output"]) == ("succeeded", "abc", [1.5, None, "é"])
    assert "output" not in page["items"][0], "a list does not carry every result"


async def test_pages_hold_everything_once_and_filter(start, migrated_url):
    async with start(**KEYS) as caller:
        user = await caller.as_user()
        ids = [
            (await caller.http.post("/v1/predictions", json=PREDICTION, headers=user)).json()["id"] for _ in range(5)
        ]
        rows(migrated_url, "UPDATE predictions SET status = 'failed' WHERE id = %s", ids[2])
        seen, cursor = [], None
        while not seen or cursor:
            query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
            page = (await caller.http.get("/v1/predictions", params=query, headers=user)).json()
            seen += [item["id"] for item in page["items"]]
            cursor = page["next_cursor"]
        failed = (await caller.http.get("/v1/predictions?status=failed", headers=user)).json()
        bad = await caller.http.get("/v1/predictions?cursor=abc", headers=user)
    assert seen == ids[::-1]
    assert [item["id"] for item in failed["items"]] == [ids[2]]
    assert bad.status_code == 422


async def test_called_off_at_once_while_nobody_has_it(start, migrated_url):
    async with start(**KEYS) as caller:
        user = await caller.as_user()
        location = (await caller.http.post("/v1/predictions", json=PREDICTION, headers=user)).headers["location"]
        first = await caller.http.post(f"{location}/cancel", headers=user)
        again = await caller.http.post(f"{location}/cancel", headers=user)
    assert (first.status_code, first.json()["status"]) == (202, "canceled")
    assert (again.status_code, again.json()["detail"]) == (
        409,
        "only an open prediction can be canceled, this one is canceled",
    )
    assert rows(migrated_url, "SELECT status, completed_at IS NULL FROM predictions") == [("canceled", False)]


async def test_calling_off_what_the_provider_has_wakes_its_job(start, migrated_url, redis_url, until):
    import redis

    async with start(**KEYS) as caller:
        user = await caller.as_user()
        accepted = await caller.http.post("/v1/predictions", json=PREDICTION, headers=user)
        rows(migrated_url, "UPDATE predictions SET status = 'processing', provider_id = 'abc'")
        rows(migrated_url, "UPDATE jobs SET run_at = now() + interval '1 hour'")
        with redis.Redis.from_url(redis_url) as client:
            until(lambda: client.llen("rq:queue:webhook-processor") == 1)
            answer = await caller.http.post(f"{accepted.headers['location']}/cancel", headers=user)
            until(lambda: client.llen("rq:queue:webhook-processor") == 2)
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    assert rows(migrated_url, "SELECT cancel_requested_at IS NULL, completed_at FROM predictions") == [(False, None)]
    assert rows(migrated_url, "SELECT run_at <= now() FROM jobs") == [(True,)]


async def test_others_predictions_do_not_exist(start):
    async with start(**KEYS) as caller:
        accepted = await caller.http.post("/v1/predictions", json=PREDICTION, headers=await caller.as_user())
        mine, stranger = accepted.headers["location"], await caller.as_user("other@example.org")
        answers = [
            await caller.http.get(mine, headers=stranger),
            await caller.http.post(f"{mine}/cancel", headers=stranger),
            await caller.http.get(f"/v1/predictions/{uuid.uuid4()}", headers=stranger),
            await caller.http.get("/v1/predictions/7", headers=stranger),
        ]
        listed = (await caller.http.get("/v1/predictions", headers=stranger)).json()
        unknown = await caller.http.post("/v1/predictions", json=PREDICTION)
    assert [a.status_code for a in answers] == [404] * 4
    assert listed == {"items": [], "next_cursor": None}
    assert unknown.status_code == 401


async def test_a_token_of_a_removed_account(start, migrated_url):
    async with start(**KEYS) as caller:
        user = await caller.as_user()
        rows(migrated_url, "DELETE FROM users")
        answer = await caller.http.post("/v1/predictions", json=PREDICTION, headers=user)
    assert answer.status_code == 401
