"""Property values as the engine holds them in memory.

A property map is a plain ``dict[str, Any]`` of JSON types, with two additions that survive every step from the
program to the state file: `Secret` wraps a value that must never be shown, and `UNKNOWN` stands for a value that a
preview cannot know. Assets and archives stay the signed dictionaries that Pulumi puts on the wire.
"""

from __future__ import annotations

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
