"""Whatever stands in a stack file, the answer is settings or one report, and the report's commands mend it."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from infra.settings import Problem, Settings, SettingsError, load, parse
from infra.settings.describe import Key, keys, write

ODD: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 3.7, 10**12),
    *("", " ", "x", "12", "12s", "9999d", "0.3", "1 TiB", "*", "../..", "*.example.com", "ü", "a\x00b", "https://a/b"),
    *([], ["x"], [None], [{}], {}, {"x": 1}, {"x": {"y": []}}),
)
KEYS = tuple(keys(Settings))
CANARY = "CANARY-c4n4ry-value-that-must-not-show"


def put(tree: Mapping[str, Any], path: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """A copy of `tree` with `value` at the path of a key; named groups and items are made."""
    changed: dict[str, Any] = copy.deepcopy(dict(tree))
    place: Any = changed
    for part, following in zip(path, (*path[1:], None), strict=True):
        step: Any = "bulk" if part == "<name>" else part
        new = value if following is None else [] if isinstance(following, int) else {}
        if isinstance(place, list):
            if len(place) <= step:
                place.append(new)
            elif following is None:
                place[step] = value
        elif following is None or not isinstance(place.get(step), type(new)):
            place[step] = new
        place = place[step]
    return changed


@pytest.mark.parametrize("target", ["local", "aws"])
@pytest.mark.parametrize("value", ODD, ids=repr)
def test_any_value_gives_settings_or_a_report(
    value: Any,
    target: str,
    base: Callable[..., dict[str, Any]],
    problems: Callable[[Mapping[str, Any]], tuple[Problem, ...]],
    mend: Callable[[Mapping[str, Any], Problem], dict[str, Any] | None],
) -> None:
    for key in KEYS:
        tree = put(base(target), key.path, value)
        before = copy.deepcopy(tree)
        for problem in problems(tree):
            assert problem.message, key.path
            changed = mend(tree, problem) if problem.command else None
            if changed is not None:
                left = {(each.path, each.message) for each in problems(changed)}
                assert (problem.path, problem.message) not in left, f"{problem.command} mends nothing: {problem}"
        assert tree == before, "the tree that was given must not change"


@pytest.mark.parametrize("target", ["local", "docker", "aws", "digitalocean"])
def test_every_default_is_legal_when_written_out(
    target: str,
    base: Callable[..., dict[str, Any]],
    problems: Callable[[Mapping[str, Any]], tuple[Problem, ...]],
) -> None:
    """A default that its own rule refuses would surprise whoever copies it from the reference."""
    depends = {("postgres", "sslmode"), ("postgres", "version"), ("redis", "version"), ("redis", "tls")}
    depends |= {("image", "architecture")}
    for key in KEYS:
        if "<name>" in key.path or 0 in key.path or key.path in depends or not write(key.default, key.rule):
            continue
        found = problems(put(base(target), key.path, _plain(key)))
        # What a target cannot use must not be written at all, whatever its value.
        assert all("means nothing" in problem.message for problem in found), found


def _plain(key: Key) -> Any:
    if isinstance(key.default, tuple | dict):
        return list(key.default) if isinstance(key.default, tuple) else dict(key.default)
    return write(key.default, key.rule)


def test_no_secret_shows_anywhere(base: Callable[..., dict[str, Any]]) -> None:
    """Neither where it belongs, nor under a wrong key, nor inside a URL, nor in a repr."""
    url = f"postgresql://app:{CANARY}@db.example.com/app"
    trees = [
        *(put(base("aws"), ("secrets", name), CANARY) for name in ("jwt", "database_url", "redis_url")),
        put(base("aws"), ("secrets", "database_url"), url),
        put(base("aws"), ("secrets", "jwt_secret"), CANARY),
        put(base("aws"), ("secret",), {"jwt": CANARY}),
        put(base("aws"), ("openai_api_key",), CANARY),
        put(base("aws"), ("api", "token"), CANARY),
        put(base("aws"), ("postgres", "url"), url),
        put(base("aws"), ("postgres", "database"), url),
        put(base("aws"), ("cors_origins",), [f"https://user:{CANARY}@example.com/"]),
        put(put(base("aws"), ("postgres", "provider"), "external"), ("secrets", "database_url"), url),
    ]
    for tree in trees:
        with pytest.raises(SettingsError) as caught:
            parse(tree, stack="test")
        for text in (str(caught.value), repr(caught.value), repr(caught.value.problems)):
            assert CANARY not in text
        cause: BaseException | None = caught.value
        while cause is not None:
            assert CANARY not in str(cause)
            cause = None if cause.__suppress_context__ else cause.__context__
    legal = parse(put(base("local"), ("secrets", "openai_api_key"), CANARY), stack="test")
    assert CANARY not in repr(legal)
    assert CANARY not in str(legal.secrets)


def test_a_value_that_pulumi_holds_as_a_secret_never_shows() -> None:
    values = {"slipway:target": "local", "slipway:log": json.dumps({"level": CANARY})}
    with pytest.raises(SettingsError) as caught:
        load(values, project="slipway", stack="test", secret_keys={"slipway:log"})
    assert CANARY not in str(caught.value)
    assert "log.level = [secret]" in str(caught.value)
