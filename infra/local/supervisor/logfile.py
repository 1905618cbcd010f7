"""The log of one service: a file that only grows at its end, and is set aside at a size."""

from __future__ import annotations

import os
from pathlib import Path

LIMIT = 8 * 1024 * 1024
KEEP = 3


class LogFile:
    """Appends whole lines to `path`; at `limit` bytes the file becomes ``.1``, the older ones move up, `keep` stay."""

    def __init__(self, path: Path, *, limit: int = LIMIT, keep: int = KEEP) -> None:
        self._path = path
        self._limit = limit
        self._keep = keep
        self._fd = _open(path)
        self._size = os.fstat(self._fd).st_size

    def write(self, source: str, line: bytes) -> None:
        """One line without its newline. JSON stays as it is; other text gets the name of its source."""
        if not (line.startswith(b"{") and line.endswith(b"}")):
            line = f"[{source}] ".encode() + line
        if self._size + len(line) + 1 > self._limit:
            self._rotate()
        try:
            self._size += os.write(self._fd, line + b"\n")
        except OSError:
            # A full disk must not end the service whose output this is.
            return

    def _rotate(self) -> None:
        """Begin a new file. Where none can be made, the one there is goes on for as long again."""
        self._size = 0
        fresh = self._path.with_name(f"{self._path.name}.new")
        try:
            new = _open(fresh)
        except OSError:
            return
        try:
            for number in range(self._keep, 0, -1):
                older = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
                if older.exists():
                    older.replace(self._path.with_name(f"{self._path.name}.{number}"))
            fresh.replace(self._path)
        except OSError:
            os.close(new)
            return
        # Last: a descriptor that is closed and still written to may be somebody else's by then.
        os.close(self._fd)
        self._fd = new


def _open(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
