"""Passwords that the program makes: letters and digits, and another one with each generation."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_random as random

from infra.component import Component
from infra.rotation import SLOT_NAMES, Slots


def password(owner: Component, role: str, kept: Mapping[str, Mapping[str, str]], *, length: int) -> pulumi.Output[str]:
    """Make ``<role>-password``. `kept` is what makes it anew: `rotation.keepers`."""
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
