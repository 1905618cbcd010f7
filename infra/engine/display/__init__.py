"""Shows a deployment as it goes: a live tree on a terminal, plain lines everywhere else."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from infra.engine.display.events import EventSink
from infra.engine.display.plain import PlainDisplay

__all__ = ["PlainDisplay", "open_display"]


@contextmanager
def open_display(stream: TextIO, *, verbose: bool = False, live: bool | None = None) -> Iterator[EventSink]:
    """The display that fits `stream`, to be written to before any redirection of it.

    `live` None decides by the stream: a live tree needs a terminal that can move its cursor, and is no use in CI or
    with ``NO_COLOR``. `verbose` also shows what stays the same, and debug messages.
    """
    if live is None:
        live = stream.isatty() and not any(os.environ.get(name) for name in ("CI", "NO_COLOR"))
        live = live and os.environ.get("TERM", "") not in ("", "dumb")
    if live:
        # On demand: it imports rich, which plain lines do not need.
        from infra.engine.display.live import LiveDisplay

        with LiveDisplay(stream, verbose=verbose) as display:
            yield display
    else:
        yield PlainDisplay(stream, verbose=verbose)
