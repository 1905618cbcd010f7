"""Pulumi's passphrase secrets provider: the same key, the same cipher and the same text forms as the CLI's own.

An encrypted value reads ``v1:NONCE:DATA`` (both base64): AES-256-GCM with a 12-byte nonce, the tag appended to the
data, no associated data. The key is PBKDF2-HMAC-SHA256 of the passphrase over an 8-byte salt, one million rounds. A
stack file keeps ``encryptionsalt: v1:SALT:v1:NONCE:DATA``, whose last part is a known word to test a passphrase with.
"""

from __future__ import annotations

import hashlib
import os
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Protocol, Self

from infra.engine.errors import SecretsError, WrongPassphraseError

_ROUNDS = 1_000_000
_KEY_BYTES = 32
_SALT_BYTES = 8
_NONCE_BYTES = 12
_CHECK_WORD = "pulumi"


class SecretsManager(Protocol):
    """What encrypts the secrets of a stack. `type` and `state` are what the checkpoint says of it."""

    @property
    def type(self) -> str: ...

    @property
    def state(self) -> Mapping[str, Any]: ...

    def encrypt(self, plaintext: str) -> str: ...

    def decrypt(self, ciphertext: str) -> str: ...


class PassphraseSecretsManager:
    """The ``passphrase`` provider. Making one costs about 0.25 s (the key derivation), so a command makes one, once."""

    type = "passphrase"

    def __init__(self, *, passphrase: str, salt: bytes) -> None:
        # Imported here: `slipway --help` and the plan need no cipher, and the import costs some 30 ms.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._passphrase = passphrase
        self._cipher = AESGCM(hashlib.pbkdf2_hmac("sha256", passphrase.encode(), salt, _ROUNDS, _KEY_BYTES))
        self._encryption_salt = ""

    @classmethod
    def open(cls, passphrase: str, encryption_salt: str) -> Self:
        """The manager for an existing `encryption_salt`; raises WrongPassphraseError when the word does not open it."""
        salt, check = _parse_encryption_salt(encryption_salt)
        manager = cls(passphrase=passphrase, salt=salt)
        manager._encryption_salt = encryption_salt
        try:
            word = manager.decrypt(check)
        except SecretsError:
            word = ""
        if word != _CHECK_WORD:
            raise WrongPassphraseError(
                "wrong passphrase for this stack's secrets: set PULUMI_CONFIG_PASSPHRASE (or the file that "
                "PULUMI_CONFIG_PASSPHRASE_FILE names) to the one that its encryptionsalt was made with"
            )
        return manager

    @classmethod
    def create(cls, passphrase: str) -> Self:
        """A manager with a new salt; `encryption_salt` is what the stack file must keep."""
        salt = os.urandom(_SALT_BYTES)
        manager = cls(passphrase=passphrase, salt=salt)
        manager._encryption_salt = f"v1:{b64encode(salt).decode()}:{manager.encrypt(_CHECK_WORD)}"
        return manager

    @property
    def encryption_salt(self) -> str:
        return self._encryption_salt

    @property
    def state(self) -> Mapping[str, Any]:
        return {"salt": self._encryption_salt}

    def reopen(self, encryption_salt: str) -> PassphraseSecretsManager:
        """The same passphrase over another salt: a checkpoint may have been written before the stack file's changed."""
        if encryption_salt == self._encryption_salt:
            return self
        return PassphraseSecretsManager.open(self._passphrase, encryption_salt)

    def encrypt(self, plaintext: str) -> str:
        nonce = os.urandom(_NONCE_BYTES)
        data = self._cipher.encrypt(nonce, plaintext.encode(), None)
        return f"v1:{b64encode(nonce).decode()}:{b64encode(data).decode()}"

    def decrypt(self, ciphertext: str) -> str:
        from cryptography.exceptions import InvalidTag

        version, _, rest = ciphertext.partition(":")
        nonce, _, data = rest.partition(":")
        if version != "v1" or not nonce or not data:
            raise SecretsError("an encrypted value is not of the form v1:NONCE:DATA: it was damaged or cut off")
        try:
            return self._cipher.decrypt(b64decode(nonce, validate=True), b64decode(data, validate=True), None).decode()
        except (InvalidTag, ValueError):
            raise SecretsError(
                "an encrypted value does not open with this stack's passphrase: it was damaged, "
                "or copied from a stack with another encryptionsalt; set it again"
            ) from None


def _parse_encryption_salt(text: str) -> tuple[bytes, str]:
    parts = text.split(":", 2)
    try:
        if len(parts) != 3 or parts[0] != "v1":
            raise ValueError
        return b64decode(parts[1], validate=True), parts[2]
    except ValueError:
        raise SecretsError(
            "encryptionsalt is not of the form v1:SALT:v1:NONCE:DATA: restore the line from version control"
        ) from None
