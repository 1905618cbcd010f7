"""How long to wait before the next attempt."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_DIGITS = 9
_MOST = 10**_DIGITS - 1
"""Seconds, 31 years: more than any cap, and a number that can be reckoned with."""
_LONGEST_DATE = 100
"""Characters; the longest of HTTP's forms has 33."""


def delay(
    *, attempt: int, base: float, cap: float, at_least: float = 0.0, chance: Callable[[], float] | None = None
) -> float:
    """Seconds to wait after failed `attempt` (1 for the first): evenly spread over 0 .. min(cap, base * 2^(attempt-1)).

    Full jitter, because receivers that come back are killed by retries that arrive together. `at_least` is what the
    receiver asked for; it is honoured up to `cap`, so that no receiver can park a delivery for days.
    """
    ceiling = min(cap, base * 2.0 ** min(attempt - 1, 32))
    share = random.random() if chance is None else chance()  # noqa: S311 - spreads load, guards nothing
    return max(ceiling * share, min(at_least, cap))


def retry_after(value: str | None, *, now: datetime | None = None) -> float:
    """Seconds that a Retry-After header asks for, in either of its forms; 0 for none, past or nonsense.

    Never raises, whatever stands in it: it is read after a request was made, and a year of ten digits, which the
    standard library answers with OverflowError, once cost such a request its entry in the log.
    """
    text = (value or "").strip(" \t")
    if text.isascii() and text.isdigit():
        digits = text.lstrip("0")
        return float(digits or 0) if len(digits) <= _DIGITS else float(_MOST)
    if len(text) > _LONGEST_DATE:
        return 0.0
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            # HTTP's dates are in GMT; the oldest of its three forms does not say so.
            moment = moment.replace(tzinfo=UTC)
        return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
    except (ValueError, OverflowError, TypeError, IndexError):
        return 0.0
