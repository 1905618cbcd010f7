"""Which URLs users may have the service call: the guard against server-side request forgery.

A worker sits inside the private network, next to the database, the metadata service and the credentials endpoint of
its container (169.254.169.254, 169.254.170.2). The check has two halves: `check_url_shape` when a URL is accepted, and
`check_address` on the very address that is connected to (app.outbound.client), so that a name which changes its
answer in between gains nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import quote, urlsplit

import idna

from app.ip_addresses import embedded_ipv4
from app.settings import Settings

MAX_URL_LENGTH = 2048

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
DEFAULT_PORTS = {"https": 443, "http": 80}
_FIRST_USER_PORT = 1024
"""Ports below it belong to other protocols (SSH, SMTP, ...) that a crafted body must not reach; 80 and 443 are fine."""

# The IANA special-purpose registry, plus the one public address that is a cloud's own metadata service.
_SPECIAL_V4 = tuple(
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
# Only global unicast is reachable at all: that leaves out loopback, link-local, unique local, multicast, IPv4-mapped
# addresses and NAT64 prefixes, whichever IPv4 address is in them. Within it, what tunnels IPv4 or is reserved.
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"))


class UrlRefused(ValueError):
    """The URL or its address is not allowed; `str()` is a reason that may be shown to the user."""


@dataclass(frozen=True, kw_only=True)
class UrlPolicy:
    """What is allowed beyond `https://` to public addresses."""

    allow_http: bool = False
    allow_private: bool = False

    @classmethod
    def of(cls, settings: Settings) -> UrlPolicy:
        """For addresses that users give."""
        return cls(allow_http=settings.delivery_allow_http, allow_private=settings.delivery_allow_private_networks)


@dataclass(frozen=True, kw_only=True)
class Target:
    """A checked URL in the parts that the connection is made from, so that no second parser sees the text.

    `host` is ASCII in lower case without brackets, `path` the request target with its query, percent-encoded.
    """

    scheme: str
    host: str
    port: int
    path: str


def check_url_shape(url: str, policy: UrlPolicy) -> Target:
    """The parts of `url`; raises UrlRefused. Touches no network, so a name is not resolved here."""
    if len(url) > MAX_URL_LENGTH:
        raise UrlRefused(f"the URL is longer than {MAX_URL_LENGTH} characters")
    if any(character <= " " or character in "\\\x7f" for character in url):
        # Parsers disagree about these, and what two parsers read differently is how a guard is passed.
        raise UrlRefused("the URL contains a space, a control character or a backslash")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise UrlRefused("the URL is malformed") from None
    scheme = parts.scheme.lower()
    if scheme not in (("https", "http") if policy.allow_http else ("https",)):
        raise UrlRefused("the URL must start with https://" + (" or http://" if policy.allow_http else ""))
    if "@" in parts.netloc:
        raise UrlRefused("the URL must not contain a user name or password")
    port = DEFAULT_PORTS[scheme] if port is None else port
    if port not in DEFAULT_PORTS.values() and (port == 0 or (port < _FIRST_USER_PORT and not policy.allow_private)):
        raise UrlRefused(f"port {port} is not allowed: use 80, 443 or one from {_FIRST_USER_PORT} up")
    host = _host(parts.hostname or "", bracketed=parts.netloc.startswith("["), policy=policy)
    path = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~-._[]") if parts.query else ""
    return Target(scheme=scheme, host=host, port=port, path=path + query)


def check_address(address: str, policy: UrlPolicy) -> None:
    """Raise UrlRefused unless `address` (an IP address as text) may be connected to."""
    try:
        parsed = ip_address(address)
    except ValueError:
        raise UrlRefused("the host has an address of an unknown form") from None
    # Both are judged: a mapping or a tunnel leads to the IPv4 address within, whatever the policy allows of the outer.
    if any(_is_nobodys(leads_to) for leads_to in (parsed, embedded_ipv4(parsed)) if leads_to is not None):
        raise UrlRefused("the host is a multicast, broadcast or unspecified address")
    if not policy.allow_private and not _is_public(parsed):
        raise UrlRefused("the host is a private, local or reserved address")


def _is_nobodys(address: IPv4Address | IPv6Address) -> bool:
    return address.is_multicast or address.is_unspecified or address == IPv4Address("255.255.255.255")


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)


def _host(host: str, *, bracketed: bool, policy: UrlPolicy) -> str:
    if not host:
        raise UrlRefused("the URL has no host")
    if "%" in host:
        raise UrlRefused("the host must not contain a percent sign")
    if bracketed:
        if not isinstance(as_address(host), IPv6Address):
            raise UrlRefused("the host is not an IPv6 address")
        check_address(host, policy)
        return host
    name = _ascii(host).removesuffix(".")
    if as_address(name) is not None:
        check_address(name, policy)
        return name
    labels = name.split(".")
    if _NUMERIC_LABEL.fullmatch(labels[-1]):
        # 127.1, 0x7f000001, 2130706433 and 0177.0.0.1 are all loopback to the C library.
        raise UrlRefused("the host is neither a name nor an IPv4 address in dotted form")
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlRefused("the host name is malformed")
    if labels[-1] == "localhost" and not policy.allow_private:
        raise UrlRefused("the host is a private, local or reserved address")
    return name


def _ascii(host: str) -> str:
    if host.isascii():
        return host.lower()
    try:
        return idna.encode(host, uts46=True).decode("ascii").lower()
    except idna.IDNAError:
        raise UrlRefused("the host name is malformed") from None


def as_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that the host is; None for a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None
