"""What runs: the application's source, by fingerprint."""

from __future__ import annotations

import hashlib
from pathlib import Path

from infra.contracts import Image


def source_image(folder: Path, *, lock: Path | None = None) -> Image:
    """``source:<fingerprint>`` over the folder's files, so that edited code rolls like a new image.

    `lock` names the packages that it runs with, and belongs to the fingerprint where there is one.
    """
    digest = hashlib.sha256()
    sources = [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
    for path in [*sources, *([lock] if lock and lock.is_file() else [])]:
        name = path.relative_to(folder.parent).as_posix().encode()
        digest.update(len(name).to_bytes(4) + name + hashlib.sha256(path.read_bytes()).digest())
    return Image(reference=f"source:{digest.hexdigest()[:16]}")
