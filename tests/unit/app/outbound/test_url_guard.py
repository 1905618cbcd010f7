"""Hostile URLs and addresses, and the URLs that people really use."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

import pytest

from app.outbound.urls import UrlPolicy, UrlRefused, check_address, check_url_shape

STRICT = UrlPolicy()
OPEN = UrlPolicy(allow_http=True, allow_private=True)


@pytest.mark.parametrize(
    ("url", "scheme", "host", "port", "path"),
    [
        ("https://example.com", "https", "example.com", 443, "/"),
        ("HTTPS://Example.COM:8443/a/b?x=1&y=%20#part", "https", "example.com", 8443, "/a/b?x=1&y=%20"),
        ("https://example.com./hook", "https", "example.com", 443, "/hook"),
        ("https://bücher.example/ü?q=ü", "https", "xn--bcher-kva.example", 443, "/%C3%BC?q=%C3%BC"),
        ("https://8.8.8.8/", "https", "8.8.8.8", 443, "/"),
        ("https://[2606:4700::1111]:8443/x", "https", "2606:4700::1111", 8443, "/x"),
        ("https://my_host.example.com/?", "https", "my_host.example.com", 443, "/"),
        ("https://example.com?query", "https", "example.com", 443, "/?query"),
        ("https://example.com:80/", "https", "example.com", 80, "/"),
    ],
)
def test_ordinary_urls_pass(url: str, scheme: str, host: str, port: int, path: str) -> None:
    target = check_url_shape(url, STRICT)

    assert (target.scheme, target.host, target.port, target.path) == (scheme, host, port, path)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "//example.com/",
        "http://example.com/",
        "ftp://example.com/",
        "file:///etc/passwd",
        "gopher://example.com/_x",
        "javascript:alert(1)",
        "https://",
        "https:///path",
        "https://:443/",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://example.com@evil.example/",
        "https://@example.com/",
        "https://example.com\\@evil.example/",
        "https://example.com\r\nHost: evil/",
        "https://example.com/a b",
        " https://example.com/",
        "https://example.com\t/",
        "https://exam\x00ple.com/",
        "https://example.com:0/",
        "https://example.com:22/",
        "https://example.com:25/",
        "https://example.com:99999/",
        "https://example.com:-1/",
        "https://example.com:abc/",
        "https://exa%6dple.com/",
        "https://a..b/",
        "https://-a.example/",
        "https://[::1/",
        "https://[example.com]/",
        "https://[v1.x]/",
        "https://[fe80::1%25eth0]/",
        "https://" + "a" * 64 + ".example/",
        "https://example.com/" + "a" * 2048,
    ],
)
def test_malformed_and_foreign_urls_are_refused(url: str) -> None:
    with pytest.raises(UrlRefused) as refused:
        check_url_shape(url, STRICT)

    assert str(refused.value)


@pytest.mark.parametrize(
    "host",
    [
        "localhost",
        "LOCALHOST.",
        "foo.localhost",
        "127.0.0.1",
        "127.1",
        "127.0.0.1.",
        "0",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "１２７.0.0.1",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",
        "169.254.169.254",
        "169.254.170.2",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.168.1.1",
        "168.63.129.16",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "[::]",
        "[::1]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:8.8.8.8]",
        "[::127.0.0.1]",
        "[64:ff9b::a9fe:a9fe]",
        "[64:ff9b:1::1]",
        "[2002:7f00:1::]",
        "[2001:0:7f00:1::]",
        "[2001:db8::1]",
    ],
)
def test_addresses_of_the_inside_are_refused_in_every_notation(host: str) -> None:
    with pytest.raises(UrlRefused):
        check_url_shape(f"https://{host}/", STRICT)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "10.1.2.3", "[::1]", "169.254.169.254", "redis"])
def test_the_policy_can_allow_the_inside(host: str) -> None:
    assert check_url_shape(f"http://{host}:9/", OPEN).scheme == "http"


@pytest.mark.parametrize("address", ["224.0.0.1", "0.0.0.0", "255.255.255.255", "ff02::1", "::", "nonsense"])
def test_no_policy_allows_what_is_nobodys_address(address: str) -> None:
    with pytest.raises(UrlRefused):
        check_address(address, OPEN)


def _v6(prefix: str, value: int, *, shift: int = 0) -> str:
    return str(IPv6Address(int(IPv6Address(prefix)) | value << shift))


CARRIERS: dict[str, Callable[[int], str]] = {
    "mapped": lambda v4: _v6("::ffff:0:0", v4),
    "compatible": lambda v4: _v6("::", v4),
    "nat64": lambda v4: _v6("64:ff9b::", v4),
    "nat64 within a network": lambda v4: _v6("64:ff9b:1::", v4),
    "6to4": lambda v4: _v6("2002::", v4, shift=80),
    "teredo": lambda v4: _v6("2001::", v4 ^ 0xFFFF_FFFF),
}


@pytest.mark.parametrize("carrier", CARRIERS)
@pytest.mark.parametrize("inner", ["127.0.0.1", "10.1.2.3", "169.254.169.254", "192.168.0.1", "100.64.0.1"])
def test_no_ipv6_form_carries_a_private_address_past_the_guard(carrier: str, inner: str) -> None:
    with pytest.raises(UrlRefused):
        check_address(CARRIERS[carrier](int(IPv4Address(inner))), STRICT)


@pytest.mark.parametrize("carrier", ["mapped", "nat64", "6to4", "teredo"])
@pytest.mark.parametrize("inner", ["0.0.0.0", "224.0.0.1", "255.255.255.255"])
def test_what_is_nobodys_address_is_so_in_ipv6_too(carrier: str, inner: str) -> None:
    with pytest.raises(UrlRefused):
        check_address(CARRIERS[carrier](int(IPv4Address(inner))), OPEN)


@pytest.mark.parametrize("carrier", ["mapped", "nat64", "6to4", "teredo"])
def test_the_policy_can_allow_the_inside_in_ipv6_too(carrier: str) -> None:
    check_address(CARRIERS[carrier](int(IPv4Address("10.1.2.3"))), OPEN)


def test_http_is_its_own_permission() -> None:
    assert check_url_shape("http://example.com/", UrlPolicy(allow_http=True)).port == 80
    with pytest.raises(UrlRefused, match="private"):
        check_url_shape("http://10.0.0.1/", UrlPolicy(allow_http=True))
    with pytest.raises(UrlRefused, match="https://"):
        check_url_shape("http://example.com/", UrlPolicy(allow_private=True))


def test_the_reason_repeats_nothing_of_the_url() -> None:
    """It is stored and shown; a password in a refused URL must not be."""
    with pytest.raises(UrlRefused) as refused:
        check_url_shape("https://user:hunter2@example.com/", STRICT)

    assert "hunter2" not in str(refused.value)
