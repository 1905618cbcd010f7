"""Waiting for something that happens elsewhere: look, pause, look again, until it is there or the time is up."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol, TypeVar

T = TypeVar("T")


class Clock(Protocol):
    """Time to wait by."""

    def monotonic(self) -> float:
        """Seconds since some moment."""
        ...

    def now(self) -> datetime: ...

    def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """This machine's clock."""

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def poll(
    look: Callable[[], T | None],
    *,
    within: float,
    pause: float,
    growth: float = 1.0,
    longest: float = float("inf"),
    clock: Clock | None = None,
) -> T | None:
    """What `look` returns first that is not None; None when that takes longer than `within` seconds.

    Each pause is `growth` times the one before, and at most `longest` seconds. It looks at least once, and for the last
    time when the time is up.
    """
    clock = clock or SystemClock()
    deadline = clock.monotonic() + within
    while (found := look()) is None and (left := deadline - clock.monotonic()) > 0:
        clock.sleep(min(pause, left))
        pause = min(pause * growth, longest)
    return found
