"""The small pure parts: paths, differences, durations, URNs, the wire."""

from __future__ import annotations

from typing import Any

import pytest

from infra.engine.program.engine_service import in_range
from infra.engine.program.registration import parse_duration
from infra.engine.program.wire import WireError, from_struct, to_struct
from infra.engine.steps.diff import compare, describe, keep_old
from infra.engine.urns import is_default_provider, make_urn, package_of, parse_urn
from infra.engine.values import UNKNOWN, Secret, mark_keys, mark_like, mask, same_value
from infra.property_paths import covers, parse_path, render_path


@pytest.mark.parametrize("text", ["a", "a.b[0].c", 'tags["x.y"][3]', "a[0][1]"])
def test_paths_read_and_write_alike(text: str) -> None:
    assert render_path(parse_path(text)) == text


@pytest.mark.parametrize("text", ["", "a[", "[x]"])
def test_broken_paths_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_path(text)


def test_wildcards_cover_what_is_inside() -> None:
    assert covers(parse_path("a[*].b"), ("a", 3, "b", "c"))
    assert covers(parse_path("*"), ("anything",))
    assert not covers(parse_path("a.b"), ("a",))


@pytest.mark.parametrize(
    ("path", "new", "old", "kept"),
    [
        ("a", {"a": 2, "b": 2}, {"a": 1, "b": 1}, {"a": 1, "b": 2}),
        ("a", {"a": 2}, {}, {}),
        ("a", {}, {"a": 1}, {"a": 1}),
        ("a.b", {"a": {"b": 2, "c": 2}}, {"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}),
        ("a[1]", {"a": [2, 2]}, {"a": [1, 1]}, {"a": [2, 1]}),
        ("a[*].x", {"a": [{"x": 2}, {"x": 2}]}, {"a": [{"x": 1}]}, {"a": [{"x": 1}, {"x": 2}]}),
        ("a.b", {"a": Secret({"b": 2})}, {"a": Secret({"b": 1})}, {"a": Secret({"b": 1})}),
    ],
)
def test_ignored_places_keep_the_old_value(path: str, new: Any, old: Any, kept: Any) -> None:
    assert keep_old(parse_path(path), new, old) == kept


def test_differences_are_found_at_their_deepest_place() -> None:
    old = {"a": 1, "b": {"x": [1, 2]}, "gone": True, "kind": True, "s": Secret("x")}
    new = {"a": 1, "b": {"x": [1, 3, 4]}, "new": None, "kind": 1, "s": Secret("y"), "u": UNKNOWN}
    found = {(change.path, change.kind, str(change.old), str(change.new)) for change in describe(compare(old, new))}
    assert found == {
        ("b.x[1]", "update", "2", "3"),
        ("b.x[2]", "add", "None", "4"),
        ("gone", "delete", "True", "None"),
        ("kind", "update", "True", "1"),
        ("new", "add", "None", "None"),
        ("s", "update", "[secret]", "[secret]"),
        ("u", "add", "None", "[unknown]"),
    }


def test_hidden_places_are_left_out() -> None:
    assert describe(compare({"a": {"b": 1}}, {"a": {"b": 2}}), hidden=[("a",)]) == ()


def test_equality_knows_kinds() -> None:
    assert same_value(1, 1.0)
    assert not same_value(True, 1)
    assert not same_value(UNKNOWN, UNKNOWN)
    assert same_value({"a": [1, {"b": None}]}, {"a": (1, {"b": None})})


def test_marks_come_back_from_the_inputs_of_the_same_name() -> None:
    inputs = {"a": Secret(1), "list": [Secret(1), 2], "tree": {"x": Secret(1), "y": 2}, "gone": Secret(3)}
    outputs = {"a": 1, "list": [1, 2], "tree": {"x": 1, "y": 2}, "other": 4}
    assert mark_like(outputs, inputs) == {
        "a": Secret(1),
        "list": Secret([1, 2]),
        "tree": {"x": Secret(1), "y": 2},
        "other": 4,
    }
    assert mark_keys({"a": 1, "b": Secret(2)}, ["a", "b", "c"]) == {"a": Secret(1), "b": Secret(2)}


def test_masks_at_any_depth() -> None:
    assert mask({"b": [Secret({"x": 1})], "a": UNKNOWN}) == {"a": "[unknown]", "b": ["[secret]"]}


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("1h30m", 5400), ("1.5s", 1.5), ("250ms", 0.25)])
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 minutes", "1m x"])
def test_broken_durations_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


def test_urns() -> None:
    stack = make_urn(stack="dev", project="p", parent=None, type_="pulumi:pulumi:Stack", name="p-dev")
    outer = make_urn(stack="dev", project="p", parent=stack, type_="a:b:C", name="c::odd")
    inner = make_urn(stack="dev", project="p", parent=outer, type_="d:e/f:F", name="f")
    assert inner == "urn:pulumi:dev::p::a:b:C$d:e/f:F::f"
    assert parse_urn(outer).name == "c::odd"
    assert parse_urn(inner).type == "d:e/f:F"
    assert package_of("d:e/f:F") == "d"
    assert is_default_provider("urn:pulumi:dev::p::pulumi:providers:random::default_4_21_4")
    with pytest.raises(ValueError, match="not a URN"):
        parse_urn("nonsense")


def test_values_survive_the_wire() -> None:
    values = {
        "null": None,
        "bool": True,
        "int": 3,
        "float": 2.5,
        "text": "x",
        "empty": {"map": {}, "list": []},
        "secret": Secret({"a": [1, UNKNOWN]}),
        "unknown": UNKNOWN,
    }
    assert from_struct(to_struct(values)) == values
    bare = from_struct(to_struct(values, secrets=False))
    assert bare["secret"] == {"a": [1, UNKNOWN]}


def test_an_unknown_signature_is_refused() -> None:
    with pytest.raises(WireError, match="signature"):
        from_struct(to_struct({"x": {"4dabf18193072939515e22adb298388d": "of the future"}}))


def test_version_ranges() -> None:
    assert in_range("3.272.0", ">=3.238.0 !3.240.0")
    assert not in_range("3.240.0", ">=3.238.0 !3.240.0")
    assert in_range("3.1.0", "<3.0.0 || >=3.1.0")
