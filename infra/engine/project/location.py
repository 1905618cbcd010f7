"""Where a project's state is, and with what its secrets open: what the environment says, as the CLI reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from infra.engine.errors import EngineError, SecretsError, WrongPassphraseError
from infra.engine.project.project import Project, StackFile
from infra.engine.state.crypto import PassphraseSecretsManager, SecretsManager

STATE_FOLDER: Final = ".slipway"
LOCAL_STACK: Final = "local"
LOCAL_PASSPHRASE: Final = "local"  # noqa: S105 - published on purpose
"""The `local` stack is for one machine and must start with nothing set up, so its passphrase is published here and in
`Pulumi.local.yaml`. It protects nothing: the state's file modes do."""


def backend_url(project: Project, environ: Mapping[str, str] = os.environ) -> str:
    """The URL that the CLI must be given to find the same state."""
    return environ.get("PULUMI_BACKEND_URL") or f"file://{project.root / STATE_FOLDER}"


def state_root(project: Project, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of a ``file://`` backend; raises EngineError for any other, which only the CLI can reach."""
    url = backend_url(project, environ)
    if not url.startswith("file://"):
        scheme = urlsplit(url).scheme or url
        raise EngineError(
            f"PULUMI_BACKEND_URL keeps the state at {scheme}://, which only the Pulumi CLI can reach: install it "
            "(https://www.pulumi.com/docs/install/), or unset the variable to use the state in this project"
        )
    path = url.removeprefix("file://").partition("?")[0]
    if not path:
        raise EngineError("PULUMI_BACKEND_URL is file:// without a folder: write it as file:///FOLDER or file://~")
    return Path(os.path.abspath(Path(path).expanduser()))  # noqa: PTH100 - resolve() would follow symbolic links


def open_secrets(file: StackFile, environ: Mapping[str, str] = os.environ) -> PassphraseSecretsManager:
    """The stack's secrets manager; takes about 0.25 s.

    Raises SecretsError without a passphrase or salt, or when the stack uses another provider; WrongPassphraseError.
    """
    if file.secrets_provider:
        raise SecretsError(
            f"{file.path.name} encrypts its secrets with {file.secrets_provider}, which only the Pulumi CLI can use: "
            "install it (https://www.pulumi.com/docs/install/)"
        )
    if file.encryption_salt is None:
        raise SecretsError(
            f"{file.path.name} has no encryptionsalt yet: set PULUMI_CONFIG_PASSPHRASE to a passphrase of your choice; "
            "the first `slipway up` or `slipway config set --secret` of the stack then adds one"
        )
    candidates = _passphrases(file.stack, environ)
    for passphrase in candidates[:-1]:
        try:
            return PassphraseSecretsManager.open(passphrase, file.encryption_salt)
        except WrongPassphraseError:
            # A newcomer may have another project's passphrase exported; the local stack must start all the same.
            continue
    return PassphraseSecretsManager.open(candidates[-1], file.encryption_salt)


def open_or_create_secrets(
    file: StackFile, environ: Mapping[str, str] = os.environ, *, save: bool = True
) -> SecretsManager:
    """As `open_secrets`; a stack without a salt gets one, and its file is saved with it unless the caller will."""
    if file.encryption_salt is not None or file.secrets_provider:
        return open_secrets(file, environ)
    manager = PassphraseSecretsManager.create(_passphrases(file.stack, environ)[-1])
    file.encryption_salt = manager.encryption_salt
    if save:
        file.save()
    return manager


def working_passphrase(file: StackFile, environ: Mapping[str, str] = os.environ) -> str | None:
    """The passphrase to hand to the CLI where the environment has none or, for the local stack, one that is wrong."""
    candidates = _passphrases(file.stack, environ)
    if file.stack != LOCAL_STACK or file.encryption_salt is None:
        return candidates[-1]
    for passphrase in candidates:
        try:
            PassphraseSecretsManager.open(passphrase, file.encryption_salt)
        except WrongPassphraseError:
            continue
        return passphrase
    return None


def _passphrases(stack: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The passphrases to try, in that order; raises SecretsError when there is none."""
    given = _environment_passphrase(environ)
    local = (LOCAL_PASSPHRASE,) if stack == LOCAL_STACK else ()
    found = local if given is None else (given, *local)
    if not found:
        raise SecretsError(
            f"stack {stack!r} needs its passphrase: set PULUMI_CONFIG_PASSPHRASE, "
            "or PULUMI_CONFIG_PASSPHRASE_FILE to a file that holds it"
        )
    return tuple(dict.fromkeys(found))


def _environment_passphrase(environ: Mapping[str, str]) -> str | None:
    if (passphrase := environ.get("PULUMI_CONFIG_PASSPHRASE")) is not None:
        return passphrase
    if not (name := environ.get("PULUMI_CONFIG_PASSPHRASE_FILE")):
        return None
    try:
        return Path(name).read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise SecretsError(f"cannot read PULUMI_CONFIG_PASSPHRASE_FILE {name}: {error}") from error
