"""Reads the file that the jobs write: who began and ended when, and how fast the whole was."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Note:
    event: str
    job_id: str
    at: float


def read(path: Path) -> list[Note]:
    """The notes so far; a line that is still being written is left out."""
    if not path.exists():
        return []
    lines = path.read_text().rpartition("\n")[0].splitlines()
    return [Note(event, job_id, float(at)) for event, job_id, at, _ in (line.split() for line in lines)]


def ended(notes: Iterable[Note], prefix: str) -> list[str]:
    """Ids of the jobs of a batch that ended, once for each time."""
    return [note.job_id for note in notes if note.event == "E" and note.job_id.startswith(f"{prefix}-")]


def begun(notes: Iterable[Note], prefix: str) -> list[str]:
    """The same for those that began."""
    return [note.job_id for note in notes if note.event == "S" and note.job_id.startswith(f"{prefix}-")]


def rate(notes: Iterable[Note], prefix: str) -> float:
    """Jobs a second of a batch, from its first beginning to its last end. The start of the worker is not in it."""
    mine = [note for note in notes if note.job_id.startswith(f"{prefix}-")]
    first = min(note.at for note in mine if note.event == "S")
    last = max(note.at for note in mine if note.event == "E")
    return len(ended(mine, prefix)) / (last - first)
