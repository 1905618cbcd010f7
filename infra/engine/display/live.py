"""A tree of the resources that changes in place, for terminals."""

from __future__ import annotations

import threading
import time
from types import TracebackType
from typing import Final, Self, TextIO

from rich.console import Console, ConsoleRenderable, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from infra.engine.display import formatting
from infra.engine.display.events import (
    DeploymentFinished,
    DeploymentStarted,
    Event,
    StepFailed,
    StepFinished,
    StepStarted,
)
from infra.engine.display.model import Model, Row

_FRAMES_PER_SECOND: Final = 8


class LiveDisplay:
    """Use as a context manager: at its end the terminal has the whole report and its cursor back."""

    def __init__(self, stream: TextIO, *, verbose: bool = False, width: int | None = None) -> None:
        self._console = Console(file=stream, force_terminal=True, highlight=False, width=width)
        self._verbose = verbose
        self._model = Model(verbose=verbose)
        self._live: Live | None = None
        # The live display reads the rows in a thread of its own.
        self._lock = threading.RLock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()

    def emit(self, event: Event) -> None:
        if isinstance(event, DeploymentStarted):
            # Outside of the lock: stopping waits for the display's thread, which may be waiting for the rows.
            self._stop()
            self._model = Model(verbose=self._verbose)
        with self._lock:
            self._model.take(event)
        if isinstance(event, DeploymentStarted):
            self._start()
        elif isinstance(event, DeploymentFinished):
            self._stop()
            self._console.print(self._tree(details=True))
            for line in self._model.sections():
                self._console.print(Text(line, style=_line_style(line)))

    def _start(self) -> None:
        self._live = Live(
            get_renderable=self._tree,
            console=self._console,
            refresh_per_second=_FRAMES_PER_SECOND,
            # The report follows in full; what does not fit on the screen while it runs can wait for it.
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _tree(self, *, details: bool = False) -> ConsoleRenderable:
        table = Table(box=None, show_header=True, header_style="bold", pad_edge=False)
        for heading in ("", "Type", "Name", "Status", "Info"):
            # On a narrow terminal columns that may wrap give way first. The type's cells then are cut, not wrapped.
            gives_way = heading in ("Type", "Info")
            table.add_column(heading, overflow="fold" if heading == "Info" else "ellipsis", no_wrap=not gives_way)
        with self._lock:
            rows = list(self._model.shown())
            for depth, row in rows:
                _add(table, depth, row, details=details)
        return Group(Text(self._model.title, style="bold"), table) if rows else Text(self._model.title, style="bold")


def _add(table: Table, depth: int, row: Row, *, details: bool) -> None:
    type_, name = formatting.type_and_name(row.event.urn)
    style = "bold red" if isinstance(row.event, StepFailed) else formatting.OPS[row.event.op].style
    status = row.status
    if row.began is not None and status:
        status += f" ({formatting.elapsed(time.monotonic() - row.began)})"
    indent = "   " * (depth - 1) + "└─ " if depth else ""
    table.add_row(
        Text(formatting.sign(row.event), style=style),
        Text(f"{indent}{type_}", no_wrap=True, overflow="ellipsis"),
        Text(name),
        Text(status, style=style),
        Text(row.note, style="red" if isinstance(row.event, StepFailed) else "dim"),
    )
    if details and isinstance(row.event, StepStarted | StepFinished):
        for line in formatting.details(row.event.op, row.event.changes, row.event.reason):
            table.add_row("", "", "", "", Text(line, style="dim"))


def _line_style(line: str) -> str:
    if line.endswith(":") and not line.startswith(" "):
        return "bold"
    return "red" if "error: " in line else ""
