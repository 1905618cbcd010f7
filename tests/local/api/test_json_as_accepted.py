"""JSON of callers and providers is kept and shown as it came, and the version before lives with that."""

from __future__ import annotations

import hashlib
import json
import uuid
from pathlib import Path
from typing import Any

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from fake_provider import MODEL
from psycopg.types.json import Jsonb

from app.db.engine import sync_engine
from app.migrations import runner
from app.settings import Settings

pytestmark = pytest.mark.anyio

URL = "https://receiver.example.org/hook"
KEYS = {"REPLICATE_API_KEY": "r8_test", "OPENAI_API_KEY": "sk-test"}
ODD = [
    "1e22",
    "-0.0",
    "1e308",
    "1.10",
    "1e-20000",
    "12345678901234567890123",
    '{"b": 1,  "a":\t[1.50, 1E+2], "é\\u00e9": "\\/"}',
    '{"a":1,"a":2}',
    "null",
    '"null"',
    "[" * 90 + "]" * 90,
]


def rows(url: str, query: str, *args: object) -> list[tuple]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(query, args)
        return cursor.fetchall() if cursor.description else []


def member(text: str, name: str, value: str) -> bool:
    return f'"{name}":{value}' in text


def written(payload: str | bytes, *more: bytes) -> bytes:
    raw = payload.encode() if isinstance(payload, str) else payload
    return b'{"url": "%s", "payload": %s%s}' % (URL.encode(), raw, b"".join(b", " + one for one in more))


def in_value(json_value: Any) -> Any:
    return json.loads(json.dumps(json_value), parse_int=float)


async def post(caller: Any, user: dict[str, str], path: str, content: bytes, **headers: str) -> Any:
    return await caller.http.post(
        path, content=content, headers={**user, "Content-Type": "application/json", **headers}
    )


@pytest.mark.parametrize("payload", ODD, ids=lambda payload: payload[:12])
async def test_a_payload_is_kept_and_shown_byte_for_byte(start, migrated_url, payload):
    async with start() as caller:
        user = await caller.as_user()
        accepted = await post(caller, user, "/v1/deliveries", written(payload))
        shown = await caller.http.get(accepted.headers["location"], headers=user)
    assert accepted.status_code == 202, accepted.text
    assert rows(migrated_url, "SELECT payload_text FROM deliveries") == [(payload,)]
    assert member(shown.text, "payload", payload)
    assert shown.json()["payload"] == json.loads(payload)
    assert shown.json()["attempts"] == []


async def test_what_leaves_is_no_larger_than_what_came(start, migrated_url):
    """960 KB of `1e308` made an answer of 49.6 MB."""
    payload = "[" + ",".join(["1e308"] * 160_000) + "]"
    assert len(payload) == 960_001
    async with start() as caller:
        user = await caller.as_user()
        accepted = await post(caller, user, "/v1/deliveries", written(payload))
        shown = await caller.http.get(accepted.headers["location"], headers={**user, "Accept-Encoding": "identity"})
    assert accepted.status_code == 202, accepted.text
    assert len(payload) < len(shown.content) < len(payload) + 1000
    assert rows(migrated_url, "SELECT octet_length(payload_text) FROM deliveries") == [(len(payload),)]


