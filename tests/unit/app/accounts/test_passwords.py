"""One password, whichever keyboard it was typed on."""

from __future__ import annotations

import unicodedata

import pytest
from argon2 import PasswordHasher
from pydantic import ValidationError

from app.accounts import passwords
from app.accounts.passwords import Passwords
from app.accounts.schemas import Login, Registration

pytestmark = pytest.mark.anyio

CAFÉ = "un café crème à Nîmes"
FORMS = {
    "composed": CAFÉ,
    "decomposed": unicodedata.normalize("NFD", CAFÉ),
    "full-width": "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in CAFÉ),
    "with other spaces": CAFÉ.replace(" ", "\u00a0"),
}


@pytest.fixture
async def hashing():
    made = Passwords()
    yield made
    made.close()


@pytest.mark.parametrize("registered", FORMS)
async def test_every_form_verifies_what_any_form_made(hashing: Passwords, registered: str) -> None:
    hashed = await hashing.hash(FORMS[registered])
    assert {form: await hashing.verify(text, hashed) for form, text in FORMS.items()} == dict.fromkeys(FORMS, True)
    assert not await hashing.verify(f" {CAFÉ}", hashed)
    assert not await hashing.verify(CAFÉ.upper(), hashed)
    assert not await hashing.verify(CAFÉ.replace("é", "e"), hashed)


@pytest.mark.parametrize("form", FORMS)
async def test_what_an_earlier_version_hashed_as_typed_still_verifies(hashing: Passwords, form: str) -> None:
    """Its hashes stay as they are: a replica of that version could not verify a new one."""
    hashed = PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1).hash(FORMS[form])
    assert await hashing.verify(FORMS[form], hashed)
    assert not hashing.is_outdated(hashed)
    assert not await hashing.verify(FORMS[form] + "x", hashed)


@pytest.mark.parametrize(("password", "tries"), [("a password in ASCII", 1), (CAFÉ, 1), (FORMS["decomposed"], 2)])
async def test_an_unknown_account_costs_as_much_as_a_wrong_password(
    hashing: Passwords, monkeypatch: pytest.MonkeyPatch, password: str, tries: int
) -> None:
    tried: list[str] = []
    monkeypatch.setattr(passwords, "_matches", lambda text, _: bool(tried.append(text)))
    for password_hash in (None, "another's"):
        tried.clear()
        assert not await hashing.verify(password, password_hash)
        assert len(tried) == tries


@pytest.mark.parametrize(
    ("password", "accepted"),
    [
        ("e\u0301" * 11, False),  # 22 typed, 11 meant
        ("e\u0301" * 12, True),
        ("\ufdfa", False),  # 1 typed, 18 spelled out
        ("\ufdfa" * 12, True),
        ("ｐａｓｓｗｏｒｄ１２３４", True),
        (" " * 12, True),
        ("x" * 1024, True),
        ("\ufdfa" * 1024, True),
        ("x" * 1025, False),
        ("e\u0301" * 513, False),
    ],
)
def test_length_is_counted_in_characters_of_the_shorter_form(password: str, accepted: bool) -> None:
    account = {"email": "ann@example.org", "password": password}
    if accepted:
        Registration.model_validate(account)
        Login.model_validate(account)
    else:
        with pytest.raises(ValidationError, match="must have 12 to 1024 characters"):
            Registration.model_validate(account)


@pytest.mark.parametrize("model", [Registration, Login])
def test_what_is_too_long_is_not_normalised(monkeypatch: pytest.MonkeyPatch, model: type[Registration | Login]) -> None:
    """It takes time by the square of a row of combining marks: for a whole body of them, minutes on the event loop."""
    monkeypatch.setattr(passwords, "normalised", lambda _: pytest.fail("normalised"))
    with pytest.raises(ValidationError, match="1024"):
        model.model_validate({"email": "ann@example.org", "password": "e" + "\u0301\u0316" * 512})


@pytest.mark.parametrize("value", [None, 7, ["ann@example.org"], {"address": "ann@example.org"}])
@pytest.mark.parametrize("model", [Registration, Login])
def test_an_address_is_text(model: type[Registration | Login], value: object) -> None:
    with pytest.raises(ValidationError, match="must be a string"):
        model.model_validate({"email": value, "password": CAFÉ})
