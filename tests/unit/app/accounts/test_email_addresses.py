"""One address, however it is typed; and what is no address of an account."""

from __future__ import annotations

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.accounts.email_address import MAX_LENGTH, DisplayNameGiven, parse_email, read_email

LONGEST = f"{'a' * 64}@{'b' * 61}.{'c' * 61}.{'d' * 61}.org"


@pytest.mark.parametrize(
    ("stored", "typed"),
    [
        (
            "ann@example.org",
            ["Ann@Example.ORG", " ann@example.org", "ann@example.org\n", "\u3000ann@example.org\u00a0"],
        ),
        ("bob@bücher.example", ["bob@xn--bcher-kva.example", "BOB@XN--BCHER-KVA.EXAMPLE", "bob@BU\u0308CHER.example"]),
        ("rené@example.org", ["rene\u0301@example.org", "REN\u00c9@example.org", "RENE\u0301@EXAMPLE.ORG"]),
        # Capitals that have no composed form, of letters that have one.
        ("\u01f0iri@example.org", ["J\u030ciri@example.org", "j\u030ciri@example.org"]),
        ("\u0390@example.org", ["\u03aa\u0301@example.org", "\u03b9\u0308\u0301@example.org"]),
        ("ann@example.org", ["ann@ｅｘａｍｐｌｅ.org", "ANN@ＥＸＡＭＰＬＥ．ＯＲＧ", "ann@example。org"]),
        # RFC 6532 advises against NFKC before the @: another mailbox.
        ("ａｎｎ@example.org", ["ＡＮＮ@example.org"]),
        ("user+tag@example.org", ["User+Tag@example.org"]),
        ("straße@straße.example", ["STRAßE@xn--strae-oqa.example"]),
        ("i\u0307@example.org", ["\u0130@example.org"]),
        (LONGEST, [LONGEST.upper(), f"  {LONGEST}  "]),
    ],
)
def test_however_it_is_typed_it_is_one_address(stored: str, typed: list[str]) -> None:
    for text in (stored, *typed):
        assert parse_email(text).normalised == stored, ascii(text)
        assert read_email(text) == parse_email(text)
        assert parse_email(text).spellings[-1] == stored


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Bob <bob@example.org>", "the address alone, such as"),
        ('"Bob, the builder" <bob@example.org> ', "the address alone, such as"),
        ("<bob@example.org>", "the address alone, such as"),
        ("Böb <bob@example.org>", "the address alone, such as"),
        (f"{LONGEST}x", "at most 254 characters"),
        ("bob@example.org.", "cannot end with a period"),
        ("bob@.example.org", "period"),
        (".bob@example.org", "period"),
        ("b..b@example.org", "period|dot|two periods"),
        ('"bob"@example.org', "Quoting the part before the @-sign is not allowed"),
        ('"b b"@example.org', "Quoting the part before the @-sign is not allowed"),
        ("b b@example.org", "invalid characters"),
        ("bob@example.org\nbcc: all@example.org", "invalid characters|@-sign"),
        ("bob", "must have an @-sign"),
        ("bob＠example.org", "full-width"),
        ("bob@[127.0.0.1]", "bracketed IP address"),
        ("bob@localhost", "period|reserved"),
        ("bob@xn--a.example", "not valid|IDNA|invalid"),
        ("b\0b@example.org", "invalid characters"),
        ("b\ud800b@example.org", "unsafe|invalid"),
        ("b\u200bb@example.org", "unsafe|invalid"),
        ("bob@ex\u202eample.org", "invalid|unsafe"),
        (f"{'é' * 130}@example.org", "too long"),
        ("", "must have an @-sign"),
        ("@", "There must be something"),
    ],
)
def test_what_cannot_be_registered_is_told_why(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_email(text)


def test_a_login_may_try_what_cannot_be_registered() -> None:
    """It fails as any other that nobody has, unless an earlier version with other rules has stored it."""
    assert read_email(" B\0b@example.org. ").spellings == ("b\0b@example.org.",)
    with pytest.raises(DisplayNameGiven):
        read_email("Bob <bob@example.org>")
    with pytest.raises(ValueError, match="at most 254"):
        read_email("x" * (MAX_LENGTH + 1))


def test_who_is_stored_as_before_is_found_first() -> None:
    """Both could be accounts of their own; each text leads where it led."""
    assert parse_email("J\u030c@example.org").spellings == ("j\u030c@example.org", "\u01f0@example.org")
    assert parse_email("\u01f0@example.org").spellings == ("\u01f0@example.org",)


def test_normalising_twice_changes_nothing() -> None:
    """What is shown can be typed back: all letters with a mark, also in the forms of their capitals."""
    composed = [chr(c) for c in range(0xC0, 0x2000) if unicodedata.decomposition(chr(c)) and chr(c).isalpha()]
    assert len(composed) > 700
    for character in composed:
        for form in (character, character.upper(), unicodedata.normalize("NFD", character.upper())):
            try:
                once = parse_email(f"a{form}b@example.org").normalised
            except ValueError:
                continue
            assert parse_email(once).normalised == once, ascii(character)


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_text_is_an_address_or_a_value_error(local: str, domain: str) -> None:
    for text in (local, f"{local}@{domain}", f"a{local}@{domain}.org"):
        try:
            once = parse_email(text).normalised
        except ValueError:
            continue
        assert parse_email(once).normalised == once
        assert unicodedata.is_normalized("NFC", once)


def test_no_single_character_breaks_it() -> None:
    for code in range(0, sys.maxunicode, 257):
        for text in (f"a{chr(code)}@example.org", f"a@b{chr(code)}.org"):
            try:
                once = parse_email(text).normalised
            except ValueError:
                continue
            assert parse_email(once).normalised == once
