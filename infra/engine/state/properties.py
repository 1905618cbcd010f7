"""Property values on their way into and out of a state file.

In a file a secret is a map with a signature and the ciphertext of its JSON, an unknown value is a fixed text, and
numbers that JSON cannot write are hexadecimal. Assets, archives and resource references stay the signed maps they are.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.engine import signatures as sig
from infra.engine.errors import SecretsError, StateError
from infra.engine.state import go_json
from infra.engine.state.crypto import SecretsManager
from infra.engine.values import BLINDED, UNKNOWN, Secret, contains


@dataclass
class Ciphertexts:
    """The ciphertext of each secret by its place, so that an unchanged secret keeps the text that it has.

    By place and not by plaintext: two equal secrets must not show as equal in the file.
    """

    known: dict[tuple[str, ...], tuple[str, str]] = field(default_factory=dict)

    def encrypt(self, place: tuple[str, ...], plaintext: str, secrets: SecretsManager) -> str:
        old = self.known.get(place)
        if old is not None and old[0] == plaintext:
            return old[1]
        ciphertext = secrets.encrypt(plaintext)
        self.known[place] = (plaintext, ciphertext)
        return ciphertext


def encode(value: Any, *, place: tuple[str, ...], secrets: SecretsManager, ciphertexts: Ciphertexts) -> Any:
    """`value` in the form of a state file."""
    return _written(value, place, lambda text, at: ciphertexts.encrypt(at, text, secrets))


def decode(value: Any, *, place: tuple[str, ...], secrets: SecretsManager | None, ciphertexts: Ciphertexts) -> Any:
    """`value` as the engine holds it. Without `secrets` every secret is `Secret(BLINDED)`."""

    def open_secret(found: Mapping[str, Any], at: tuple[str, ...]) -> Any:
        if isinstance(plaintext := found.get("plaintext"), str):
            return _read_plaintext(plaintext)
        ciphertext = found.get("ciphertext")
        if not isinstance(ciphertext, str):
            raise StateError(f"{'.'.join(at)}: a secret without ciphertext")
        if secrets is None:
            return BLINDED
        try:
            plaintext = secrets.decrypt(ciphertext)
        except SecretsError as error:
            raise SecretsError(f"{'.'.join(at)}: {error}") from None
        ciphertexts.known[at] = (plaintext, ciphertext)
        return _read_plaintext(plaintext)

    return _read(value, place, open_secret)


def holds_byte_string(value: Any) -> bool:
    """Whether a text that is not UTF-8 stands somewhere in `value`, in a secret too."""
    return contains(value, lambda item: isinstance(item, dict) and item.get(sig.KEY) == sig.BYTE_STRING)


def _written(value: Any, place: tuple[str, ...], encrypt: Callable[[str, tuple[str, ...]], str]) -> Any:
    match value:
        case Secret():
            # Encrypted as a whole, yet what was secret or unknown within stays marked.
            plaintext = go_json.dumps(_written(value.value, (), lambda text, _: text))
            return {sig.KEY: sig.SECRET, "ciphertext": encrypt(plaintext, place)}
        case dict():
            return {key: _written(item, (*place, key), encrypt) for key, item in sorted(value.items())}
        case list() | tuple():
            return [_written(item, (*place, str(i)), encrypt) for i, item in enumerate(value)]
    return _scalar(value)


def _read(value: Any, place: tuple[str, ...], open_secret: Callable[[Mapping[str, Any], tuple[str, ...]], Any]) -> Any:
    match value:
        case {sig.KEY: sig.SECRET}:
            return Secret(open_secret(value, place))
        case {sig.KEY: sig.FLOAT, "value": str(bits)}:
            return struct.unpack(">d", bytes.fromhex(bits))[0]
        case dict():
            return {key: _read(item, (*place, key), open_secret) for key, item in value.items()}
        case list():
            return [_read(item, (*place, str(i)), open_secret) for i, item in enumerate(value)]
    return UNKNOWN if value == sig.UNKNOWN else value


def _read_plaintext(text: str) -> Any:
    return _read(json.loads(text), (), lambda found, _: _read_plaintext(found["ciphertext"]))


def _scalar(value: Any) -> Any:
    if value is UNKNOWN:
        return sig.UNKNOWN
    if isinstance(value, float) and not math.isfinite(value):
        return {sig.KEY: sig.FLOAT, "value": struct.pack(">d", value).hex()}
    return value
