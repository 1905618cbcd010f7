"""Turns what happens into events, and keeps the counts and failures of a run."""

from __future__ import annotations

import re
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from infra.engine.display.events import (
    Change,
    Diagnostic,
    Event,
    EventSink,
    Failure,
    NullSink,
    Op,
    Severity,
    StepFailed,
    StepFinished,
    StepStarted,
)

_CONTROLS: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b|[\x00-\x08\x0b-\x1f\x7f]")


def printable(text: str) -> str:
    """`text` without what could move a cursor or change a terminal: messages carry what servers and logs say."""
    return _CONTROLS.sub("", text)


@dataclass(frozen=True, kw_only=True)
class StepProgress:
    """A step under way: emits its events."""

    reporter: Reporter
    urn: str
    parent: str | None
    op: Op
    changes: tuple[Change, ...] = ()
    reason: str = ""
    replacing: bool = False
    internal: bool = False
    began: float = field(default_factory=time.monotonic)

    def start(self) -> StepProgress:
        self.reporter.emit(StepStarted(**self._fields(), changes=self.changes, reason=self.reason))
        return self

    def finish(self) -> None:
        event = StepFinished(
            **self._fields(), elapsed=time.monotonic() - self.began, changes=self.changes, reason=self.reason
        )
        self.reporter.finished(event)

    def fail(self, message: str) -> None:
        elapsed = time.monotonic() - self.began
        self.reporter.emit(StepFailed(**self._fields(), elapsed=elapsed, message=printable(message)))
        self.reporter.failed(message, urn=self.urn)

    def _fields(self) -> dict[str, Any]:
        """What every event of the step carries."""
        return {name: getattr(self, name) for name in ("urn", "parent", "op", "replacing", "internal")}


class Reporter:
    """One for each run; safe for several threads."""

    def __init__(self, sink: EventSink) -> None:
        self._sink = sink
        # Reentrant: a signal handler may report while its thread is reporting.
        self._lock = threading.RLock()
        self._counts: Counter[Op] = Counter()
        self._failures: list[Failure] = []

    def emit(self, event: Event) -> None:
        with self._lock:
            try:
                self._sink.emit(event)
            except OSError:
                # The reader is gone: a closed terminal, `| head`. What is under way must not stop half-way for that.
                self._sink = NullSink()

    def finished(self, event: StepFinished) -> None:
        with self._lock:
            # The deletion that completes a replacement is part of it.
            if not event.internal and not (event.op == "delete" and event.replacing):
                self._counts[event.op] += 1
        self.emit(event)

    def failed(self, message: str, *, urn: str | None = None) -> None:
        message = printable(message)
        with self._lock:
            self._failures.append(Failure(message=message, urn=urn))
        self.emit(Diagnostic(severity="error", message=message, urn=urn))

    def say(self, severity: Severity, message: str, *, urn: str | None = None, ephemeral: bool = False) -> None:
        self.emit(Diagnostic(severity=severity, message=printable(message), urn=urn, ephemeral=ephemeral))

    @property
    def counts(self) -> Mapping[str, int]:
        with self._lock:
            return {op: number for op, number in self._counts.items() if number}

    @property
    def failures(self) -> tuple[Failure, ...]:
        with self._lock:
            return tuple(self._failures)
