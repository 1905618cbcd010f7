"""Where the command writes: plain text everywhere, with tables and colour where a terminal shows them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TextIO

from infra.cli.exits import OutputError


@dataclass
class Console:
    """The command's output. Results go to `out`, all that is about the command itself to `err`."""

    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)
    input: TextIO = field(default_factory=lambda: sys.stdin)
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    verbose: bool = False

    @property
    def rich(self) -> bool:
        """Whether `out` is a terminal that shows colour and redraws lines. NO_COLOR and CI=true ask for plain text."""
        plain = self.environ.get("NO_COLOR") or self.environ.get("CI") or self.environ.get("TERM") == "dumb"
        return self.out.isatty() and not plain

    @property
    def interactive(self) -> bool:
        """Whether there is somebody to ask."""
        return self.input.isatty() and self.out.isatty()

    def print(self, text: str = "") -> None:
        """Raises BrokenPipeError when the reader has gone, OutputError when it cannot be written for another reason."""
        with _writing():
            print(text, file=self.out, flush=True)

    def flush(self) -> None:
        """Raises as `print`."""
        with _writing():
            self.out.flush()

    def note(self, text: str) -> None:
        """Something about the command, not part of its result. Where it cannot be written it is dropped."""
        try:
            print(text, file=self.err, flush=True)
        except OSError:
            abandon(self.err)

    def detail(self, text: str) -> None:
        """A note that only ``-v`` shows."""
        if self.verbose:
            self.note(text)

    def error(self, text: str) -> None:
        if self.err.isatty() and not self.environ.get("NO_COLOR"):
            self.note(f"\033[1;31merror:\033[0m {text}")
        else:
            self.note(f"error: {text}")

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table: columns aligned by spaces, or drawn by rich on a terminal."""
        rows = [[str(cell) for cell in row] for row in rows]
        if self.rich:
            self._rich_table(headers, rows)
        else:
            self.print(plain_table(headers, rows))

    def confirm(self, question: str) -> bool:
        """Ask on the terminal; anything but y or yes is no, and so is a closed input."""
        with _writing():
            print(f"{question} [y/N] ", end="", file=self.out, flush=True)
        return self.input.readline().strip().lower() in ("y", "yes")

    def _rich_table(self, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        from rich import box
        from rich.console import Console as RichConsole
        from rich.table import Table
        from rich.text import Text

        table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
        for header in headers:
            table.add_column(header, overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
        with _writing():
            RichConsole(file=self.out).print(table)


def abandon(stream: TextIO) -> None:
    """Drop what could not be written: Python would try, and complain, once more at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


@contextmanager
def _writing() -> Iterator[None]:
    """Distinguish a full disk behind standard output from a fault of the command's own work."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputError(
            f"cannot write to standard output: {error.strerror or error}. What was asked for may be done all the same"
        ) from error


_STYLES = {
    "healthy": "green",
    "starting": "yellow",
    "rolling": "yellow",
    "waiting": "yellow",
    "stopping": "yellow",
    "degraded": "yellow",
    "stopped": "red",
    "unhealthy": "red",
}
"""How a cell with exactly this text looks on a terminal."""


def plain_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """The table as text, one line a row, no trailing spaces."""
    lines = [headers, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headers))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )
