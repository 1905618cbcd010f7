"""Pulumi's file backend: where a stack's state, its history and its lock are, under ``DIR/.pulumi``.

The layout is the CLI's, so that either engine can go on where the other stopped:

    meta.yaml                                  version of the layout
    stacks/PROJECT/STACK.json, .json.bak       the checkpoint, and the one before it
    history/PROJECT/STACK/STACK-NANOS.*.json   per update: what it was, and the checkpoint after it
    backups/PROJECT/STACK/STACK.NANOS.json     the checkpoint after each update
    locks/organization/PROJECT/STACK/ID.json   while an update runs

The CLI keeps an ``.attrs`` file with a checksum beside each; it is written here too, so that none goes stale.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from infra.engine.errors import SecretsError, StateError
from infra.engine.state import go_json, lock
from infra.engine.state.checkpoint import Checkpoint
from infra.engine.state.crypto import PassphraseSecretsManager, SecretsManager
from infra.engine.state.files import make_private, write_atomically
from infra.engine.state.snapshot import Snapshot

_LAYOUT = b"version: 1\n"


@dataclass(frozen=True, kw_only=True)
class UpdateInfo:
    """What the history keeps of an update. Times are seconds since 1970; `config` is the stack's, secrets encrypted."""

    kind: Literal["update", "destroy"]
    start_time: int
    end_time: int
    succeeded: bool
    config: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, int] = field(default_factory=dict)
    """Operation to count."""
    message: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        info: dict[str, Any] = {
            "kind": self.kind,
            "startTime": self.start_time,
            "message": self.message,
            "environment": dict(sorted(self.environment.items())),
            "config": dict(sorted(self.config.items())),
            "version": 0,
            "result": "succeeded" if self.succeeded else "failed",
            "endTime": self.end_time,
        }
        changes = {op: count for op, count in sorted(self.changes.items()) if count}
        return info | ({"resourceChanges": changes} if changes else {})


