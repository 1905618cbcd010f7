"""Load over time: what arrives each second, as a curve that a short text describes."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FORMS: Final = (
    ("steady:RATE", "RATE a second, all the time"),
    ("ramp:FROM-TO", "rising (or falling) evenly over the whole time"),
    ("spike:BASE-PEAK", "PEAK for a tenth of the time, after a fifth of it; BASE otherwise"),
    ("day:LOW-HIGH", "one wave from LOW to HIGH and back over the whole time"),
    ("one", "a single arrival, five minutes in"),
    ("FILE.csv", "lines of `minute,rate`; a rate holds until the next line"),
)
"""What `parse` understands, with the meaning of each form."""
ONE_AT: Final = 300.0


class LoadError(Exception):
    """A description of a load that cannot be read."""

    user_facing = True


@dataclass(frozen=True)
class Load:
    """Arrivals a second at each moment, and single arrivals at given moments; `name` is for titles."""

    name: str
    rate: Callable[[float], float]
    single: tuple[float, ...] = ()


def parse(text: str, duration: float) -> Load:
    """A load from its description; `duration` is in seconds. Raises LoadError with the forms there are."""
    kind, _, rest = text.partition(":")
    if text == "one":
        return Load(name="one arrival", rate=lambda _: 0.0, single=(ONE_AT,))
    if text.endswith(".csv"):
        return _from_file(Path(text))
    if kind == "steady":
        (rate,) = _numbers(text, rest, 1)
        return Load(name=f"{rate:g}/s", rate=lambda _: rate)
    if kind in ("ramp", "spike", "day"):
        low, high = _numbers(text, rest, 2)
        curve = {
            "ramp": lambda t: low + (high - low) * t / duration,
            "spike": lambda t: high if 0.2 * duration <= t < 0.3 * duration else low,
            "day": lambda t: low + (high - low) * (1 - math.cos(2 * math.pi * t / duration)) / 2,
        }[kind]
        return Load(name=f"{kind} {low:g} to {high:g}/s", rate=curve)
    raise _unreadable(text)


def _numbers(text: str, rest: str, count: int) -> list[float]:
    try:
        numbers = [float(part) for part in rest.split("-")]
    except ValueError:
        numbers = []
    if len(numbers) != count or any(number < 0 or not math.isfinite(number) for number in numbers):
        raise _unreadable(text)
    return numbers


def _unreadable(text: str) -> LoadError:
    forms = "\n".join(f"  {form:<18}{meaning}" for form, meaning in FORMS)
    return LoadError(f"{text!r} is no load. Give one of:\n{forms}")


def _from_file(path: Path) -> Load:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise LoadError(f"{path}: {error.strerror}") from error
    points: list[tuple[float, float]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.lstrip().startswith("#") or (number == 1 and "rate" in line):
            continue
        try:
            minute, rate = (float(cell) for cell in line.split(","))
        except ValueError:
            raise LoadError(f"{path}:{number}: {line!r} is not minute,rate") from None
        if rate < 0 or (points and minute * 60 <= points[-1][0]):
            raise LoadError(f"{path}:{number}: minutes must rise, and rates may not be below 0")
        points.append((minute * 60, rate))
    if not points:
        raise LoadError(f"{path} has no line with minute,rate")
    starts = [start for start, _ in points]

    def rate_at(t: float) -> float:
        place = bisect_right(starts, t) - 1
        return points[place][1] if place >= 0 else 0.0

    return Load(name=path.name, rate=rate_at)
