"""What a value may be: markers for the fields of the settings tree.

A marker checks the value and says in one phrase what is allowed. Problem reports and the generated reference both
quote that phrase, so they cannot disagree with the check. No message repeats the value: it may be a secret.
"""

from __future__ import annotations

import difflib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from infra.settings import units


def nearest(word: str, words: Iterable[str], *, cutoff: float) -> str | None:
    """The one of `words` that was probably meant; None where none is as alike as `cutoff`, from 0 to 1."""
    return next(iter(difflib.get_close_matches(word, list(words), n=1, cutoff=cutoff)), None)


class Rule(ABC):
    """A check that replaces pydantic's own for a field of a simple type."""

    @property
    @abstractmethod
    def allowed(self) -> str:
        """What is allowed, as a phrase: ``1 to 100``."""

    @abstractmethod
    def read(self, value: Any) -> Any:
        """The checked value in its final type; raises ValueError with a sentence about the value."""

    def suggest(self, value: Any) -> str | None:
        """A legal value near the refused one, as one would type it; None where only the user can know."""
        del value
        return None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)


@dataclass(frozen=True)
class Between(Rule):
    """A whole number from `low` to `high`, both included. `unit` is named in the reference: ``%``, ``days``."""

    low: int
    high: int
    unit: str = ""

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.low} to {self.high}{' ' if self.unit else ''}{self.unit}"

    def read(self, value: Any) -> int:
        text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
        if isinstance(value, float) and value.is_integer():
            text = str(int(value))
        if not re.fullmatch(r"[+-]?\d+", text):
            raise ValueError("is not a whole number")
        if not self.low <= (number := int(text)) <= self.high:
            raise ValueError("is out of range")
        return number

    def suggest(self, value: Any) -> str | None:
        try:
            return str(min(max(round(float(value)), self.low), self.high))
        except (TypeError, ValueError, OverflowError):
            return None


@dataclass(frozen=True)
class Span(Rule):
    """A time span from `low` to `high`, both included, written with units."""

    low: str
    high: str

    @property
    def allowed(self) -> str:
        return f"a duration from {self.low} to {self.high}"

    def read(self, value: Any) -> timedelta:
        if isinstance(value, int | float) and not isinstance(value, bool):
            raise ValueError(f"has no unit: write {value:g}s if seconds were meant")
        if isinstance(value, str) and re.fullmatch(r"\s*\d+\s*", value):
            raise ValueError(f"has no unit: write {value.strip()}s if seconds were meant")
        if not isinstance(value, str | timedelta):
            raise ValueError("is no duration: write a number and a unit, such as 30s or 15m")
        span = units.parse_duration(value) if isinstance(value, str) else value
        if not units.parse_duration(self.low) <= span <= units.parse_duration(self.high):
            raise ValueError("is out of range")
        return span

    def suggest(self, value: Any) -> str | None:
        text = f"{value}s" if re.fullmatch(r"\s*\d+\s*", str(value)) else str(value)
        try:
            span = units.parse_duration(text)
        except ValueError:
            return None
        low, high = units.parse_duration(self.low), units.parse_duration(self.high)
        return units.format_duration(min(max(span, low), high))


Duration = Annotated[timedelta, Span("1ms", "24h")]
"""A time span within the bounds of the application's own variables."""


@dataclass(frozen=True)
class Size(Rule):
    """A number of bytes from `low` to `high`, both included, written with units."""

    low: str
    high: str

    @property
    def allowed(self) -> str:
        return f"a size from {self.low} to {self.high}"

    def read(self, value: Any) -> int:
        if not isinstance(value, str) or re.fullmatch(r"\s*\d+\s*", value):
            raise ValueError("has no unit: write a number and a unit, such as 64 KiB, 512 MiB or 20 GiB")
        size = units.parse_size(value)
        if not units.parse_size(self.low) <= size <= units.parse_size(self.high):
            raise ValueError("is out of range")
        return size

    def suggest(self, value: Any) -> str | None:
        try:
            size = units.parse_size(str(value))
        except ValueError:
            return None
        return units.format_size(min(max(size, units.parse_size(self.low)), units.parse_size(self.high)))


@dataclass(frozen=True)
class Cpus(Rule):
    """An amount of processor in vCPUs from `low` to `high`, both included; a bare number is vCPUs."""

    low: float
    high: float

    @property
    def allowed(self) -> str:
        return f"{self.low:g} to {self.high:g} vCPU"

    def read(self, value: Any) -> float:
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            raise ValueError("is no amount of processor: write vCPUs, such as 0.5 vCPU")
        cpus = units.parse_cpu(str(value))
        if not self.low <= cpus <= self.high:
            raise ValueError("is out of range")
        return cpus

    def suggest(self, value: Any) -> str | None:
        try:
            return f"{min(max(units.parse_cpu(str(value)), self.low), self.high):g}"
        except ValueError:
            return None


@dataclass(frozen=True)
class Text(Rule):
    """A string that matches `pattern` in full; `allowed` says in words what that means."""

    pattern: str
    what: str

    @property
    def allowed(self) -> str:
        return self.what

    def read(self, value: Any) -> str:
        # A tag or a version written without quotes arrives as a number: 1.2 in YAML.
        text = str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value
        if not isinstance(text, str):
            raise ValueError("is not a text")
        if not re.fullmatch(self.pattern, text):
            raise ValueError("has not the right form")
        return text


@dataclass(frozen=True)
class OneOf(Rule):
    """One of a table's names. The report names the nearest ones instead of the whole table where it is long."""

    names: tuple[str, ...]
    what: str

    @property
    def allowed(self) -> str:
        return f"{self.what}: {', '.join(self.names)}"

    def read(self, value: Any) -> str:
        if not isinstance(value, str) or value not in self.names:
            raise ValueError(f"is no {self.what}")
        return value

    def suggest(self, value: Any) -> str | None:
        return nearest(str(value), self.names, cutoff=0.4)


@dataclass(frozen=True)
class NumberOf(Rule):
    """One of a few numbers that a service accepts."""

    numbers: tuple[int, ...]
    unit: str = ""

    @property
    def allowed(self) -> str:
        return f"one of {', '.join(map(str, self.numbers))}{' ' if self.unit else ''}{self.unit}"

    def read(self, value: Any) -> int:
        try:
            number = Between(-(10**9), 10**9).read(value)
        except ValueError:
            raise ValueError("is not a whole number") from None
        if number not in self.numbers:
            raise ValueError("is not one of the accepted numbers")
        return number

    def suggest(self, value: Any) -> str | None:
        try:
            return str(min(self.numbers, key=lambda number: abs(number - float(value))))
        except (TypeError, ValueError):
            return None
