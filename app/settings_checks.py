"""Values of settings that need more than a type: durations, lists, URLs, secrets.

Each function takes what was given and returns the parsed value, or raises ValueError with a sentence that says what is
allowed and never contains a secret.
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qs, urlsplit

from app.ip_addresses import parse_address, unmapped_network

MIN_SIGNING_KEY_LENGTH = 64
MIN_DISTINCT_CHARACTERS = 12
MAX_SIGNING_KEYS = 8
MAX_WEBHOOK_SECRETS = 2
MIN_WEBHOOK_KEY_BYTES = 16

QUEUE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")

_DURATION = re.compile(r"(\d{1,9})\s*(s|m|h|d)")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_KEY_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_PLACEHOLDER = re.compile(
    r"change[-_ ]?me|your[-_ ]|placeholder|example|replace[-_ ]?(me|this)|<.*>|^x{3,}", re.IGNORECASE
)
_GUESSABLE_PASSWORDS = frozenset(
    {"pass", "password", "postgres", "redis", "secret", "admin", "root", "test", "changeme"}
)
_TLS_MODES = frozenset({"require", "verify-ca", "verify-full"})


@dataclass(frozen=True, kw_only=True)
class KeyRing:
    """Keys that sign tokens: the active one signs, every one of them verifies."""

    active: str
    keys: Mapping[str, str]

    def __repr__(self) -> str:
        return f"KeyRing(active={self.active!r}, keys={sorted(self.keys)})"


def duration(value: Any) -> int:
    """`"15m"` → 900 seconds. Units: s, m, h, d."""
    if isinstance(value, int):
        return value
    match = _DURATION.fullmatch(str(value).strip())
    if match is None or int(match[1]) == 0:
        raise ValueError("must be a whole number above 0 and a unit, such as 30s, 15m, 12h or 7d")
    return int(match[1]) * _SECONDS[match[2]]


def comma_list(value: Any) -> Any:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def origins(values: tuple[str, ...], *, production: bool) -> tuple[str, ...]:
    for value in values:
        if value == "*":
            if production:
                raise ValueError("`*` lets every web site call the API: name the allowed origins")
            continue
        parts = _split(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or value != f"{parts.scheme}://{parts.netloc}":
            raise ValueError(f"{value!r} is no origin: write scheme://host[:port] without a path, comma separated")
    return values


def routes(value: Any) -> Any:
    """`"prediction=slow, delivery=mail"` → pairs of a kind of job and its queue."""
    if not isinstance(value, str):
        return value
    pairs = [part.partition("=") for part in comma_list(value)]
    kinds = [kind.strip() for kind, _, _ in pairs]
    if any(not sign or not QUEUE_NAME.fullmatch(queue.strip()) for _, sign, queue in pairs):
        raise ValueError("must look like kind=queue, comma separated, each queue 1 to 64 of letters, digits, '_.-'")
    if len(set(kinds)) < len(kinds):
        raise ValueError("names a kind twice: its jobs go to one queue")
    return tuple((kind, queue.strip()) for kind, (_, _, queue) in zip(kinds, pairs, strict=True))


def networks(value: Any) -> Any:
    """`"10.0.0.0/8, fd00::/8"` → networks; a bare address is a network of one."""
    if not isinstance(value, str):
        return value
    # A peer of a dual-stack listener is compared as the IPv4 address that it is: a mapped network would match nobody.
    return tuple(unmapped_network(ipaddress.ip_network(part)) for part in comma_list(value))


def signing_key(key: str, *, production: bool) -> str:
    if len(key) < MIN_SIGNING_KEY_LENGTH:
        raise ValueError(f"has {len(key)} characters, needs at least {MIN_SIGNING_KEY_LENGTH}: openssl rand -base64 64")
    if production and (len(set(key)) < MIN_DISTINCT_CHARACTERS or _PLACEHOLDER.search(key)):
        raise ValueError("is a placeholder or too regular to be a secret: openssl rand -base64 64")
    return key


def key_ring(text: str, *, production: bool) -> KeyRing:
    """`{"active": "g7", "keys": {"g6": "...", "g7": "..."}}` → KeyRing."""
    shape = 'must be JSON of the shape {"active": "g7", "keys": {"g6": "...", "g7": "..."}}'
    try:
        ring = json.loads(text)
    except ValueError:
        raise ValueError(shape) from None
    match ring:
        case {"active": str() as active, "keys": dict() as keys, **rest} if keys and not rest:
            pass
        case _:
            raise ValueError(shape)
    if len(keys) > MAX_SIGNING_KEYS:
        raise ValueError(f"holds {len(keys)} keys, at most {MAX_SIGNING_KEYS} are useful: remove the retired ones")
    for kid, key in keys.items():
        if not _KEY_ID.fullmatch(kid) or not isinstance(key, str):
            raise ValueError("key ids must be 1 to 64 letters, digits, '.', '_' or '-', and every key a string")
        try:
            signing_key(key, production=production)
        except ValueError as error:
            raise ValueError(f"key {kid!r} {error}") from None
    if active not in keys:
        raise ValueError(f"the active key {active!r} is not among the keys: {', '.join(sorted(keys))}")
    if len(set(keys.values())) < len(keys):
        raise ValueError("two key ids hold the same key, so replacing one would not retire it")
    return KeyRing(active=active, keys=keys)


def database_url(url: str, *, production: bool) -> str:
    parts = _split(url)
    if parts.scheme not in ("postgresql", "postgres") or not parts.path.strip("/"):
        raise ValueError("must look like postgresql://user:password@host:5432/database?sslmode=require")
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    host = query.get("host") or parts.hostname or ""
    if production:
        if not _is_local(host) and query.get("sslmode") not in _TLS_MODES:
            raise ValueError(f"reaches another host without TLS: add sslmode={', '.join(sorted(_TLS_MODES))} (one of)")
        _refuse_guessable(parts.password or query.get("password"))
    return url


def redis_url(url: str, *, production: bool) -> str:
    parts = _split(url)
    valid = parts.path if parts.scheme == "unix" else parts.hostname
    if parts.scheme not in ("redis", "rediss", "unix") or not valid:
        raise ValueError("must look like rediss://user:password@host:6379/0 (or redis://, or unix:///path)")
    if production:
        if parts.scheme == "redis" and not _is_local(parts.hostname or ""):
            raise ValueError("reaches another host without TLS: use rediss://")
        _refuse_guessable(parts.password)
    return url


def collector_url(url: str) -> str:
    parts = _split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must look like http://host:4318; the path of the traces is added to it")
    if parts.username or parts.password:
        raise ValueError("must hold no password: this variable is no secret")
    return url


def api_key(key: str, *, production: bool) -> str:
    if any(character.isspace() or not character.isprintable() for character in key):
        raise ValueError("contains blanks or control characters")
    if production and (_PLACEHOLDER.search(key) or key.rstrip("x").endswith(("_", "-"))):
        raise ValueError("is a placeholder: set the provider's key or leave it out")
    return key


def base_url(url: str, *, production: bool) -> str:
    """An address that paths are appended to."""
    parts = _split(url)
    plain = not parts.query and not parts.fragment and "@" not in parts.netloc and url.isascii() and " " not in url
    if parts.scheme not in ("http", "https") or not parts.hostname or not plain:
        raise ValueError("must look like https://host[:port][/path], without user, query or fragment")
    if production and parts.scheme != "https":
        raise ValueError("sends keys and results in the open: use https://")
    return url.rstrip("/")


def webhook_secrets(text: str, *, production: bool) -> tuple[str, ...]:
    """`"whsec_<base64>, whsec_<base64>"` → both, the current one first."""
    secrets = tuple(part.strip() for part in text.split(","))
    if len(secrets) > MAX_WEBHOOK_SECRETS:
        raise ValueError(f"holds {len(secrets)} secrets: the current and the previous one are enough")
    for secret in secrets:
        text_of_key = secret.removeprefix("whsec_")
        try:
            key = base64.b64decode(text_of_key + "=" * (-len(text_of_key) % 4), validate=True)
        except ValueError:
            key = b""
        if not secret.startswith("whsec_") or len(key) < MIN_WEBHOOK_KEY_BYTES:
            raise ValueError(
                f"must be whsec_ and at least {MIN_WEBHOOK_KEY_BYTES} bytes in base64, as the provider shows it; "
                "two of them with a comma between during a rotation"
            )
        if production and len(set(key)) < MIN_DISTINCT_CHARACTERS:
            raise ValueError("is too regular to be a secret: take the provider's")
    if len(set(secrets)) < len(secrets):
        raise ValueError("holds the same secret twice")
    return secrets


def _split(url: str) -> SplitResult:
    """`urlsplit` whose errors do not repeat the URL: it may hold a password."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        raise ValueError("is no valid URL (brackets, port?)") from None
    return parts


def _is_local(host: str) -> bool:
    """Loopback, or a Unix socket (libpq: an empty host or a path)."""
    if not host or host.startswith("/") or host == "localhost":
        return True
    try:
        return parse_address(host).is_loopback
    except ValueError:
        return False


def _refuse_guessable(password: str | None) -> None:
    if password is not None and (password.lower() in _GUESSABLE_PASSWORDS or _PLACEHOLDER.search(password)):
        raise ValueError("holds a placeholder or guessable password")
