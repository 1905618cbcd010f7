"""What a display has seen so far: one row for each resource, the messages, the outputs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from infra.engine.display import formatting
from infra.engine.display.events import (
    DeploymentFinished,
    DeploymentStarted,
    Diagnostic,
    Event,
    Kind,
    OutputsKnown,
    StepEvent,
    StepFailed,
    StepFinished,
    StepStarted,
)


@dataclass(kw_only=True)
class Row:
    """One resource. The deletion of a replaced self has a row of its own."""

    event: StepEvent
    parent: str | None
    began: float | None = None
    """When its operation began; None when it is over."""
    status: str = ""
    note: str = ""


@dataclass(kw_only=True)
class Model:
    """Takes events and keeps what is worth showing; the caller sees to it that they come one at a time."""

    verbose: bool = False
    kind: Kind = "up"
    title: str = ""
    rows: dict[tuple[str, bool], Row] = field(default_factory=dict)
    messages: list[Diagnostic] = field(default_factory=list)
    outputs: OutputsKnown | None = None
    finished: DeploymentFinished | None = None

    def take(self, event: Event) -> None:
        match event:
            case DeploymentStarted():
                self.kind = event.kind
                self.title = f"{formatting.TITLES[event.kind]} ({event.stack}):"
            case StepEvent() if not event.internal:
                self._take_step(event)
            case Diagnostic():
                self._take_message(event)
            case OutputsKnown():
                self.outputs = event
            case DeploymentFinished():
                self.finished = event
                for row in self.rows.values():
                    if row.began is not None:
                        row.began, row.status = None, "not finished"

    def _take_step(self, event: StepEvent) -> None:
        key = (event.urn, event.op == "delete" and event.replacing)
        row = self.rows.setdefault(key, Row(event=event, parent=event.parent))
        row.event = event
        match event:
            case StepStarted():
                row.began, row.status = time.monotonic(), formatting.doing(event, self.kind)
                row.note = formatting.brief(event.changes) if event.op in ("update", "replace") else ""
            case StepFinished():
                row.began, row.status = None, formatting.done(event, self.kind)
                if self.kind != "preview" and event.op != "same":
                    row.status += f" ({formatting.elapsed(event.elapsed)})"
            case StepFailed():
                row.began, row.status = None, f"{formatting.failed(event)} ({formatting.elapsed(event.elapsed)})"
                row.note = event.message.split("\n")[0]

    def _take_message(self, event: Diagnostic) -> None:
        if event.severity == "debug" and not self.verbose:
            return
        if event.ephemeral:
            row = self.rows.get((event.urn or "", False))
            if row is not None:
                row.note = event.message.split("\n")[0]
            return
        self.messages.append(event)

    def shown(self) -> Iterator[tuple[int, Row]]:
        """The rows worth showing as a tree, each with its depth: what changes, and what that is part of."""
        wanted = {key for key, row in self.rows.items() if self.verbose or row.event.op != "same"}
        for urn, _ in list(wanted):
            parent = self.rows[(urn, False)].parent if (urn, False) in self.rows else None
            while parent and (parent, False) in self.rows:
                wanted.add((parent, False))
                parent = self.rows[(parent, False)].parent
        children: dict[str | None, list[tuple[str, bool]]] = {}
        for key in self.rows:
            if key in wanted:
                parent = self.rows[key].parent
                known = parent if parent and (parent, False) in wanted else None
                children.setdefault(known, []).append(key)
        yield from self._below(None, children, 0)

    def _below(
        self, parent: str | None, children: dict[str | None, list[tuple[str, bool]]], depth: int
    ) -> Iterator[tuple[int, Row]]:
        for key in children.get(parent, ()):
            yield depth, self.rows[key]
            if not key[1]:
                yield from self._below(key[0], children, depth + 1)

    def sections(self) -> Iterator[str]:
        """The end of the report: messages, outputs, what was done, how long it took."""
        if self.messages:
            yield "Diagnostics:"
            yield from formatting.diagnostics(self.messages)
            yield ""
        if self.outputs and (self.outputs.outputs or self.outputs.changes):
            yield "Outputs:"
            yield from formatting.outputs(self.outputs.outputs, self.outputs.changes)
            yield ""
        if self.finished:
            yield "Resources:"
            yield from formatting.summary(self.finished.changes, self.kind)
            if not self.finished.succeeded:
                yield f"  {self._verdict()}"
            yield ""
            yield f"Duration: {formatting.elapsed(self.finished.duration)}"

    def _verdict(self) -> str:
        assert self.finished is not None
        number = len(self.finished.failures)
        failed = f"{number} failed" if number else ""
        if not self.finished.interrupted:
            return failed
        stopped = "interrupted: what was made is in the state, run the command again to go on"
        return f"{failed}; {stopped}" if failed else stopped
