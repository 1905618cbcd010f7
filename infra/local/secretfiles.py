"""Secrets for processes: files that they alone can read, named in ``NAME_FILE`` variables.

Each value has a file of its own, whose random name says nothing about it. An old replica keeps reading its old file
while a new one reads the new, so a rotation that fails leaves what served before untouched.
"""

from __future__ import annotations

import secrets as random
from collections.abc import Iterable, Mapping
from pathlib import Path

from infra.local.paths import make_private, write_private

SUFFIX = "_FILE"


def find(folder: Path, values: Mapping[str, str]) -> dict[str, str] | None:
    """The variables for `values`, if every one has its file already; None otherwise. Writes nothing."""
    found = {name: _existing(folder, name, value) for name, value in values.items()}
    if None in found.values():
        return None
    return {f"{name}{SUFFIX}": str(path) for name, path in found.items()}


def store(folder: Path, values: Mapping[str, str]) -> dict[str, str]:
    """The variables for `values`; files are written for those that have none."""
    make_private(folder)
    result = {}
    for name, value in values.items():
        path = _existing(folder, name, value)
        if path is None:
            path = folder / f"{name}.{random.token_hex(4)}"
            write_private(path, value)
        result[f"{name}{SUFFIX}"] = str(path)
    return result


def prune(folder: Path, keep: Iterable[str]) -> None:
    """Remove the files that no replica reads any more."""
    wanted = set(keep)
    for path in folder.iterdir() if folder.exists() else ():
        if str(path) not in wanted:
            path.unlink(missing_ok=True)


def _existing(folder: Path, name: str, value: str) -> Path | None:
    for path in sorted(folder.glob(f"{name}.*")):
        try:
            if path.read_text() == value:
                return path
        except OSError:
            continue
    return None