class FileBackend:
    """The state of stacks under one folder, the DIR of ``file://DIR``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folder = root / ".pulumi"
        self._checkpoints: dict[tuple[str, str], Checkpoint] = {}

    def state_file(self, project: str, stack: str) -> Path:
        return self._folder / "stacks" / project / f"{stack}.json"

    def exists(self, project: str, stack: str) -> bool:
        return self.state_file(project, stack).exists()

    def load(self, project: str, stack: str, secrets: SecretsManager | None) -> Snapshot:
        """The stack's snapshot, an empty one when it has no state yet.

        Without `secrets` every secret in it is `Secret(BLINDED)`: good to look at, never to save.
        Raises StateError for a state that cannot be read, SecretsError when `secrets` does not open it.
        """
        self._check_layout()
        path = self.state_file(project, stack)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            self._refuse_compressed(path)
            return Snapshot(stack=stack, project=project)
        except OSError as error:
            raise StateError(f"cannot read the state file {path}: {error.strerror}") from error
        checkpoint = Checkpoint(project=project, stack=stack)
        try:
            snapshot = checkpoint.decode(content, open_secrets=lambda provider: _manager(provider, secrets))
        except StateError as error:
            raise StateError(f"cannot use the state file {path}: {error}{_backup_hint(path)}") from None
        checkpoint.blinded = secrets is None
        self._checkpoints[project, stack] = checkpoint
        return snapshot

    def save(self, snapshot: Snapshot, secrets: SecretsManager) -> None:
        """Replace the stack's state in one step and wait until it is on the disk; the one before becomes ``.bak``.

        Raises StateError, with the old state untouched, when it cannot be written; ValueError after a blinded load.
        """
        key = (snapshot.project, snapshot.stack)
        checkpoint = self._checkpoints.setdefault(key, Checkpoint(project=key[0], stack=key[1]))
        if checkpoint.blinded:
            raise ValueError("a snapshot that was loaded without secrets would replace them by blanks")
        content = checkpoint.encode(snapshot, secrets)
        path = self.state_file(*key)
        self._prepare(path.parent)
        backup = path.with_name(f"{path.name}.bak")
        write_atomically(path, content, backup=backup)
        _write_attributes(path, content, backup=_attributes(backup))

    def lock(
        self, project: str, stack: str, *, report: Callable[[str], None] = lambda _: None
    ) -> AbstractContextManager[None]:
        """Hold the stack for the time of a ``with`` block; raises LockedError when someone else does.

        `report` is called for a lock that was taken over from a run that died.
        """
        self._check_layout()
        self._prepare(self._folder)
        return lock.held(self._folder / "locks" / "organization" / project / stack, stack, report=report)

    def clear_dead_locks(self, project: str, stack: str, *, report: Callable[[str], None]) -> None:
        """Remove the locks of runs that died on this host, each reported; LockedError for any other."""
        lock.clear(self._folder / "locks" / "organization" / project / stack, stack, report=report)

    def finish(self, snapshot: Snapshot, secrets: SecretsManager, update_info: UpdateInfo) -> None:
        """Save, and add the update to the history and the backups, as the CLI does at the end of each update."""
        self.save(snapshot, secrets)
        project, stack = snapshot.project, snapshot.stack
        content = self.state_file(project, stack).read_bytes()
        nanos = time.time_ns()
        history = self._folder / "history" / project / stack
        info = go_json.dumps(update_info.to_json(), sort_keys=False, escape_html=False).encode()
        self._write(history / f"{stack}-{nanos}.history.json", info)
        self._write(history / f"{stack}-{nanos}.checkpoint.json", content)
        self._write(self._folder / "backups" / project / stack / f"{stack}.{nanos}.json", content)

    def _write(self, path: Path, content: bytes) -> None:
        make_private(path.parent)
        write_atomically(path, content, durable=False)
        _write_attributes(path, content)

    def _prepare(self, folder: Path) -> None:
        make_private(folder)
        meta = self._folder / "meta.yaml"
        if not meta.exists():
            self._write(meta, _LAYOUT)

    def _check_layout(self) -> None:
        """Refuse a layout that is older or newer than the one known here."""
        meta = self._folder / "meta.yaml"
        try:
            text = meta.read_text()
        except FileNotFoundError:
            if any((self._folder / "stacks").glob("*.json")):
                raise StateError(
                    f"{self._folder} has the layout of Pulumi CLIs before 3.61: run `pulumi state upgrade` once"
                ) from None
            return
        except OSError as error:
            raise StateError(f"cannot read {meta}: {error.strerror}") from error
        version = text.partition("version:")[2].strip()
        if version == "0":
            raise StateError(f"{meta} names layout version 0: run `pulumi state upgrade` once")
        if version != "1":
            raise StateError(f"{meta} names layout version {version or 'nothing'}, and this engine knows 1")

    @staticmethod
    def _refuse_compressed(path: Path) -> None:
        for suffix in (".gz", ".zst"):
            packed = path.with_name(path.name + suffix)
            if packed.exists():
                raise StateError(
                    f"the state {packed} is compressed, which only the Pulumi CLI reads: "
                    "run `pulumi up` once without PULUMI_DIY_BACKEND_GZIP"
                )


def _manager(provider: Mapping[str, Any], secrets: SecretsManager | None) -> SecretsManager | None:
    """What reads a state: `secrets`, or the same passphrase over the salt that the state was written with."""
    if secrets is None:
        return None
    if provider["type"] != secrets.type:
        raise SecretsError(
            f"the state's secrets are encrypted by the provider {provider['type']!r}, and the stack's file names "
            f"{secrets.type!r}: use the Pulumi CLI, or change that: pulumi stack change-secrets-provider passphrase"
        )
    salt = (provider.get("state") or {}).get("salt")
    if isinstance(secrets, PassphraseSecretsManager) and isinstance(salt, str):
        return secrets.reopen(salt)
    return secrets


def _backup_hint(path: Path) -> str:
    backup = path.with_name(f"{path.name}.bak")
    if not backup.exists():
        return f"\nThere is no {backup.name} beside it; look under {path.parents[2] / 'backups'} for an older one."
    return f"\nThe state before the last write is in {backup}. To go back to it: cp {backup} {path}"


def _attributes(path: Path) -> Path:
    return path.with_name(f"{path.name}.attrs")


def _write_attributes(path: Path, content: bytes, *, backup: Path | None = None) -> None:
    """Write the checksum file. It is of no use but to the CLI, which does without: none is better than a wrong one."""
    attributes = _attributes(path)
    try:
        write_atomically(attributes, _attributes_of(content), durable=False, backup=backup)
    except StateError:
        with contextlib.suppress(OSError):
            attributes.unlink()


def _attributes_of(content: bytes) -> bytes:
    checksum = b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode()
    names = ("cache_control", "content_disposition", "content_encoding", "content_language")
    attributes: dict[str, Any] = {f"user.{name}": "" for name in names}
    attributes |= {"user.content_type": "text/plain; charset=utf-8", "user.metadata": None, "md5": checksum}
    return go_json.dumps(attributes, sort_keys=False, escape_html=False).encode()
