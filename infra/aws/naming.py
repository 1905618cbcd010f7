"""Physical names, where the provider's own random ones will not do.

Pulumi names a resource after its logical name and a random suffix. That is the default here: a replacement can then be
made before its predecessor goes. A name of its own is for what people or policies look for.
"""

from __future__ import annotations

import hashlib
from typing import Final

_MARK: Final = 6
"""Characters of the hash that keeps two shortened names apart."""


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
