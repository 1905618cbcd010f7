"""Names for servers that are known before the servers are, and that no successor has again."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import pulumi
import pulumi_random as random

from infra.aws.naming import prefix
from infra.component import Component

_SUFFIX: Final = 9
"""Characters of the suffix with its hyphen."""


def identifier(
    owner: Component, role: str, stem: str, *, limit: int, keepers: Mapping[str, pulumi.Input[str]]
) -> pulumi.Output[str]:
    """``<project>-<stack>-<stem>-<8 hexadecimal digits>``: letters, digits and hyphens only. Makes ``<role>-suffix``.

    Known early, because log groups must be there before a server writes: AWS makes its own otherwise, which keep
    everything for ever. `keepers` are what replaces the server: the successor exists beside it for a while, and the
    final snapshot of the one before is named after that.
    """
    made = owner.inner(f"{role}-suffix", random.RandomId, {"byte_length": 4, "keepers": dict(keepers)})
    start = re.sub(
        r"[^a-z0-9]+", "-", prefix(pulumi.get_project(), pulumi.get_stack(), stem, limit=limit - _SUFFIX + 1).lower()
    )
    return pulumi.Output.concat(start, made.hex)


def description(what: str) -> str:
    """For people who find the resource in the console."""
    return f"{pulumi.get_project()} {pulumi.get_stack()}: {what}"
