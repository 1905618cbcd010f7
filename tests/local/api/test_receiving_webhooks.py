"""Webhooks of providers: who is believed, what is stored, and that nothing hostile is more than a refusal."""

from __future__ import annotations

import asyncio
import base64
import json
import random
import time
import uuid
from urllib.parse import quote

import psycopg
import pytest
from fake_provider import OTHER_SECRET, SECRET, signed

pytestmark = [pytest.mark.anyio, pytest.mark.feature("predictions")]

BODY = json.dumps({"id": "abc123", "status": "succeeded", "output": ["a"], "error": None}).encode()
EVENT = json.dumps({"id": "evt_1", "type": "response.completed", "data": {"id": "resp_1"}}).encode()
SECRETS = {"WEBHOOK_SECRET_REPLICATE": SECRET, "WEBHOOK_SECRET_OPENAI": OTHER_SECRET}
PATH = "/v1/webhooks/replicate"


def rows(url: str, query: str, *args: object) -> list[tuple]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query, args)
        return cursor.fetchall() if cursor.description else []


async def test_stored_with_its_job_in_one_transaction(start, migrated_url):
    reference = uuid.uuid4()
    headers = signed(BODY, webhook_id="msg_1")
    async with start(**SECRETS) as caller:
        answer = await caller.http.post(f"{PATH}?prediction={reference}", content=BODY, headers=headers)
    assert (answer.status_code, answer.json()) == (202, {"webhook_id": "msg_1"})
    [row] = rows(
        migrated_url,
        "SELECT id, provider, webhook_id, provider_id, reference, body, processed_at FROM inbound_webhooks",
    )
    assert row[1:] == ("replicate", "msg_1", "abc123", reference, BODY, None)
    jobs = rows(migrated_url, "SELECT kind, queue, subject_id, state FROM jobs")
    assert jobs == [("webhook", "webhook-processor", row[0], "pending")]


async def test_an_event_of_openai_names_the_response(start, migrated_url):
    async with start(**SECRETS) as caller:
        headers = signed(EVENT, secret=OTHER_SECRET)
        answer = await caller.http.post("/v1/webhooks/openai", content=EVENT, headers=headers)
    assert answer.status_code == 202
    assert rows(migrated_url, "SELECT provider, provider_id FROM inbound_webhooks") == [("openai", "resp_1")]


async def test_the_same_webhook_fifty_times_at_once_counts_once(start, migrated_url):
    headers = signed(BODY)
    async with start(**SECRETS) as caller:
        answers = await asyncio.gather(*(caller.http.post(PATH, content=BODY, headers=headers) for _ in range(50)))
        rows(migrated_url, "UPDATE inbound_webhooks SET processed_at = now(), body = NULL")
        late = await caller.http.post(PATH, content=BODY, headers=signed(BODY, webhook_id=headers["webhook-id"]))
    assert {(a.status_code, a.text) for a in [*answers, late]} == {(202, answers[0].text)}
    assert rows(migrated_url, "SELECT count(*) FROM inbound_webhooks") == [(1,)]
    assert rows(migrated_url, "SELECT count(*) FROM jobs") == [(1,)]


async def test_providers_do_not_share_ids(start, migrated_url):
    async with start(**SECRETS) as caller:
        first = await caller.http.post(PATH, content=BODY, headers=signed(BODY, webhook_id="msg_1"))
        headers = signed(EVENT, webhook_id="msg_1", secret=OTHER_SECRET)
        second = await caller.http.post("/v1/webhooks/openai", content=EVENT, headers=headers)
    assert (first.status_code, second.status_code) == (202, 202)
    assert rows(migrated_url, "SELECT count(*) FROM jobs") == [(2,)]


@pytest.mark.flips("webhook_secret_replicate")
async def test_both_secrets_count_during_a_rotation(start):
    async with start(WEBHOOK_SECRET_REPLICATE=f"{OTHER_SECRET}, {SECRET}") as caller:
        both = [
            await caller.http.post(PATH, content=BODY, headers=signed(BODY, secret=s)) for s in (SECRET, OTHER_SECRET)
        ]
    async with start(WEBHOOK_SECRET_REPLICATE=OTHER_SECRET) as caller:
        old = await caller.http.post(PATH, content=BODY, headers=signed(BODY))
    assert [a.status_code for a in both] == [202, 202]
    assert old.status_code == 401


