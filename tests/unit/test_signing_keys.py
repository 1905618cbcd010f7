"""Since when no earlier key signs, and what that allows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from infra import signing_keys
from infra.rotation import RotationError
from infra.rotation_record import CLOCKS, SigningKeys
from infra.signing_keys import SigningKeysProvider

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
LIFE = 7 * DAY


class Stack:
    """The record of one stack, changed by an `up` at a time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.time, self.known = START, {}
        monkeypatch.setattr(signing_keys, "now", lambda: self.time)

    def after(self, span: timedelta) -> Stack:
        self.time += span
        return self

    def up(self, generation: int, *, life: timedelta = LIFE, floor: int | None = None) -> str | None:
        """What is said about it; RotationError where it is refused, and then nothing is noted."""
        # As both engines hand numbers over.
        news: dict[str, Any] = {"generation": float(generation), "token_life": life.total_seconds()}
        provider = SigningKeysProvider()
        if not self.known:
            self.known = provider.create(news).outs or {}
            return None
        if not provider.diff("", self.known, news).changes:
            return None
        wanted = SigningKeys(generation=generation, token_life=int(news["token_life"]), floor=floor)
        notice = wanted.check(self.known, self.time)
        self.known = provider.update("", self.known, news).outs or {}
        return notice


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> Stack:
    return Stack(monkeypatch)


def test_the_first_step_drops_nothing_and_may_come_at_once(stack: Stack) -> None:
    stack.up(1)
    stack.up(2)


@pytest.mark.parametrize("wait", [timedelta(0), DAY, LIFE - timedelta(seconds=1), LIFE])
def test_a_second_step_within_the_life_of_a_token_is_refused(stack: Stack, wait: timedelta) -> None:
    stack.up(1)
    stack.after(30 * DAY).up(2)
    with pytest.raises(RotationError) as refused:
        stack.after(wait).up(3)
    text = str(refused.value)
    assert "rotation.jwt goes from 2 to 3, which drops key g1" in text
    assert "the last step arrived on 2026-03-31 12:00 UTC" in text
    assert "2026-04-07 12:05 UTC" in text
    assert "Set rotation.jwt to 2 until then" in text
    assert "set rotation.jwt_min to 2" in text
    stack.time = START + 37 * DAY + CLOCKS
    stack.up(3)


def test_insisting_names_what_it_costs_and_holds_for_one_step(stack: Stack) -> None:
    stack.up(1)
    stack.up(2)
    notice = stack.after(DAY).up(3, floor=2)
    assert notice is not None
    assert "whoever holds such a token is logged out" in notice
    with pytest.raises(RotationError, match="drops key g2"):
        stack.after(DAY).up(4, floor=2)


def test_a_leak_is_answered_with_the_floor_at_the_new_generation(stack: Stack) -> None:
    """And the step after it needs no more of that: the key that it drops verifies nothing since then."""
    stack.up(1)
    stack.up(2)
    stack.up(3, floor=3)
    stack.up(4, floor=3)


def test_the_count_starts_when_a_step_has_arrived_everywhere(stack: Stack) -> None:
    """A rollout that failed and was repeated a day later signed with the key before all the time."""
    stack.up(1)
    stack.after(DAY)  # The first attempt fails before the record is reached.
    stack.after(DAY).up(2)
    assert stack.known["earlier_until"] == (START + 2 * DAY + LIFE).isoformat()


@pytest.mark.parametrize(
    ("before", "then"), [(30 * DAY, DAY), (DAY, 30 * DAY)], ids=["a shorter life", "a longer life"]
)
@pytest.mark.parametrize("together", [True, False], ids=["with the step", "before the step"])
def test_tokens_count_with_the_life_that_they_were_signed_with(
    stack: Stack, before: timedelta, then: timedelta, together: bool
) -> None:
    stack.up(1, life=before)
    if not together:
        stack.up(1, life=then)
    stack.after(DAY).up(2, life=then)
    last = DAY + before if together else max(before, DAY + then)
    stack.time = START + last
    with pytest.raises(RotationError):
        stack.up(3, life=then)
    stack.after(CLOCKS).up(3, life=then)


def test_another_life_of_tokens_drops_no_key_and_is_never_refused(stack: Stack) -> None:
    stack.up(1)
    stack.up(2)
    before = stack.known["earlier_until"]
    for life in (DAY, 90 * DAY, LIFE):
        stack.after(timedelta(hours=1)).up(2, life=life)
    assert stack.known["earlier_until"] == before
    assert stack.known["current_until"] == (START + timedelta(hours=3) + 90 * DAY).isoformat()


def test_a_clock_that_went_back_is_told(stack: Stack) -> None:
    stack.up(1)
    stack.after(365 * DAY).up(2)
    with pytest.raises(RotationError, match="the clock of this machine says 2026-03-01 12:00 UTC"):
        stack.after(-365 * DAY).up(3)


def test_a_state_without_the_record_is_held_up_for_one_life_at_most(stack: Stack) -> None:
    """It may have made its last step a moment ago."""
    stack.up(5)
    with pytest.raises(RotationError, match="drops key g4"):
        stack.up(6)
    stack.after(LIFE + CLOCKS).up(6)


def test_a_step_of_a_state_without_the_record_says_what_to_do() -> None:
    with pytest.raises(RotationError) as refused:
        SigningKeys(generation=6, token_life=604_800).check({}, START)
    assert "less than 7 days" in str(refused.value)
    assert "Set rotation.jwt to 5 and run up, which notes the time" in str(refused.value)
    assert "set rotation.jwt_min to 5" in str(refused.value)
    SigningKeys(generation=2, token_life=604_800).check({}, START)
    SigningKeys(generation=6, token_life=604_800, floor=5).check({}, START)


@pytest.mark.parametrize("make", [SigningKeysProvider().create, lambda props: SigningKeysProvider().read("id", props)])
def test_what_is_written_is_plain(make: Callable[[dict[str, Any]], Any]) -> None:
    outs = make({"generation": 1.0, "token_life": 60.0, "stepped": "", "earlier_until": "", "current_until": ""}).outs
    assert outs == {"generation": 1, "token_life": 60, "stepped": "", "earlier_until": "", "current_until": ""}
