"""IPv4 addresses that are written as IPv6: which one an address stands for.

In these forms all of IPv4 fits into one IPv6 network, so that they are resolved before an address is masked,
compared or judged.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

IPAddress = IPv4Address | IPv6Address

_NAT64 = IPv6Network("64:ff9b::/96")
"""The well-known prefix (RFC 6052, section 2.1): the IPv4 address is the last 32 bits."""
_MAPPED = IPv6Network("::ffff:0:0/96")


def parse_address(text: str) -> IPAddress:
    """The address, without a zone (`%eth0`), which names a link of this host and not who is at its other end.

    `::ffff:10.0.0.1` is 10.0.0.1: that is how a dual-stack listener shows an IPv4 peer (RFC 4291, section 2.5.5.2).
    Raises ValueError for anything else than one address.
    """
    parsed = ip_address(text)
    if isinstance(parsed, IPv4Address):
        return parsed
    return parsed.ipv4_mapped or (IPv6Address(int(parsed)) if parsed.scope_id else parsed)


def unmapped_network(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """A network of mapped addresses as the IPv4 network that it is; any other as it is."""
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        mapped = network.network_address.ipv4_mapped
        assert mapped is not None, "it lies in the mapped prefix"
        return IPv4Network((mapped, network.prefixlen - _MAPPED.prefixlen))
    return network


def embedded_ipv4(address: IPAddress) -> IPv4Address | None:
    """The IPv4 host that an IPv6 address leads to, through a mapping, a translator (NAT64) or a tunnel (6to4, Teredo);
    None for a native one, and for a translator's prefix of its operator's own choice, which no table can know."""
    if isinstance(address, IPv4Address):
        return None
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    # A pair of Teredo's server and its client, of which the second is who speaks (RFC 4380, section 4).
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