@pytest.mark.parametrize("body", [b'{"id": "abc", "status": "processing"}', b'{"id": "abc", "status": "starting"}'])
async def test_news_that_is_no_end_is_taken_and_makes_no_job(start, migrated_url, body):
    async with start(**SECRETS) as caller:
        answer = await caller.http.post(PATH, content=body, headers=signed(body))
    assert answer.status_code == 202
    assert rows(migrated_url, "SELECT body, processed_at IS NULL FROM inbound_webhooks") == [(None, False)]
    assert rows(migrated_url, "SELECT 1 FROM jobs") == []


async def test_other_events_of_openai_make_no_job(start, migrated_url):
    body = b'{"id": "evt_2", "type": "batch.completed", "data": {"id": "batch_1"}}'
    async with start(**SECRETS) as caller:
        answer = await caller.http.post("/v1/webhooks/openai", content=body, headers=signed(body, secret=OTHER_SECRET))
    assert answer.status_code == 202
    assert rows(migrated_url, "SELECT 1 FROM jobs") == []


async def test_who_is_not_believed(start, migrated_url):
    now = time.time()
    good = signed(BODY)
    _, signature = good["webhook-signature"].split(",")
    cases: dict[str, tuple[int, bytes, dict[str, str]]] = {
        "another body": (401, BODY.replace(b"abc", b"abd"), good),
        "another id": (401, BODY, {**good, "webhook-id": "msg_other"}),
        "another time": (401, BODY, {**good, "webhook-timestamp": str(int(now) - 1)}),
        "another secret": (401, BODY, signed(BODY, secret=OTHER_SECRET)),
        "too old": (401, BODY, signed(BODY, at=now - 320)),
        "from the future": (401, BODY, signed(BODY, at=now + 320)),
        "no comma": (401, BODY, {**good, "webhook-signature": signature}),
        "three parts": (401, BODY, {**good, "webhook-signature": f"v1,{signature},x"}),
        "another version": (401, BODY, {**good, "webhook-signature": f"v2,{signature}"}),
        "no base64": (401, BODY, {**good, "webhook-signature": "v1,a"}),
        "empty signature": (401, BODY, {**good, "webhook-signature": "v1,"}),
        "no time": (401, BODY, {**good, "webhook-timestamp": "nan"}),
        "endless time": (401, BODY, {**good, "webhook-timestamp": "1e400"}),
        "far time": (401, BODY, {**good, "webhook-timestamp": "9" * 30}),
        "no number": (401, BODY, {**good, "webhook-timestamp": "yesterday"}),
        "blank in the id": (400, BODY, {**good, "webhook-id": "a b"}),
        "long id": (400, BODY, {**good, "webhook-id": "a" * 256}),
        "no UTF-8": (400, b"\xff\xfe", good),
        "no headers": (400, BODY, {}),
        **{f"no {n}": (400, BODY, {k: v for k, v in good.items() if k != n}) for n in list(good)[:3]},
    }
    async with start(**SECRETS) as caller:
        for name, (status, body, headers) in cases.items():
            answer = await caller.http.post(PATH, content=body, headers=headers)
            assert (name, answer.status_code) == (name, status)
            assert answer.headers["content-type"] == "application/problem+json"
            assert SECRET not in answer.text
        twice = [*good.items(), ("webhook-id", "msg_2")]
        doubled = await caller.http.post(PATH, content=BODY, headers=twice)
    assert doubled.status_code == 400
    assert rows(migrated_url, "SELECT 1 FROM inbound_webhooks") == []


async def test_a_window_of_five_minutes_either_way(start):
    async with start(**SECRETS) as caller:
        answers = [
            await caller.http.post(PATH, content=BODY, headers=signed(BODY, at=time.time() + s)) for s in (-280, 280)
        ]
    assert [a.status_code for a in answers] == [202, 202]


@pytest.mark.parametrize(
    "body", [b"", b"null", b"[]", b'"a"', b"{", b"{}", b'{"id": 7, "status": "succeeded"}', b"[" * 20_000, b"9" * 5000]
)
async def test_signed_bodies_that_are_no_prediction(start, migrated_url, body):
    async with start(**SECRETS) as caller:
        answer = await caller.http.post(PATH, content=body, headers=signed(body))
    assert (answer.status_code, answer.headers["content-type"]) == (400, "application/problem+json")
    assert rows(migrated_url, "SELECT 1 FROM inbound_webhooks") == []


