"""Property values on their way into and out of a state file.

In a file a secret is a map with a signature and the ciphertext of its JSON, an unknown value is a fixed text, and
numbers that JSON cannot write are hexadecimal. Assets, archives and resource references stay the signed maps they are.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.engine import signatures as sig
from infra.engine.errors import SecretsError, StateError
from infra.engine.state import go_json
from infra.engine.state.crypto import SecretsManager
from infra.engine.values import BLINDED, UNKNOWN, Secret


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
    match value:
        case Secret():
            plaintext = go_json.dumps(_shape(value.value))
            return {sig.KEY: sig.SECRET, "ciphertext": ciphertexts.encrypt(place, plaintext, secrets)}
        case dict():
            return {
                key: encode(item, place=(*place, key), secrets=secrets, ciphertexts=ciphertexts)
                for key, item in sorted(value.items())
            }
        case list() | tuple():
            return [
                encode(item, place=(*place, str(i)), secrets=secrets, ciphertexts=ciphertexts)
                for i, item in enumerate(value)
            ]
    return _scalar(value)


def decode(value: Any, *, place: tuple[str, ...], secrets: SecretsManager | None, ciphertexts: Ciphertexts) -> Any:
    """`value` as the engine holds it. Without `secrets` every secret is `Secret(BLINDED)`."""
    match value:
        case {sig.KEY: sig.SECRET}:
            return _open(value, place=place, secrets=secrets, ciphertexts=ciphertexts)
        case {sig.KEY: sig.FLOAT, "value": str(bits)}:
            return struct.unpack(">d", bytes.fromhex(bits))[0]
        case dict():
            return {
                key: decode(item, place=(*place, key), secrets=secrets, ciphertexts=ciphertexts)
                for key, item in value.items()
            }
        case list():
            return [
                decode(item, place=(*place, str(i)), secrets=secrets, ciphertexts=ciphertexts)
                for i, item in enumerate(value)
            ]
    return UNKNOWN if value == sig.UNKNOWN else value


def holds_byte_string(value: Any) -> bool:
    """Whether a text that is not UTF-8 stands somewhere in `value`, in a secret too."""
    match value:
        case Secret():
            return holds_byte_string(value.value)
        case dict():
            return value.get(sig.KEY) == sig.BYTE_STRING or any(holds_byte_string(item) for item in value.values())
        case list() | tuple():
            return any(holds_byte_string(item) for item in value)
    return False


def _open(
    value: Mapping[str, Any], *, place: tuple[str, ...], secrets: SecretsManager | None, ciphertexts: Ciphertexts
) -> Secret:
    if isinstance(plaintext := value.get("plaintext"), str):
        return Secret(_reveal(json.loads(plaintext)))
    ciphertext = value.get("ciphertext")
    if not isinstance(ciphertext, str):
        raise StateError(f"{'.'.join(place)}: a secret without ciphertext")
    if secrets is None:
        return Secret(BLINDED)
    try:
        plaintext = secrets.decrypt(ciphertext)
    except SecretsError as error:
        raise SecretsError(f"{'.'.join(place)}: {error}") from None
    ciphertexts.known[place] = (plaintext, ciphertext)
    return Secret(_reveal(json.loads(plaintext)))


def _shape(value: Any) -> Any:
    """What is inside a secret: encrypted as a whole, yet what was secret or unknown within stays marked."""
    match value:
        case Secret():
            return {sig.KEY: sig.SECRET, "ciphertext": go_json.dumps(_shape(value.value))}
        case dict():
            return {key: _shape(item) for key, item in value.items()}
        case list() | tuple():
            return [_shape(item) for item in value]
    return _scalar(value)


def _reveal(value: Any) -> Any:
    """The reverse of `_shape`."""
    match value:
        case {sig.KEY: sig.SECRET}:
            return Secret(_reveal(json.loads(value["ciphertext"])))
        case {sig.KEY: sig.FLOAT, "value": str(bits)}:
            return struct.unpack(">d", bytes.fromhex(bits))[0]
        case dict():
            return {key: _reveal(item) for key, item in value.items()}
        case list():
            return [_reveal(item) for item in value]
    return UNKNOWN if value == sig.UNKNOWN else value


def _scalar(value: Any) -> Any:
    if value is UNKNOWN:
        return sig.UNKNOWN
    if isinstance(value, float) and not math.isfinite(value):
        return {sig.KEY: sig.FLOAT, "value": struct.pack(">d", value).hex()}
    return value
