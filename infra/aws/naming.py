"""Physical names, where the provider's own random ones will not do.

Pulumi names a resource after its logical name and a random suffix. That is the default here: a replacement can then be
made before its predecessor goes. A name of its own is for what people or policies look for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Final

import pulumi
import pulumi_random as random

from infra.component import Component

_MARK: Final = 6
"""Characters of the hash that keeps two shortened names apart."""
_SUFFIX: Final = 9
"""Characters of an identifier's suffix with its hyphen."""


def name(project: str, stack: str, role: str, *, limit: int) -> str:
    """``<project>-<stack>-<role>``, at most `limit` characters long.

    A longer one is cut and ends in a hash of the whole, so that two long names stay different. Raises ValueError for a
    `limit` that leaves no room for a name.
    """
    if limit < 2 * _MARK:
        raise ValueError(f"a name of at most {limit} characters could not be told from others")
    whole = f"{project}-{stack}-{role}"
    if len(whole) <= limit:
        return whole
    mark = hashlib.sha256(whole.encode()).hexdigest()[:_MARK]
    return f"{whole[: limit - _MARK - 1].rstrip('-')}-{mark}"


def prefix(project: str, stack: str, role: str, *, limit: int) -> str:
    """The same as a prefix for names to which the provider adds a suffix of its own: ends in ``-``."""
    return name(project, stack, role, limit=limit - 1) + "-"


def partition(region: str) -> str:
    """The part of AWS that a region belongs to, as ARNs spell it."""
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


def physical_name(role: str, *, limit: int = 255) -> str:
    """`name` in the stack that runs."""
    return name(pulumi.get_project(), pulumi.get_stack(), role, limit=limit)


def name_tag(role: str) -> dict[str, str]:
    """The tag that the console shows as a name."""
    return {"Name": physical_name(role)}


def log_group_name(role: str) -> str:
    return f"/{pulumi.get_project()}/{pulumi.get_stack()}/{role}"


def hyphenated_prefix(role: str, *, limit: int) -> str:
    """`prefix` in the stack that runs, of lower-case letters, digits and hyphens only."""
    text = prefix(pulumi.get_project(), pulumi.get_stack(), role, limit=limit)
    return re.sub(r"[^a-z0-9]+", "-", text.lower())


def identifier(
    owner: Component, role: str, stem: str, *, limit: int, keepers: Mapping[str, pulumi.Input[str]]
) -> pulumi.Output[str]:
    """``<project>-<stack>-<stem>-<8 hexadecimal digits>`` for a server. Makes ``<role>-suffix``.

    Known before the server is, because log groups must be there before it writes: AWS makes its own otherwise, which
    keep everything for ever. `keepers` are what replaces the server: the successor exists beside it for a while, and
    the final snapshot of the one before is named after that.
    """
    made = owner.inner(f"{role}-suffix", random.RandomId, {"byte_length": 4, "keepers": dict(keepers)})
    return pulumi.Output.concat(hyphenated_prefix(stem, limit=limit - _SUFFIX + 1), made.hex)


def description(what: str) -> str:
    """For people who find the resource in the console."""
    return f"{pulumi.get_project()} {pulumi.get_stack()}: {what}"
