"""Whose request is it, when proxies stand in between."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from starlette.types import Scope


class ClientAddress:
    """Reads `X-Forwarded-For` from the right, as far as the addresses are trusted proxies.

    What stands left of the first untrusted address was written by the client itself and can be anything.
    """

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._trusted = tuple(trusted)

    def of(self, scope: Scope) -> str:
        """The client's address; "unknown" behind a Unix socket without a trusted proxy."""
        client = scope.get("client")
        peer = client[0] if client else ""
        if not self._trusted or not self._is_trusted(peer):
            return peer or "unknown"
        address = peer
        for hop in reversed(_forwarded(scope)):
            if _parse(hop) is None:
                break
            address = hop
            if not self._is_trusted(hop):
                break
        return address

    def _is_trusted(self, address: str) -> bool:
        parsed = _parse(address)
        return parsed is not None and any(parsed in network for network in self._trusted)


def network_of(address: str) -> str:
    """What counts as one caller. An IPv6 address counts as its /64: that is what one subscriber gets, and may change
    within at will."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return address if parsed.version == 4 else str(ip_network((parsed, 64), strict=False))


def _forwarded(scope: Scope) -> list[str]:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return [hop.strip() for value in values for hop in value.split(",")]


def _parse(address: str) -> IPv4Address | IPv6Address | None:
    try:
        parsed = ip_address(address)
    except ValueError:
        return None
    # A dual-stack listener shows an IPv4 peer as ::ffff:10.0.0.1.
    return getattr(parsed, "ipv4_mapped", None) or parsed