async def test_nothing_that_headers_can_hold_is_an_error_of_ours(start):
    """Random bytes, and pieces of a right signature in the wrong places."""
    chance = random.Random(15)
    good = signed(BODY)
    pieces = [*good.values(), "v1,", "v1", ",", " ", "whsec_", "-1", "1e5", "0x1", "∞", "\x7f", "==", "v1,=", "٣" * 10]

    def hostile() -> bytes:
        if chance.random() < 0.5:
            return bytes(chance.choice(range(0x21, 0x100)) for _ in range(chance.randrange(60)))
        return "".join(chance.choices(pieces, k=chance.randrange(1, 4))).encode()

    async with start(**SECRETS) as caller:
        for _ in range(400):
            headers = [
                (name.encode(), hostile() if chance.random() < 0.5 else good[name].encode()) for name in list(good)[:3]
            ]
            body = BODY if chance.random() < 0.5 else hostile()
            answer = await caller.http.post(PATH, content=body, headers=headers)
            assert answer.status_code in (202, 400, 401), (headers, body)


@pytest.mark.parametrize("reference", ["", "x", "7" * 400, "%00", "٣"])
async def test_an_address_that_names_nothing(start, migrated_url, reference):
    async with start(**SECRETS) as caller:
        answer = await caller.http.post(f"{PATH}?prediction={quote(reference)}", content=BODY, headers=signed(BODY))
    assert answer.status_code == 202
    assert rows(migrated_url, "SELECT reference FROM inbound_webhooks") == [(None,)]


@pytest.mark.flips("webhook_secret_openai")
async def test_providers_whose_webhooks_are_not_taken(start):
    async with start(WEBHOOK_SECRET_REPLICATE=SECRET) as caller:
        unset = await caller.http.post("/v1/webhooks/openai", content=EVENT, headers=signed(EVENT))
        unknown = await caller.http.post("/v1/webhooks/other", content=EVENT, headers=signed(EVENT))
        read = await caller.http.get(PATH)
    assert (unset.status_code, unknown.status_code, read.status_code) == (404, 404, 405)
    assert "WEBHOOK_SECRET_OPENAI is not set" in unset.json()["detail"]


async def test_a_body_above_the_limit(start):
    body = json.dumps({"id": "abc", "status": "succeeded", "output": "x" * 5000}).encode()
    async with start(**SECRETS, BODY_LIMIT="4096") as caller:
        answer = await caller.http.post(PATH, content=body, headers=signed(body))
    assert answer.status_code == 413


async def test_a_large_body_is_stored_whole(start, migrated_url):
    body = json.dumps({"id": "abc", "status": "succeeded", "output": ["é" * 100] * 2000}, ensure_ascii=False).encode()
    async with start(**SECRETS) as caller:
        answer = await caller.http.post(PATH, content=body, headers=signed(body))
    assert answer.status_code == 202
    assert rows(migrated_url, "SELECT body FROM inbound_webhooks") == [(body,)]


async def test_a_providers_webhooks_are_not_counted_as_requests_of_one_address(start):
    async with start(**SECRETS, RATE_LIMIT_MAX="2") as caller:
        answers = [await caller.http.post(PATH, content=BODY, headers=signed(BODY)) for _ in range(5)]
        others = [await caller.http.get("/v1/auth/me") for _ in range(3)]
    assert {a.status_code for a in answers} == {202}
    assert others[-1].status_code == 429


async def test_no_answer_without_a_commit(start, tmp_path):
    """A webhook that could not be stored is not accepted, so that its provider sends it again."""
    async with start(**SECRETS, DATABASE_URL=f"postgresql:///none?host={tmp_path}") as caller:
        answer = await caller.http.post(PATH, content=BODY, headers=signed(BODY))
    assert answer.status_code == 503


@pytest.mark.parametrize("given", ["padded", "bare"])
async def test_a_secret_with_and_without_its_padding(start, given):
    padded = "whsec_" + base64.b64encode(b"sixteen bytes or more!").decode()
    secret = {"padded": padded, "bare": padded.rstrip("=")}[given]
    async with start(WEBHOOK_SECRET_REPLICATE=secret) as caller:
        answer = await caller.http.post(PATH, content=BODY, headers=signed(BODY, secret=padded))
    assert answer.status_code == 202
