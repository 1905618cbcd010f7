"""Whose request is it, when proxies stand in between."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network

from starlette.types import Scope

from app.ip_addresses import IPAddress, embedded_ipv4, parse_address

_WITH_PORT = re.compile(r"\[([^\]]*)\](?::[0-9]+)?|([0-9.]+):[0-9]+")
"""As some proxies write a hop: the application gateway of Azure always, AWS's load balancer when it is set to keep the
client's port."""

_LOCAL_TRANSLATORS = IPv6Network("64:ff9b:1::/48")
"""For translators within one network (RFC 8215), each of which may place the IPv4 address where it likes (RFC 6052,
section 2.2)."""


class ClientAddress:
    """Reads `X-Forwarded-For` from the right, as far as the addresses are trusted proxies.

    What stands left of the first untrusted address was written by the client itself and can be anything.
    """

    def __init__(self, trusted: Sequence[IPv4Network | IPv6Network]) -> None:
        self._trusted = tuple(trusted)

    def of(self, scope: Scope) -> str:
        """The client's address in its usual form, IPv4 for an IPv4 peer of a dual-stack listener; "unknown" behind a
        Unix socket without a trusted proxy."""
        client = scope.get("client")
        peer = client[0] if client else ""
        address = _parse(peer)
        if address is None:
            return peer or "unknown"
        if self._trusts(address):
            for hop in reversed(_forwarded(scope)):
                if (parsed := _parse(hop)) is None:
                    break
                address = parsed
                if not self._trusts(parsed):
                    break
        return str(address)

    def _trusts(self, address: IPAddress) -> bool:
        return any(address in network for network in self._trusted)


def network_of(address: str) -> str:
    """What counts as one caller: an IPv4 address, or the /64 of an IPv6 address, which is what one subscriber gets and
    may change within at will.

    An IPv6 address that stands for an IPv4 host counts as that host. In their prefixes a /64 holds everybody: all that
    is mapped or comes through a NAT64, all clients of one Teredo server; with 6to4 a single host has 65,536 of them.
    Each address of a local translator stands for one host, and counts alone.
    """
    parsed = _parse(address)
    if parsed is None:
        return address
    if isinstance(parsed, IPv4Address) or parsed in _LOCAL_TRANSLATORS:
        return str(parsed)
    return str(embedded_ipv4(parsed) or ip_network((parsed, 64), strict=False))


def _forwarded(scope: Scope) -> list[str]:
    values = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
    return [hop.strip() for value in values for hop in value.split(",")]


def _parse(text: str) -> IPAddress | None:
    if with_port := _WITH_PORT.fullmatch(text):
        text = with_port[1] if with_port[2] is None else with_port[2]
    try:
        return parse_address(text)
    except ValueError:
        return None
