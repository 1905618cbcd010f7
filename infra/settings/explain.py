"""From a failed check to a `Problem`: the value as given, what is allowed, the nearest key and the mending command."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args, get_origin

from pydantic_core import ErrorDetails

from infra.property_paths import Path, parse_path, render_path
from infra.settings import describe
from infra.settings.describe import Key
from infra.settings.invariants.broken import Broken
from infra.settings.problems import Problem
from infra.settings.rules import nearest
from infra.settings.secrets import BLINDED
from infra.settings.tree import Settings

_SECRET_NAME = re.compile(r"secret|token|passw|(?:^|_)(?:api_?)?key$|_url$|credential", re.IGNORECASE)
_SECRET_IN_URL = re.compile(r"://[^/\s]*@")
_LONGEST_VALUE: Final = 80

_ABSENT: Final = object()


@dataclass(frozen=True)
class Located:
    """A problem and the path of what it is about in the stack file."""

    where: Path
    problem: Problem


class Writer:
    """Words problems for one stack file. `hidden` names the top-level keys whose values Pulumi holds as secrets."""

    def __init__(self, tree: Mapping[str, Any], *, stack: str, hidden: frozenset[str]) -> None:
        self._tree = tree
        self._stack = stack
        self._hidden = hidden

    def invalid(self, errors: Iterable[ErrorDetails]) -> list[Located]:
        """Problems for pydantic's errors, without those of values that only repeat a faulty one as a default."""
        every = list(errors)
        own = [error for error in every if error["type"] == "missing" or self._given(_path(error)) is not _ABSENT]
        seen: dict[Path, Located] = {}
        for error in own or every:
            seen.setdefault(_path(error), self._one(error))
        return list(seen.values())

    def broken(self, broken: Broken, settings: Settings) -> Problem:
        """The problem for a rule between several keys."""
        path = parse_path(broken.path)
        given = self._given(path)
        if given is _ABSENT and (effective := _effective(settings, path)) is not None:
            key = describe.find(Settings, path)
            shown: str | None = f"{describe.write(effective, key.rule if key else None)} (default)"
        else:
            shown = self._shown(path, given)
        command = ""
        if broken.remove:
            command = self._command("rm", path)
        elif broken.suggestion is not None:
            where = parse_path(broken.suggested_path or broken.path)
            command = self._command("set", where, broken.suggestion)
        elif self._secret(path):
            command = self._command("set", path)
        return Problem(path=broken.path, value=shown, message=broken.message, allowed=broken.allowed, command=command)

    def _one(self, error: ErrorDetails) -> Located:
        path = _path(error)
        if error["type"] == "extra_forbidden":
            return self.unknown(path)
        key = describe.find(Settings, path)
        given = self._given(path)
        if given == BLINDED and not self._secret(path):
            problem = Problem(
                path=render_path(path),
                value=BLINDED,
                message="is encrypted, so that a plan made without the passphrase cannot read it",
                allowed="a plain value; only what stands below secrets is held encrypted",
                command=self._command("set", path, "VALUE"),
            )
            return Located(path, problem)
        in_name = error["loc"][-1:] == ("[key]",)
        message = f"the name {path[-1]!r} is not allowed" if in_name else _message(error, key)
        problem = Problem(
            path=render_path(path),
            value=None if in_name else self._shown(path, given),
            message=message,
            allowed=key.allowed if key else "",
            nearest=_nearest_choice(key, given),
            command=self._mend(path, key, given, in_name=in_name, missing=error["type"] == "missing"),
        )
        return Located(path, problem)

    def unknown(self, path: Path) -> Located:
        """The problem of a key that there is not."""
        given = self._given(path)
        meant = _nearest_key(path)
        command = self._command("rm", path)
        if meant and not self._masked(meant, given) and not self._masked(path, given) and _is_scalar(given):
            command = f"{command} && {self._command('set', meant, _scalar(given))}"
        elif meant and describe.find(Settings, meant) and _is_scalar(given):
            command = f"{command} && {self._command('set', meant)}"
        legal = describe.names(Settings, path[:-1])
        problem = Problem(
            path=render_path(path),
            value=self._shown(path, given),
            message="is not a setting",
            allowed="" if meant else ", ".join(legal),
            nearest=render_path(meant) if meant else None,
            command=command,
        )
        return Located(path, problem)

    def _mend(self, path: Path, key: Key | None, given: Any, *, in_name: bool, missing: bool) -> str:
        if in_name:
            return self._command("rm", path)
        if self._secret(path):
            return self._command("set", path)
        if (suggestion := _suggestion(key, given)) is not None:
            return self._command("set", path, suggestion)
        needed = missing or (key is not None and key.required and not key.group)
        return self._command("set", path, "VALUE") if needed else self._command("rm", path)

    def _command(self, verb: Literal["set", "rm"], path: Path, value: str | None = None) -> str:
        key = describe.find(Settings, path)
        secret = ["--secret"] if verb == "set" and (self._secret(path) or (key is not None and key.secret)) else []
        words = ["slipway", "config", verb, *secret, render_path(path), *([] if value is None else [value])]
        return shlex.join([*words, "--stack", self._stack])

    def _given(self, path: Path) -> Any:
        place: Any = self._tree
        for part in path:
            try:
                place = place[part]
            except (KeyError, IndexError, TypeError):
                return _ABSENT
        return place

    def _shown(self, path: Path, given: Any) -> str | None:
        if given is _ABSENT:
            return None
        if self._masked(path, given):
            return "{...}" if isinstance(given, Mapping) and path[0] not in {"secrets", *self._hidden} else BLINDED
        text = _scalar(given) if _is_scalar(given) else json.dumps(given, default=str)
        return text if len(text) <= _LONGEST_VALUE else f"{text[: _LONGEST_VALUE - 3]}..."

    def _masked(self, path: Path, given: Any) -> bool:
        """Whether the value may be a secret, by its key or its form. A doubt counts as yes."""
        if self._secret(path) or (path and path[0] in self._hidden):
            return True
        text = given if isinstance(given, str) else json.dumps(given, default=str)
        if _SECRET_IN_URL.search(text):
            return True
        known = describe.find(Settings, path)
        if known is None and isinstance(given, Mapping):
            return True
        return known is None and any(_SECRET_NAME.search(str(part)) for part in path) and isinstance(given, str)

    def _secret(self, path: Path) -> bool:
        return bool(path) and path[0] == "secrets" and len(path) > 1


