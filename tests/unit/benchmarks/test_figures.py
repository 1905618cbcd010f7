"""Statistics of the benchmarks."""

from __future__ import annotations

import math

import pytest

from benchmarks.application import figures
from benchmarks.application.figures import Delivered, Sample
from benchmarks.application.journal import Note, rate


def test_a_sample_is_its_median_and_range() -> None:
    assert Sample.of([3.0, 1.0, 2.0, 10.0]) == Sample(median=2.5, low=1.0, high=10.0, rounds=4)
    with pytest.raises(ValueError, match="at least one"):
        Sample.of([])


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [float(value) for value in range(1, 101)]
    assert figures.percentile(values, 50) == 50
    assert figures.percentile(values, 99) == 99
    assert figures.percentile([7.0], 99) == 7
    assert math.isnan(figures.percentile([], 50))


def test_the_ideal_is_concurrency_over_duration() -> None:
    assert figures.ideal_rate(concurrency=10, milliseconds=50) == 200
    assert figures.percent_of_ideal(150, concurrency=10, milliseconds=50) == 75
    assert figures.percent_of_ideal(150, concurrency=10, milliseconds=0) is None


def test_a_ratio_without_a_base_is_no_number() -> None:
    assert figures.ratio(3, 2) == 1.5
    assert math.isnan(figures.ratio(3, 0))


def test_every_id_is_to_be_seen_once() -> None:
    assert str(Delivered.check(["a", "b"], ["b", "a"])) == "2 once"
    found = Delivered.check(["a", "b", "c"], ["b", "b", "c", "x"])
    assert (found.missing, found.repeated, found.unknown) == (1, 1, 1)
    assert not found.exact


def test_the_rate_counts_from_the_first_beginning_to_the_last_end_of_the_batch() -> None:
    notes = [
        *(Note("S", "warm-0", 0.0), Note("E", "warm-0", 1.0)),
        *(Note("S", "job-0", 2.0), Note("E", "job-0", 3.0), Note("S", "job-1", 3.0), Note("E", "job-1", 4.0)),
    ]
    assert rate(notes, "job") == 1.0
