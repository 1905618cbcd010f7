"""What the application's image is made of, as a short name."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

LENGTH = 16
"""Hexadecimal digits: 64 bits, far beyond what one repository could bring to collide."""


def fingerprint(sources: Sequence[Path], *, root: Path) -> str:
    """A hash over the names and contents of files, and of folders with all below them. What is not there is left out.

    Names count relative to `root`, so that it is the same on every machine.
    """
    digest = hashlib.sha256()
    for path in _files(sources):
        name = path.relative_to(root).as_posix().encode()
        digest.update(len(name).to_bytes(4) + name + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:LENGTH]


def _files(sources: Sequence[Path]) -> Iterator[Path]:
    for source in sources:
        if source.is_dir():
            below = sorted(source.rglob("*"))
            yield from (path for path in below if path.is_file() and "__pycache__" not in path.parts)
        elif source.is_file():
            yield source
