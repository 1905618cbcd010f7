"""Writing files so that a crash, a kill or a full disk leaves either the old file or the new one."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from infra.engine.errors import StateError

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


def make_private(folder: Path) -> None:
    """Create the folder and those above it that are missing, for this user alone; raises StateError."""
    missing = []
    wanted = folder
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    try:
        for path in reversed(missing):
            path.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
    except OSError as error:
        raise StateError(explain(error, wanted)) from error


def write_atomically(
    path: Path, content: bytes, *, mode: int = PRIVATE_FILE, durable: bool = True, backup: Path | None = None
) -> None:
    """Replace `path` in one step. `durable` waits until the bytes and the name are on the disk.

    What `path` was becomes `backup`, once the new content is safely written beside it. Raises StateError, with the old
    files untouched, when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        _write_new(temporary, content, mode=mode, durable=durable)
        if backup is not None:
            keep_backup(path, backup)
        temporary.replace(path)
        if durable:
            _sync_folder(path.parent)
    except OSError as error:
        raise StateError(explain(error, path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def keep_backup(path: Path, backup: Path) -> None:
    """Make `backup` the file that `path` is now, without a moment in which either is missing."""
    if not path.exists():
        return
    temporary = backup.with_name(f".{backup.name}.{secrets.token_hex(4)}.tmp")
    try:
        try:
            os.link(path, temporary)
        except OSError:
            # Some network and FUSE file systems know no hard links.
            _write_new(temporary, path.read_bytes(), mode=PRIVATE_FILE, durable=False)
        temporary.replace(backup)
    except OSError as error:
        raise StateError(explain(error, backup)) from error
    finally:
        temporary.unlink(missing_ok=True)


def explain(error: OSError, path: Path) -> str:
    """One sentence for a failed write: what was kept and what to do."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"no space left on the disk for {path}: what was there before is intact; free some space and run again"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return (
            f"cannot write {path} ({error.strerror}): what was there before is intact; "
            "make the folder writable for this user and run again"
        )
    return f"cannot write {path} ({error.strerror or error}): what was there before is intact"


def _write_new(path: Path, content: bytes, *, mode: int, durable: bool) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        # Not what the umask leaves of it: a file that others could read stays so.
        os.fchmod(descriptor, mode)
        file.write(content)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
