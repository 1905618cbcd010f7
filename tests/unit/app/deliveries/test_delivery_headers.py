"""Headers that a delivery may have: what is accepted can be sent."""

from __future__ import annotations

import h11
import pytest
from pydantic import ValidationError

from app.deliveries.schemas import MAX_HEADERS_LENGTH, DeliveryIn
from app.outbound.client import encode_headers


def accepted(headers: dict[str, str]) -> dict[str, str] | None:
    try:
        return DeliveryIn(url="https://receiver.example.org", payload=None, headers=headers).headers
    except ValidationError:
        return None


CHARACTERS = [*map(chr, range(0x180)), "\u2028", "日", "\U0001f600"]


@pytest.mark.parametrize("form", ["{}", "a{}b", "{}a", "a{}", " {} "])
@pytest.mark.parametrize("part", ["name", "value"])
def test_every_character_anywhere_is_refused_or_can_be_sent(part: str, form: str) -> None:
    """A value with a blank before or behind was accepted, and failed for good with the first attempt."""
    for character in CHARACTERS:
        text = form.format(character)
        headers = accepted({text: "value"} if part == "name" else {"X-A": text})
        if headers is not None:
            h11.Request(method="POST", target="/", headers=[("Host", "a"), *encode_headers(headers.items())])


@pytest.mark.parametrize(
    ("given", "kept"), [(" a", "a"), ("a\t ", "a"), ("\t a b \t", "a b"), (" ", ""), ("", ""), ("a \t b", "a \t b")]
)
def test_blanks_around_a_value_are_no_part_of_it(given: str, kept: str) -> None:
    assert accepted({"X-A": given}) == {"X-A": kept}


def test_a_value_that_was_stored_before_they_were_cut_can_be_sent() -> None:
    assert encode_headers([("X-A", " a\t")]) == [(b"X-A", b"a")]


def test_all_of_them_together_have_a_limit() -> None:
    headers = {f"X-{n}": "x" * 4093 for n in range(8)}
    assert sum(len(name) + len(value) for name, value in headers.items()) == MAX_HEADERS_LENGTH
    assert accepted(headers) is not None
    assert accepted({**headers, "X": ""}) is None
