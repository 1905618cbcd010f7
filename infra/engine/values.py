"""Property values as the engine holds them in memory.

A property map is a plain ``dict[str, Any]`` of JSON types, with two additions that survive every step from the
program to the state file: `Secret` wraps a value that must never be shown, and `UNKNOWN` stands for a value that a
preview cannot know. Assets and archives stay the signed dictionaries that Pulumi puts on the wire.

Providers see bare values. What one hands back has lost its marks, so they are put back from the inputs of the same
name, as Pulumi does for providers that do not know secrets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, final


@final
@dataclass(frozen=True, slots=True)
class Secret:
    """A value that is shown as ``[secret]`` and encrypted at rest. `value` is JSON-shaped and may hold `UNKNOWN`."""

    value: Any = field(repr=False)

    def __repr__(self) -> str:
        return "Secret([secret])"


@final
class Unknown:
    """The type of `UNKNOWN`; there is one instance."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __bool__(self) -> bool:
        raise TypeError("an unknown value has no truth value: test `is UNKNOWN` first")


UNKNOWN: Final = Unknown()
SECRET_TEXT: Final = "[secret]"  # noqa: S105 (a word to show)
UNKNOWN_TEXT: Final = "[unknown]"
BLINDED: Final = SECRET_TEXT
"""Stands for every secure value where no passphrase is at hand, as in a plan. It is still marked as a secret."""
_SHORTEST_SECRET: Final = 6
"""Shorter texts are not searched for in messages: a port or a user name that is part of a secret is in every second."""


def reveal(value: Any) -> Any:
    """`value` with every `Secret` opened, at any depth. Only for providers and comparisons, never for display."""
    match value:
        case Secret():
            return reveal(value.value)
        case dict():
            return {key: reveal(item) for key, item in value.items()}
        case list() | tuple():
            return [reveal(item) for item in value]
    return value


def mask(value: Any) -> Any:
    """`value` as JSON types that may be shown to anybody: secrets and unknowns become words, maps are sorted."""
    match value:
        case Secret():
            return SECRET_TEXT
        case dict():
            return {key: mask(item) for key, item in sorted(value.items())}
        case list() | tuple():
            return [mask(item) for item in value]
    return UNKNOWN_TEXT if value is UNKNOWN else value


def contains(value: Any, test: Callable[[Any], bool]) -> bool:
    """Whether `value` or anything in it, also inside secrets, passes the test."""
    if test(value):
        return True
    match value:
        case Secret():
            return contains(value.value, test)
        case dict():
            return any(contains(item, test) for item in value.values())
        case list() | tuple():
            return any(contains(item, test) for item in value)
    return False


def has_secret(value: Any) -> bool:
    return contains(value, lambda item: isinstance(item, Secret))


def has_unknown(value: Any) -> bool:
    return contains(value, lambda item: item is UNKNOWN)


def mark_like(outputs: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """`outputs` with each property secret whose namesake in `inputs` holds a secret.

    Two maps are compared key by key; any other value becomes secret as a whole, because a provider may have
    rearranged what is inside.
    """
    marked = dict(outputs)
    for key, given in inputs.items():
        if key not in marked:
            continue
        returned = marked[key]
        if isinstance(returned, dict) and isinstance(given, dict):
            marked[key] = mark_like(returned, given)
        elif not isinstance(returned, Secret) and has_secret(given):
            marked[key] = Secret(returned)
    return marked


def mark_keys(outputs: Mapping[str, Any], keys: Iterable[str]) -> dict[str, Any]:
    """`outputs` with the named properties secret."""
    names = frozenset(keys)
    return {
        key: Secret(value) if key in names and not isinstance(value, Secret) else value
        for key, value in outputs.items()
    }


def same_value(a: Any, b: Any) -> bool:
    """Whether two bare values are equal as JSON: a number is never equal to a boolean, an unknown to nothing."""
    if a is UNKNOWN or b is UNKNOWN:
        return False
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same_value(item, b[key]) for key, item in a.items())
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(same_value(x, y) for x, y in zip(a, b, strict=True))
    return bool(a == b)


def secret_texts(value: Any, *, inside: bool = False) -> set[str]:
    """The texts inside the secrets of `value` that are long enough to be one."""
    match value:
        case Secret():
            return secret_texts(value.value, inside=True)
        case dict():
            return set().union(*(secret_texts(item, inside=inside) for item in value.values()))
        case list() | tuple():
            return set().union(*(secret_texts(item, inside=inside) for item in value))
        case str() if inside and len(value) >= _SHORTEST_SECRET:
            return {value}
    return set()


def scrub(text: str, secrets: Iterable[str]) -> str:
    """`text` without the secrets; the longest first, since one may hold another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, SECRET_TEXT)
    return text