def in_tree_order(problems: Iterable[Problem]) -> list[Problem]:
    """Sorted as the reference lists the keys, unknown ones after their neighbours; stable."""
    order = {name: index for index, name in enumerate(Settings.model_fields)}
    return sorted(problems, key=lambda problem: order.get(re.split(r"[.\[]", problem.path)[0], len(order)))


def _path(error: ErrorDetails) -> Path:
    """Where the error is; pydantic marks the name of a map's entry with a last step ``[key]``."""
    return tuple(part for part in error["loc"] if part != "[key]")


def _message(error: ErrorDetails, key: Key | None) -> str:
    kind = error["type"]
    if kind == "missing":
        return "is required"
    if kind == "value_error":
        return str(error["msg"]).removeprefix("Value error, ")
    if kind == "literal_error":
        return "is not one of the choices"
    if key is not None and key.group is not None:
        return "is not a map of settings"
    if key is not None and get_origin(key.kind) is tuple:
        return "is not a list"
    return "has not the right form"


def _suggestion(key: Key | None, given: Any) -> str | None:
    """A legal value near the given one, as one would type it; None where only the user can know."""
    if key is None:
        return None
    if choice := _nearest_choice(key, given):
        return choice
    if get_origin(key.kind) is Literal:
        return None if key.default is None else str(key.default)
    if key.kind is bool:
        return describe.write(key.default)
    if key.rule is not None and get_origin(key.kind) is None and given is not _ABSENT:
        return key.rule.suggest(given)
    return None


def _nearest_choice(key: Key | None, given: Any) -> str | None:
    if key is None or not isinstance(given, str):
        return None
    choices = get_args(key.kind) if get_origin(key.kind) is Literal else ()
    if key.kind is bool:
        choices = ("true", "false")
    return nearest(given, map(str, choices), cutoff=0.6)


def _nearest_key(path: Path) -> Path | None:
    """The key that was probably meant: at the top level one of that very name elsewhere, else a neighbour."""
    *parents, last = path
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", str(last)).lower().replace("-", "_")
    if not parents:
        paths = (key.path for key in describe.keys(Settings) if key.path[-1] == name)
        if same := [path for path in paths if not {0, "<name>"} & set(path)]:
            return min(same, key=len)
    close = nearest(name, describe.names(Settings, parents), cutoff=0.6)
    return (*parents, close) if close else None


def _effective(settings: Settings, path: Path) -> Any:
    place: Any = settings
    for part in path:
        place = place.get(part) if isinstance(place, dict) else getattr(place, str(part), None)
    return place


def _is_scalar(value: Any) -> bool:
    return isinstance(value, str | int | float) or value is None


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "null" if value is None else str(value)
