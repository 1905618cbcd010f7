"""Tokens and passwords without a server."""

from __future__ import annotations

import secrets
import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from app.accounts.passwords import Passwords
from app.accounts.tokens import InvalidToken, Tokens
from app.settings_checks import KeyRing

USER, FAMILY = uuid.uuid4(), uuid.uuid4()
KEYS = {name: secrets.token_urlsafe(64) for name in ("old", "new")}


def tokens(
    active: str = "new", keys: dict[str, str] = KEYS, *, now: datetime | None = None, audience: str = "a"
) -> Tokens:
    clock = (lambda: now) if now else (lambda: datetime.now(UTC))
    ring = KeyRing(active=active, keys=keys)
    return Tokens(ring, issuer="i", audience=audience, access_seconds=60, refresh_seconds=600, now=clock)


def test_what_is_issued_is_accepted() -> None:
    access, refresh = tokens().issue_access(USER), tokens().issue_refresh(USER, family_id=FAMILY)
    assert tokens().check_access(access.text).user_id == USER
    found = tokens().check_refresh(refresh.text)
    assert (found.id, found.family_id, found.expires_at) == (refresh.id, FAMILY, refresh.expires_at)


def test_any_key_of_the_ring_verifies() -> None:
    assert tokens().check_access(tokens("old").issue_access(USER).text).user_id == USER


def test_a_key_outside_the_ring_does_not() -> None:
    text = tokens("old").issue_access(USER).text
    with pytest.raises(InvalidToken, match="not one of this service's"):
        tokens(keys={"new": KEYS["new"]}).check_access(text)


@pytest.mark.parametrize(("age", "valid"), [(0, True), (60, True), (80, False)])
def test_expiry_with_ten_seconds_of_grace(age: int, valid: bool) -> None:
    text = tokens(now=datetime.now(UTC) - timedelta(seconds=age)).issue_access(USER).text
    if valid:
        tokens().check_access(text)
    else:
        with pytest.raises(InvalidToken, match="expired"):
            tokens().check_access(text)


def test_the_kinds_stay_apart() -> None:
    with pytest.raises(InvalidToken):
        tokens().check_access(tokens().issue_refresh(USER, family_id=FAMILY).text)
    with pytest.raises(InvalidToken):
        tokens().check_refresh(tokens().issue_access(USER).text)


def test_another_audience() -> None:
    with pytest.raises(InvalidToken):
        tokens(audience="b").check_access(tokens().issue_access(USER).text)


@pytest.mark.anyio
async def test_passwords() -> None:
    passwords = Passwords()
    hashed = await passwords.hash("a long enough password")
    assert hashed.startswith("$argon2id$")
    assert await passwords.verify("a long enough password", hashed)
    assert not await passwords.verify("another password", hashed)
    assert not await passwords.verify("a long enough password", None)
    assert not await passwords.verify("a long enough password", "not a hash")
    assert not passwords.is_outdated(hashed)
    assert passwords.is_outdated(hashed.replace("t=2", "t=1"))
    passwords.close()


@pytest.mark.anyio
async def test_hashing_is_off_the_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    class Hasher:
        def hash(self, password: str) -> str:
            seen.append(threading.current_thread().name)
            return "hash"

        def verify(self, password_hash: str, password: str) -> bool:
            seen.append(threading.current_thread().name)
            return True

    monkeypatch.setattr("app.accounts.passwords._HASHER", Hasher())
    passwords = Passwords()
    await passwords.verify("password", await passwords.hash("password"))
    passwords.close()
    assert [name.partition("_")[0] for name in seen] == ["argon2", "argon2"]


def test_a_valid_token_is_checked_once_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [datetime.now(UTC)]
    made = Tokens(
        KeyRing(active="new", keys=KEYS),
        issuer="i",
        audience="a",
        access_seconds=60,
        refresh_seconds=600,
        now=lambda: now[0],
    )
    text = made.issue_access(USER).text
    first = made.check_access(text)
    with monkeypatch.context() as patched:
        patched.setattr(made, "_check", lambda kind, text: pytest.fail("checked again"))
        assert made.check_access(text) is first
    with pytest.raises(InvalidToken):
        made.check_access(text[:-2])

    now[0] += timedelta(seconds=61)
    calls: list[str] = []
    monkeypatch.setattr(made, "_check", lambda kind, text: calls.append(kind) or first)
    made.check_access(text)

    assert calls == ["at+jwt"]


def test_checked_tokens_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.accounts.tokens._MOST_CHECKED", 3)
    made = tokens()
    for _ in range(10):
        made.check_access(made.issue_access(uuid.uuid4()).text)
    assert len(made._checked) <= 3
