"""From repeated measurements to what is reported. Pure."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Sample:
    """The median of some rounds and their range."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Sample:
        """Raises ValueError without values."""
        if not values:
            raise ValueError("a sample needs at least one value")
        return cls(statistics.median(values), min(values), max(values), len(values))


def percentile(values: Iterable[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed; NaN without values."""
    ordered = sorted(values)
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def ideal_rate(*, concurrency: int, milliseconds: int) -> float:
    """Jobs a second when nothing but the jobs themselves takes time; infinite for jobs that take none."""
    return concurrency * 1000 / milliseconds if milliseconds else math.inf


def percent_of_ideal(rate: float, *, concurrency: int, milliseconds: int) -> float | None:
    """None for jobs that take no time: there is no ideal to compare with."""
    return 100 * rate / ideal_rate(concurrency=concurrency, milliseconds=milliseconds) if milliseconds else None


def ratio(value: float, base: float) -> float:
    """How many times `base`; NaN when there is none."""
    return value / base if base else math.nan


@dataclass(frozen=True)
class Delivered:
    """How often each of the expected ids was seen."""

    expected: int
    missing: int
    repeated: int
    unknown: int

    @classmethod
    def check(cls, expected: Iterable[str], seen: Iterable[str]) -> Delivered:
        wanted, counts = set(expected), Counter(seen)
        return cls(
            expected=len(wanted),
            missing=sum(1 for one in wanted if not counts[one]),
            repeated=sum(1 for one in wanted if counts[one] > 1),
            unknown=sum(1 for one in counts if one not in wanted),
        )

    @property
    def exact(self) -> bool:
        return not (self.missing or self.repeated or self.unknown)

    def __str__(self) -> str:
        if self.exact:
            return f"{self.expected} once"
        return f"{self.missing} missing, {self.repeated} repeated, {self.unknown} unknown of {self.expected}"
