"""Which addresses each subnet has: arithmetic, with no resource."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Final, Literal

Tier = Literal["task", "public", "data"]

SLOTS: Final = 8
"""Zones that the plan has room for. No region has more, and their letters run from a to h at most."""
SMALLEST_VPC: Final = 22
"""Prefix of the smallest VPC: its public subnets are /27, and a load balancer wants no less."""

_SHARE: Final[Mapping[Tier, tuple[int, int]]] = {"task": (1, 0), "public": (2, 2), "data": (2, 3)}
"""Bits below the VPC's prefix, and which block of that size: tasks get half, the others a quarter each."""


@dataclass(frozen=True, kw_only=True)
class Subnet:
    tier: Tier
    zone: str
    cidr: str

    @property
    def letter(self) -> str:
        return self.zone[-1]


def subnets(cidr: str, zones: Sequence[str], tier: Tier) -> tuple[Subnet, ...]:
    """One subnet of the tier in each zone.

    A zone's letter decides its place, so that no subnet moves when another zone comes or goes: a subnet that moves is a
    subnet made anew, and the database cannot follow it. Raises ValueError for a zone or range without room.
    """
    network = IPv4Network(cidr)
    if network.prefixlen > SMALLEST_VPC:
        raise ValueError(f"{cidr} is too small for the subnets: give a /{SMALLEST_VPC} or larger")
    bits, block = _SHARE[tier]
    share = list(network.subnets(prefixlen_diff=bits))[block]
    parts = list(share.subnets(prefixlen_diff=SLOTS.bit_length() - 1))
    return tuple(Subnet(tier=tier, zone=zone, cidr=str(parts[_slot(zone)])) for zone in zones)


def _slot(zone: str) -> int:
    slot = string.ascii_lowercase.index(zone[-1])
    if slot >= SLOTS:
        raise ValueError(f"there is no room for zone {zone}: the plan has {SLOTS}, a to h")
    return slot
