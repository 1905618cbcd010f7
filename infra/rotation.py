"""Generations of secrets, and what follows from them: which exist, which is in use, and the random values behind them.
Nothing is looked up in any state.

A secret's generation is a number in stack config. Raising it by one is a rotation. Two shapes follow from it:

* a **ring** for keys that sign: previous, current, next. While a rollout runs, old and new processes work side by
  side, so the key that new ones sign with must already be known to old ones; hence `next`.
* two **slots** for logins: one is in use, the other idle. A step changes the idle one and makes it the one in use, so
  that processes of both kinds can log in throughout.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

import pulumi
import pulumi_random as random

from infra.component import Component

SlotName = Literal["a", "b"]
SLOT_NAMES: Final[tuple[SlotName, ...]] = ("a", "b")
KEY_BYTES: Final = 64
"""As long as HMAC-SHA-256's block: more adds nothing. In base64 that is 88 characters, above the 64 asked for."""


class RotationError(ValueError):
    """A step that would cut off running processes. ``str()`` says what to do instead."""

    user_facing = True


@dataclass(frozen=True, kw_only=True)
class Ring:
    """The generations of a signing key that exist at one time."""

    previous: int | None
    """None at the first generation, or where the floor has dropped it."""
    current: int
    next: int

    @property
    def generations(self) -> tuple[int, ...]:
        """Every generation that verifies, oldest first."""
        return (*(() if self.previous is None else (self.previous,)), self.current, self.next)

    @property
    def active(self) -> str:
        """The key id that signs."""
        return key_id(self.current)

    @property
    def key_ids(self) -> tuple[str, ...]:
        return tuple(key_id(generation) for generation in self.generations)


@dataclass(frozen=True, kw_only=True)
class Slots:
    """The two logins of one secret."""

    a: int
    """Generation of the password in slot a; 0 before the slot was first used."""
    b: int
    active: SlotName

    @property
    def idle(self) -> SlotName:
        return "b" if self.active == "a" else "a"

    def generation(self, slot: SlotName) -> int:
        return self.a if slot == "a" else self.b


def key_id(generation: int) -> str:
    """The `kid` in the header of a token: ``g7``."""
    return f"g{generation}"


def ring(generation: int, *, floor: int | None = None) -> Ring:
    """The ring at `generation`. With a `floor`, no older generation verifies: the way to drop a compromised key.

    The floor may be the current generation at most: above it nothing could sign.
    """
    _positive(generation)
    if floor is not None and not 1 <= floor <= generation:
        raise RotationError(f"the floor must be between 1 and the current generation {generation}, not {floor}")
    previous = generation - 1
    keep = previous >= max(1, floor or 1)
    return Ring(previous=previous if keep else None, current=generation, next=generation + 1)


def slots(generation: int) -> Slots:
    """Which slot is in use at `generation`, and the generation of the password in each.

    Even generations live in slot a, odd ones in slot b, so one step up changes the slot that was idle and no other.
    """
    _positive(generation)
    even, odd = (generation, generation - 1) if generation % 2 == 0 else (generation - 1, generation)
    return Slots(a=even, b=odd, active="a" if generation % 2 == 0 else "b")


def keepers(generation: int) -> dict[str, dict[str, str]]:
    """The input of a random value by which a step makes it anew.

    None at the first generation: there are stacks whose value was made before it had one, and which must keep it.
    """
    return {} if generation == 1 else {"keepers": {"generation": str(generation)}}


def check_step(old: int, new: int, *, name: str = "rotation") -> None:
    """Raise RotationError unless the step is none or one up.

    Two steps at once would change the credential that running processes use; a step back would do the same, because
    the slot that it returns to has been given a new password since.
    """
    _positive(new)
    if new == old:
        return
    if new < old:
        raise RotationError(
            f"{name} goes back from {old} to {new}: the credentials of {new} are gone. "
            f"Set it to {old}, or rotate on to {old + 1}."
        )
    if new > old + 1:
        raise RotationError(
            f"{name} goes from {old} to {new} at once: running processes would be locked out. "
            f"Set it to {old + 1} and run up, then go on step by step."
        )


def _positive(generation: int) -> None:
    if generation < 1:
        raise RotationError(f"a generation is a whole number from 1, not {generation}")


def password(owner: Component, role: str, kept: Mapping[str, Mapping[str, str]], *, length: int) -> pulumi.Output[str]:
    """Make ``<role>-password``. `kept` is what makes it anew: `keepers`."""
    properties = {"length": length, "special": False, **kept}
    return owner.inner(f"{role}-password", random.RandomPassword, properties).result


def slot_passwords(owner: Component, slots: Slots, *, length: int) -> dict[str, pulumi.Output[str]]:
    """One for each of the application's two logins.

    Their generation is always among the inputs, also at 0 and 1: so it is in the states of stacks that exist.
    """
    return {
        slot: password(owner, f"app-{slot}", {"keepers": {"generation": str(slots.generation(slot))}}, length=length)
        for slot in SLOT_NAMES
    }


def signing_keys(owner: Component, ring: Ring) -> pulumi.Output[str]:
    """`JWT_KEYS`: the ring as JSON, with a random key for each generation, ``jwt-<key id>``."""
    keys = {
        key_id(generation): owner.inner(f"jwt-{key_id(generation)}", random.RandomBytes, {"length": KEY_BYTES}).base64
        for generation in ring.generations
    }
    return pulumi.Output.secret(pulumi.Output.json_dumps({"active": ring.active, "keys": keys}, sort_keys=True))