@pytest.mark.parametrize(
    ("content", "status", "says"),
    [
        (written("NaN"), 400, "NaN is no number of JSON"),
        (written("[-Infinity]"), 400, "-Infinity is no number of JSON"),
        (written("1e400"), 422, "/payload contains a number that is too large"),
        (written("[-1e400]"), 422, "/payload contains a number that is too large"),
        (written("9" * 4300), 202, ""),
        (written("9" * 4301), 400, "a whole number has more than 4,300 digits"),
        (written('"\\ud800"'), 422, "/payload contains a NUL or an unpaired surrogate"),
        (written('"\\u0000"'), 422, "/payload contains a NUL or an unpaired surrogate"),
        (written('{"\\u0000":1}'), 422, "/payload contains a NUL or an unpaired surrogate"),
        (written(b'"\xed\xa0\x80"'), 400, "the body is not UTF-8"),
        (written(b'"\xff"'), 400, "the body is not UTF-8"),
        (written('"\\ud83d\\ude00"'), 202, ""),
        (written("[" * 99 + "]" * 99), 202, ""),
        (written("[" * 102 + "]" * 102), 422, "/payload is nested more than 100 levels deep"),
        (written("[" * 50_000 + "]" * 50_000), 400, "nested beyond reason"),
        (written('{"a":1,"a":2}'), 202, ""),
        (written("1", b'"payload": 2'), 422, "/payload is given twice"),
        (written("1", b'"headers": {"X-A": "1", "X-A": "2"}'), 422, "/headers/X-A is given twice"),
        (b"\xef\xbb\xbf" + written("1"), 202, ""),
        (written("1").decode().encode("utf-16"), 400, "the body is not UTF-8"),
        (written("1").decode().encode("utf-16-le"), 400, "is not JSON that can be read"),
        (written("1") + b"x", 400, "Expecting the end"),
    ],
    ids=lambda value: value[-40:].decode("latin-1") if isinstance(value, bytes) else "",
)
async def test_each_odd_body_has_one_clear_answer(start, migrated_url, content, status, says):
    async with start() as caller:
        user = await caller.as_user()
        answer = await post(caller, user, "/v1/deliveries", content)
    problem = answer.json()
    told = [f"{error['pointer']} {error['detail']}" for error in problem.get("errors", [])] or [
        problem.get("detail", "")
    ]
    assert (answer.status_code, len(told)) == (status, 1), answer.text
    assert says in told[0]
    assert rows(migrated_url, "SELECT count(*) FROM deliveries") == [(1 if status == 202 else 0,)]


async def test_a_length_beyond_all_numbers(start):
    async with start() as caller:
        user = await caller.as_user()
        answer = await post(caller, user, "/v1/deliveries", b"{}", **{"Content-Length": "9" * 5000})
    assert answer.status_code == 413


async def test_a_repeated_request_means_the_same_however_it_is_written(start, migrated_url):
    """The hash is what the version before made: a client that repeats during a deployment gets its first answer."""
    async with start() as caller:
        user = {**await caller.as_user(), "Idempotency-Key": "k"}
        first = await post(caller, user, "/v1/deliveries", written('{"a": 1e22, "b": -0.0}'))
        again = await post(caller, user, "/v1/deliveries", written('{"b":-0.0,"a":1e+22}'))
    assert (again.status_code, again.text) == (202, first.text)
    [(kept, text)] = rows(migrated_url, "SELECT request_hash, payload_text FROM deliveries")
    before = {"url": URL, "payload": {"a": 1e22, "b": -0.0}, "headers": {}, "max_attempts": None}
    canonical = json.dumps(before, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert kept == hashlib.sha256(canonical.encode()).digest()
    assert text == '{"a": 1e22, "b": -0.0}'


@pytest.mark.feature("predictions")
async def test_a_prediction_is_kept_and_shown_as_it_came(start, migrated_url):
    given = '{"z": 1e308, "a":  -0.0, "seed": 1.10}'
    output = '{"output":["b",1e+308],"usage":null}'
    content = f'{{"provider":"replicate","model":"{MODEL["replicate"]}","input":{given}}}'.encode()
    async with start(**KEYS) as caller:
        user = await caller.as_user()
        accepted = await post(caller, user, "/v1/predictions", content)
        location = accepted.headers["location"]
        opened = await caller.http.get(location, headers=user)
        rows(migrated_url, "UPDATE predictions SET output = '[1]', output_text = %s", output)
        ended = await caller.http.get(location, headers=user)
        same = await caller.http.get(location, headers={**user, "If-None-Match": ended.headers["etag"]})
        twice = await post(caller, user, "/v1/predictions", content.replace(given.encode(), b'{"a":1,"a":2}'))
    assert member(opened.text, "input", given)
    assert member(opened.text, "output", "null")
    assert member(ended.text, "input", given)
    assert member(ended.text, "output", output)
    assert opened.headers["etag"] != ended.headers["etag"]
    assert same.status_code == 304
    assert [error["pointer"] for error in twice.json()["errors"]] == ["/input/a"]


# What the version before does, word for word as far as it touches what has changed.
BEFORE_ADD = """
    INSERT INTO deliveries (id, user_id, url, payload, headers, max_attempts)
    SELECT id, user_id, url, coalesce(payload, CAST('null' AS jsonb)), headers, max_attempts
    FROM json_to_recordset(CAST(%s AS json)) AS given (
        id uuid, user_id uuid, url text, payload jsonb, headers jsonb, max_attempts int
    )
"""
BEFORE_BEGIN = """
    UPDATE deliveries SET status = 'delivering', updated_at = now() WHERE id = %s
    RETURNING json_build_object('url', url, 'payload', payload, 'headers', headers) AS work
"""
BEFORE_GET = "SELECT id, payload, headers FROM deliveries WHERE id = %s"


async def test_the_version_before_reads_what_this_one_accepts(start, migrated_url):
    async with start() as caller:
        user = await caller.as_user()
        for payload in ODD:
            accepted = (await post(caller, user, "/v1/deliveries", written(payload))).json()
            [(work,)] = rows(migrated_url, BEFORE_BEGIN, accepted["id"])
            [(_, shown, _)] = rows(migrated_url, BEFORE_GET, accepted["id"])
            # As it always was there: equal in value, with the exponent written out.
            assert in_value(work["payload"]) == in_value(shown) == in_value(json.loads(payload))


async def test_this_version_shows_what_the_one_before_accepted(start, migrated_url):
    async with start() as caller:
        user = await caller.as_user()
        [(user_id,)] = rows(migrated_url, "SELECT id FROM users")
        for payload in (None, "x", {"a": [1.5, {"b": "é"}]}):
            given = {"id": str(uuid.uuid4()), "user_id": str(user_id), "url": URL, "payload": payload, "headers": {}}
            rows(migrated_url, BEFORE_ADD, json.dumps([{**given, "max_attempts": 3}]))
            shown = await caller.http.get(f"/v1/deliveries/{given['id']}", headers=user)
            assert shown.json()["payload"] == payload


@pytest.mark.feature("predictions")
async def test_this_version_shows_the_prediction_that_the_one_before_accepted(start, migrated_url):
    async with start() as caller:
        user = await caller.as_user()
        [(user_id,)] = rows(migrated_url, "SELECT id FROM users")
        prediction_id = uuid.uuid4()
        rows(
            migrated_url,
            "INSERT INTO predictions (id, user_id, provider, model, input, output) VALUES (%s, %s, %s, %s, %s, %s)",
            *(prediction_id, user_id, "replicate", "a/b", Jsonb({"n": 1}), Jsonb(["x"])),
        )
        shown = await caller.http.get(f"/v1/predictions/{prediction_id}", headers=user)
    assert (shown.json()["input"], shown.json()["output"]) == ({"n": 1}, ["x"])


def upgrade(url: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(runner.__file__).parent))
    config.set_main_option("path_separator", "os")
    settings = Settings.load({"MODE": "migrate", "ENVIRONMENT": "test", "DATABASE_URL": url})
    with sync_engine(settings, pooled=False).begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


