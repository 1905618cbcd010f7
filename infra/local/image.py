"""What runs: the application's source, by fingerprint."""

from __future__ import annotations

import hashlib
from pathlib import Path

from infra.contracts import Image


def source_image(folder: Path) -> Image:
    """``source:<fingerprint>`` over the folder's files, so that edited code rolls like a new image."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            name = path.relative_to(folder).as_posix().encode()
            digest.update(len(name).to_bytes(4) + name + hashlib.sha256(path.read_bytes()).digest())
    return Image(reference=f"source:{digest.hexdigest()[:16]}")
