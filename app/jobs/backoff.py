"""How long to wait before the next attempt."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_random = random.SystemRandom().random


def delay(
    *, attempt: int, base: float, cap: float, at_least: float = 0.0, chance: Callable[[], float] = _random
) -> float:
    """Seconds to wait after failed `attempt` (1 for the first): evenly spread over 0 .. min(cap, base * 2^(attempt-1)).

    Full jitter, because receivers that come back are killed by retries that arrive together. `at_least` is what the
    receiver asked for; it is honoured up to `cap`, so that no receiver can park a delivery for days.
    """
    ceiling = min(cap, base * 2.0 ** min(attempt - 1, 32))
    return max(ceiling * chance(), min(at_least, cap))


def retry_after(value: str | None, *, now: datetime | None = None) -> float:
    """Seconds that a Retry-After header asks for, in either of its forms; 0 for none, past or nonsense."""
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - (now or datetime.now(UTC))).total_seconds())
