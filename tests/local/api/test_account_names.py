"""Who registers can log in, in every spelling of the address and on every keyboard."""

from __future__ import annotations

import unicodedata
import uuid

import psycopg
import pytest
from argon2 import PasswordHasher

pytestmark = pytest.mark.anyio

PASSWORD = "un café crème à Nîmes"
SAME = [
    ("bob@bücher.example", "bob@xn--bcher-kva.example"),
    ("rené@example.org", "rene\u0301@example.org"),
    ("ann@example.org", "ANN@ｅｘａｍｐｌｅ.org"),
    ("carl@example.org", " Carl@Example.ORG\t"),
    ("\u01f0iri@example.org", "J\u030ciri@example.org"),
]


async def register(caller, email, password=PASSWORD):
    return await caller.http.post("/v1/auth/register", json={"email": email, "password": password})


async def log_in(caller, email, password=PASSWORD):
    return await caller.http.post("/v1/auth/login", json={"email": email, "password": password})


async def shown(caller, tokens):
    bearer = {"Authorization": f"Bearer {tokens.json()['access_token']}"}
    return (await caller.http.get("/v1/auth/me", headers=bearer)).json()["email"]


@pytest.mark.parametrize("spellings", [*SAME, *(pair[::-1] for pair in SAME)], ids=ascii)
async def test_registered_in_one_spelling_one_logs_in_in_the_other(start, spellings):
    first, second = spellings
    async with start() as caller:
        registered = await register(caller, first)
        assert (registered.status_code, (await register(caller, second)).status_code) == (201, 409)
        stored = registered.json()["email"]
        for email in (first, second, stored):
            assert await shown(caller, await log_in(caller, email)) == stored


@pytest.mark.parametrize("path", ["register", "login"])
async def test_a_display_name_is_refused_with_one_message(start, path):
    async with start() as caller:
        await register(caller, "bob@example.org")
        given = {"email": "Bob <bob@example.org>", "password": PASSWORD}
        answer = await caller.http.post(f"/v1/auth/{path}", json=given)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["detail"]) == (
        "/email",
        "must be the address alone, such as ann@example.org, without a name or angle brackets",
    )


async def test_guesses_in_many_spellings_are_guesses_at_one_account(start):
    async with start(LOGIN_FAILURES_MAX="2") as caller:
        spellings = ["bob@bücher.example", "bob@xn--bcher-kva.example", "BOB@bu\u0308cher.example"]
        assert [(await log_in(caller, email)).status_code for email in spellings] == [401, 401, 429]


def insert(url, email, password):
    """As the version before stored it."""
    hashed = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(password)
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO users (id, email, password_hash) VALUES (%s, %s, %s)", (uuid.uuid4(), email, hashed)
        )
    return hashed


@pytest.mark.parametrize(
    ("stored", "typed"),
    [
        ("ann@example.org", "Ann@Example.org"),
        ("bob@bücher.example", "bob@bücher.example"),
        ("bob@bücher.example", "bob@xn--bcher-kva.example"),
        ("j\u030ciri@example.org", "J\u030ciri@example.org"),
        ("j\u030ciri@example.org", "j\u030ciri@example.org"),
        # As a version with other rules may have stored it.
        ("ann@intranet", "Ann@Intranet"),
        ("bob@xn--bcher-kva.example", "bob@xn--bcher-kva.example"),
    ],
    ids=ascii,
)
async def test_accounts_of_earlier_versions_log_in(start, migrated_url, stored, typed):
    insert(migrated_url, stored, PASSWORD)
    async with start() as caller:
        assert await shown(caller, await log_in(caller, typed)) == stored
        assert (await register(caller, typed)).status_code in (409, 422)


async def test_two_accounts_whose_addresses_have_become_one_stay_apart(start, migrated_url):
    """Each text leads to the account that it led to before, and to no other."""
    former, composed = "j\u030c@example.org", "\u01f0@example.org"
    insert(migrated_url, former, "the older account")
    insert(migrated_url, composed, "the newer account")
    async with start() as caller:
        for typed, own, other in (
            (former, "the older account", "the newer account"),
            ("J\u030c@example.org", "the older account", "the newer account"),
            (composed, "the newer account", "the older account"),
        ):
            assert await shown(caller, await log_in(caller, typed, own)) == (former if "older" in own else composed)
            assert (await log_in(caller, typed, other)).status_code == 401


@pytest.mark.parametrize("form", ["NFC", "NFD"])
async def test_a_password_of_an_earlier_version_works_as_it_was_typed_and_its_hash_stays(start, migrated_url, form):
    password = unicodedata.normalize(form, PASSWORD)
    hashed = insert(migrated_url, "ann@example.org", password)
    async with start() as caller:
        assert (await log_in(caller, "ann@example.org", password)).status_code == 200
    with psycopg.connect(migrated_url) as connection:
        assert connection.execute("SELECT password_hash FROM users").fetchall() == [(hashed,)]


async def test_a_new_password_works_on_every_keyboard(start):
    async with start() as caller:
        await register(caller, "ann@example.org", unicodedata.normalize("NFD", PASSWORD))
        for form in ("NFC", "NFD", "NFKC", "NFKD"):
            answer = await log_in(caller, "ann@example.org", unicodedata.normalize(form, PASSWORD))
            assert answer.status_code == 200
        assert (await log_in(caller, "ann@example.org", PASSWORD.upper())).status_code == 401
