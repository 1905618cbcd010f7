"""What runs: the application's source, by fingerprint."""

from __future__ import annotations

from pathlib import Path

from infra.contracts import Image
from infra.fingerprint import fingerprint


def source_image(folder: Path, *, lock: Path | None = None) -> Image:
    """``source:<fingerprint>`` over the folder's files, so that edited code rolls like a new image.

    `lock` names the packages that it runs with, and belongs to the fingerprint where there is one.
    """
    sources = [folder, *([lock] if lock else [])]
    return Image(reference=f"source:{fingerprint(sources, root=folder.parent)}")
