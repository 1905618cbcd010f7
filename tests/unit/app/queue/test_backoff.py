from __future__ import annotations

from datetime import UTC, datetime

import pytest

from app.queue.backoff import delay, retry_after

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("attempt", "ceiling"), [(1, 2.0), (2, 4.0), (3, 8.0), (9, 512.0), (10, 600.0), (10_000, 600.0)]
)
def test_the_ceiling_doubles_up_to_the_cap(attempt: int, ceiling: float) -> None:
    assert delay(attempt=attempt, base=2, cap=600, chance=lambda: 1.0) == ceiling


def test_jitter_is_full() -> None:
    assert delay(attempt=3, base=2, cap=600, chance=lambda: 0.0) == 0
    assert delay(attempt=3, base=2, cap=600, chance=lambda: 0.25) == 2
    waits = [delay(attempt=3, base=2, cap=600) for _ in range(200)]
    assert 0 <= min(waits) < 2
    assert 6 < max(waits) <= 8


@pytest.mark.parametrize(("asked", "wait"), [(0.0, 4.0), (3.0, 4.0), (30.0, 30.0), (86_400.0, 600.0)])
def test_what_the_receiver_asks_for_is_honoured_up_to_the_cap(asked: float, wait: float) -> None:
    assert delay(attempt=2, base=2, cap=600, at_least=asked, chance=lambda: 1.0) == wait


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("120", 120),
        (" 7 ", 7),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("9" * 5000, 999_999_999),
        ("1000000000", 999_999_999),
        ("0000000000120", 120),
        ("1e9", 0),
        ("inf", 0),
        ("+5", 0),
        ("Thu, 01 Jan 9999999999999999999999 00:00:00 GMT", 0),
        ("Thu, 01 Jan 99999 00:00:00 GMT", 0),
        ("Thu, 01 Jan 2026 00:01:30 +99999999999999", 0),
        ("Thu, 01 Jan 2026 00:01:30 -9999", 0),
        ("Thu Jan  1 00:01:30 2026", 90),
        ("Thursday, 01-Jan-26 00:01:30 GMT", 90),
        ("Thu, 01 Jan 0000 00:00:00 GMT", 0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 251_635_161_539),
        ("٣", 0),
        ("Thu, 01 Jan 2026 00:01:30 GMT", 90),
        ("Thu, 01 Jan 2026 00:01:30", 90),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0),
        ("Thu, 99 Jan 2026 00:01:30 GMT", 0),
    ],
)
def test_retry_after_in_both_forms_and_in_nonsense(header: str | None, seconds: float) -> None:
    assert retry_after(header, now=NOW) == seconds
