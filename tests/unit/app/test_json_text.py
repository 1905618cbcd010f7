"""JSON that is passed on as it came: what its text is, and what is no JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.json_text import NotJson, Repeated, dumps, of_members, read, storable

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
PIECES = st.sampled_from(
    [
        *'{}[]:,"',
        '"a"',
        '"b"',
        "1e22",
        "-0.0",
        "01",
        "1e400",
        "NaN",
        "\\u0000",
        "null",
        " ",
        "\n",
        "\ufeff",
        "\x01",
        "٣",
    ]
)


@given(st.dictionaries(st.text(max_size=6), JSON, max_size=5), st.sampled_from([None, 0, 2, "\t"]), st.booleans())
def test_each_member_has_the_text_that_it_was_written_with(value: Any, indent: Any, escaped: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=escaped)
    found, texts = read(f" {text}\n")
    assert found == value
    assert list(texts) == list(value)
    assert all(json.loads(part) == value[name] and part in text for name, part in texts.items())
    assert read(of_members(texts)) == (value, texts)


@given(st.lists(PIECES, max_size=12).map("".join) | st.text(max_size=20))
def test_it_is_read_as_the_standard_library_reads_it(text: str) -> None:
    def refuse(constant: str) -> Any:
        raise ValueError(constant)

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        return dict(pairs)

    try:
        expected = json.loads(text, parse_constant=refuse, object_pairs_hook=once)
    except ValueError:
        with pytest.raises((NotJson, Repeated)):
            read(text)
        return
    try:
        found, _ = read(text)
    except Repeated:
        # Which the standard library passes over.
        return
    assert json.dumps(found) == json.dumps(expected)


@pytest.mark.parametrize(
    "part",
    [
        "1e22",
        "-0.0",
        "1.10",
        "1E+2",
        "1e308",
        '{"b": 1,\n "a":\t2}',
        '{"a":1,"a":2}',
        '"\\u00e9\\/"',
        "9" * 4300,
        "1e-20000",
    ],
    ids=lambda part: part[:12],
)
def test_what_reading_and_writing_would_change(part: str) -> None:
    _, texts = read(f'{{"a": true, "payload" : {part} }}')
    assert texts == {"a": "true", "payload": part}
    assert of_members(texts) == f'{{"a":true,"payload":{part}}}'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "Expecting value at line 1, column 1"),
        ("{", "Expecting"),
        ('{"a":1', "Expecting ',' or '}' at line 1, column 7"),
        ('{"a" 1}', "Expecting ':' at line 1, column 5"),
        ('{"a":1,}', "Expecting value"),
        ("{1:1}", "Expecting a name in double quotes"),
        ('{"a":1}}', "Expecting the end at line 1, column 8"),
        ('{"a":\n01}', "at line 2"),
        ('{"a":NaN}', "NaN is no number of JSON"),
        ("[-Infinity]", "-Infinity is no number of JSON"),
        ('{"a":' + "9" * 4301 + "}", "more than 4,300 digits"),
        ("[" * 100_000, "nested beyond reason"),
        ('{"a":' * 100_000, "nested beyond reason"),
        ('{"a":"\n"}', "Invalid control character"),
        ("\ufeff{}", ""),
    ],
    ids=lambda text: text[:16],
)
def test_why_a_text_is_no_json(text: str, says: str) -> None:
    with pytest.raises(NotJson) as refused:
        read(text)
    assert says in str(refused.value)
    assert len(str(refused.value)) < 100


def test_a_name_that_is_given_twice() -> None:
    with pytest.raises(Repeated) as repeated:
        read('{"a": 1, "\\u0061": 2}')
    assert repeated.value.name == "a"


@given(JSON)
def test_what_has_no_text_of_its_own_gets_one(value: Any) -> None:
    assert json.loads(dumps(value)) == value


@pytest.mark.parametrize("number", [float("inf"), float("nan")])
def test_what_json_has_no_number_for(number: float) -> None:
    with pytest.raises(ValueError):
        dumps([number])


@given(st.text(alphabet=st.characters() | st.sampled_from("\0\ud800\udc00"), max_size=20))
def test_whatever_is_to_be_stored_can_be(text: str) -> None:
    stored = storable(text)
    assert "\0" not in stored
    assert stored.encode().decode() == stored