async def test_a_process_of_the_version_before_goes_on_over_the_migration(database_url):
    """Its prepared statements hold: a column of another type would fail them until it connects anew."""
    upgrade(database_url, "0003")
    user_id = uuid.uuid4()
    rows(database_url, "INSERT INTO users (id, email, password_hash) VALUES (%s, 'a@example.org', 'x')", user_id)
    given = {"user_id": str(user_id), "url": URL, "payload": {"n": 1}, "headers": {}, "max_attempts": 3}
    with psycopg.connect(database_url, autocommit=True, prepare_threshold=0) as before:

        def work() -> None:
            delivery_id = uuid.uuid4()
            before.execute(BEFORE_ADD, [json.dumps([{**given, "id": str(delivery_id)}])])
            [(shown,)] = before.execute(BEFORE_BEGIN, [delivery_id]).fetchall()
            assert shown["payload"] == {"n": 1}
            assert before.execute(BEFORE_GET, [delivery_id]).fetchall() == [(delivery_id, {"n": 1}, {})]

        for _ in range(7):
            work()
        upgrade(database_url, "head")
        for _ in range(7):
            work()


@pytest.mark.parametrize(
    "content",
    [
        b'{"\\ud800": 1, "\\ud800": 2}',
        written("1", b'"\\ud800": 1'),
        written("1", b'"headers": {"\\ud800": 1}'),
        written("1", b'"headers": {"\\ud800": "x", "\\ud800": "x"}'),
        written("1", b'"headers": {"X": "\\ud800"}'),
        b'{"url": "\\ud800", "payload": 1}',
    ],
)
async def test_half_a_surrogate_pair_anywhere_is_told_of_in_a_document_that_can_be_read(start, content):
    """A problem document quotes the names that it is about."""
    async with start() as caller:
        answer = await post(caller, await caller.as_user(), "/v1/deliveries", content)
    assert (answer.status_code, answer.json()["status"]) == (422, 422)
    assert all(error["pointer"] for error in answer.json()["errors"])
