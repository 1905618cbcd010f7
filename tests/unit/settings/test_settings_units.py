from __future__ import annotations

import random
from datetime import timedelta

import pytest

from infra.settings import units


def test_every_duration_reads_back_as_it_was_written() -> None:
    source = random.Random(1)
    for _ in range(2000):
        span = timedelta(milliseconds=source.choice([1, 1000, 60_000, 3_600_000]) * source.randrange(1, 100_000))
        assert units.parse_duration(units.format_duration(span)) == span


def test_every_size_reads_back_as_it_was_written() -> None:
    source = random.Random(2)
    for _ in range(2000):
        size = source.choice([1, 1024, 1024**2, 1024**3]) * source.randrange(1, 5000)
        assert units.parse_size(units.format_size(size)) == size


def test_a_single_unit_holds_the_whole_span() -> None:
    for seconds in (1, 59, 60, 90, 900, 3600, 5400, 86_400, 604_800, 604_801):
        text = units.single_unit(timedelta(seconds=seconds))
        assert units.parse_duration(text) == timedelta(seconds=seconds)
        assert sum(letter.isalpha() for letter in text) == 1


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [("500ms", 500), ("1.5h", 5_400_000), ("1h30m", 5_400_000), (" 15 m ", 900_000), ("1w", 604_800_000), ("0s", 0)],
)
def test_durations(text: str, milliseconds: int) -> None:
    assert units.milliseconds(units.parse_duration(text)) == milliseconds


@pytest.mark.parametrize("text", ["", " ", "15", "m", "15 minutes ago", "-5s", "5s x", "5s5", "1e3s", "inf"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="number and a unit"):
        units.parse_duration(text)


@pytest.mark.parametrize(("text", "size"), [("1 KiB", 1024), ("1 kB", None), ("1KB", 1000), ("0.5 GiB", 512 * 1024**2)])
def test_sizes(text: str, size: int | None) -> None:
    if size is None:
        with pytest.raises(ValueError, match="number and a unit"):
            units.parse_size(text)
    else:
        assert units.parse_size(text) == size


def test_a_timeout_is_rounded_up_to_seconds() -> None:
    assert units.whole_seconds(timedelta(milliseconds=1001)) == 2
    assert units.whole_seconds(timedelta(seconds=2)) == 2
