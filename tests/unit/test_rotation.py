from __future__ import annotations

import pytest

from infra.rotation import RotationError, check_step, ring, slots

GENERATIONS = range(1, 300)


def test_a_token_signed_before_or_after_a_step_verifies_on_both_sides() -> None:
    """While a rollout runs, old and new replicas meet each other's tokens."""
    for generation in GENERATIONS:
        old, new = ring(generation), ring(generation + 1)
        assert old.active in new.key_ids
        assert new.active in old.key_ids
        assert old.active != new.active


def test_one_step_retires_the_oldest_key_and_makes_one_new_key() -> None:
    for generation in GENERATIONS:
        old, new = set(ring(generation).key_ids), set(ring(generation + 1).key_ids)
        assert len(new - old) == 1
        assert len(old - new) == (0 if generation == 1 else 1)
        assert len(new) == 3


def test_the_first_ring_has_no_predecessor() -> None:
    assert ring(1).previous is None
    assert ring(1).key_ids == ("g1", "g2")
    assert ring(1).active == "g1"


def test_the_floor_drops_older_keys_now() -> None:
    assert ring(7, floor=7).key_ids == ("g7", "g8")
    assert ring(7, floor=6).key_ids == ("g6", "g7", "g8")
    assert ring(7, floor=1) == ring(7)


@pytest.mark.parametrize("floor", [0, -1, 8])
def test_a_floor_that_leaves_no_signing_key_is_refused(floor: int) -> None:
    with pytest.raises(RotationError, match="between 1 and the current generation 7"):
        ring(7, floor=floor)


def test_a_step_changes_the_idle_slot_and_no_other() -> None:
    """The login that running processes use must never get a new password."""
    for generation in GENERATIONS:
        old, new = slots(generation), slots(generation + 1)
        assert new.active == old.idle
        assert new.generation(old.active) == old.generation(old.active)
        assert new.generation(old.idle) == generation + 1
        assert new.generation(new.active) == generation + 1


def test_generations_differ_between_slots() -> None:
    for generation in GENERATIONS:
        at = slots(generation)
        assert at.a % 2 == 0
        assert at.b % 2 == 1
        assert abs(at.a - at.b) == 1


def test_two_steps_at_once_would_change_the_slot_in_use() -> None:
    """Why `check_step` refuses them."""
    old, new = slots(7), slots(9)
    assert new.generation(old.active) != old.generation(old.active)


@pytest.mark.parametrize(("old", "new"), [(1, 1), (1, 2), (7, 8)])
def test_steps_that_are_fine(old: int, new: int) -> None:
    check_step(old, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (7, 9, "rotation.db goes from 7 to 9 at once.*Set it to 8 and run up"),
        (7, 6, "rotation.db goes back from 7 to 6.*Set it to 7, or rotate on to 8"),
        (1, 0, "a whole number from 1"),
    ],
)
def test_steps_that_would_lock_processes_out(old: int, new: int, message: str) -> None:
    with pytest.raises(RotationError, match=message):
        check_step(old, new, name="rotation.db")


@pytest.mark.parametrize("generation", [0, -3])
def test_there_is_no_generation_below_one(generation: int) -> None:
    with pytest.raises(RotationError):
        ring(generation)
    with pytest.raises(RotationError):
        slots(generation)
