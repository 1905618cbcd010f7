"""The services' logs, one after the other or all together."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Self

from infra.local.errors import LocalError

POLL = 0.2
"""Seconds between two looks at the files."""


def follow(stack_dir: Path, service: str | None, tail: int, follow: bool) -> Iterator[str]:
    """The last `tail` lines, then, with `follow`, new ones as they come and for ever.

    Of all services when `service` is None; each line then begins with its service's name. LocalError when there is
    no such service.
    """
    names = sorted(log.parent.name for log in stack_dir.glob("*/log"))
    if service is not None and service not in names:
        known = f"It has {', '.join(names)}." if names else "Nothing was started yet: slipway up"
        raise LocalError(f"Stack {stack_dir.name!r} has no logs of {service!r}. {known}")
    chosen = [service] if service else names
    width = max((len(name) for name in chosen), default=0)
    with contextlib.ExitStack() as stack:
        files = [
            stack.enter_context(_Follower(stack_dir / name / "log", "" if service else f"{name:<{width}} | "))
            for name in chosen
        ]
        for file in files:
            yield from file.last(tail)
        while follow:
            fresh = [line for file in files for line in file.fresh()]
            yield from fresh
            if not fresh:
                time.sleep(POLL)


class _Follower:
    """Reads one log to its end, again and again, across its rotation."""

    def __init__(self, path: Path, prefix: str) -> None:
        self._path = path
        self._prefix = prefix
        self._file: BufferedReader | None = None
        self._rest = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def last(self, count: int) -> Iterator[str]:
        """The last lines that there are, of the file before as well when this one is short."""
        lines: deque[str] = deque(maxlen=count)
        older = self._path.with_name(f"{self._path.name}.1")
        if older.exists():
            lines.extend(self._text(line) for line in older.read_bytes().splitlines())
        lines.extend(self.fresh())
        yield from lines

    def fresh(self) -> Iterator[str]:
        """Whole lines that came since the last call."""
        if self._file is None and not self._open():
            return
        assert self._file
        yield from self._read(self._file)
        if self._rotated(self._file):
            # What was written between the read and the rotation is still in the old file.
            yield from self._read(self._file)
            self._file.close()
            if self._open():
                yield from self._read(self._file)

    def _open(self) -> bool:
        try:
            self._file = self._path.open("rb")
        except FileNotFoundError:
            self._file = None
        return self._file is not None

    def _read(self, file: BufferedReader) -> Iterator[str]:
        *lines, self._rest = (self._rest + file.read()).split(b"\n")
        for line in lines:
            yield self._text(line)

    def _rotated(self, file: BufferedReader) -> bool:
        try:
            now = self._path.stat()
        except FileNotFoundError:
            return False
        return not os.path.samestat(now, os.fstat(file.fileno()))

    def _text(self, line: bytes) -> str:
        return self._prefix + line.decode(errors="replace")
