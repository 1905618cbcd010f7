"""Plain lines, for CI logs and pipes."""

from __future__ import annotations

from typing import TextIO

from infra.engine.display import formatting
from infra.engine.display.events import (
    DeploymentFinished,
    DeploymentStarted,
    Diagnostic,
    Event,
    StepEvent,
    StepFailed,
    StepFinished,
    StepStarted,
)
from infra.engine.display.model import Model


class PlainDisplay:
    """One line when an operation begins and one when it ends; what stays the same only when `verbose`."""

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        self._stream = stream
        self._model = Model(verbose=verbose)

    def emit(self, event: Event) -> None:
        self._model.take(event)
        match event:
            case DeploymentStarted():
                self._line(self._model.title)
            case StepEvent() if not event.internal:
                self._step(event)
            case Diagnostic() if event.ephemeral and event.urn:
                self._line(f" .  {' '.join(formatting.type_and_name(event.urn))} {event.message}")
            case Diagnostic(severity="warning", urn=None):
                # Said at once: it is about the run itself, such as the answer to Ctrl-C.
                self._line(f"warning: {event.message}")
            case DeploymentFinished():
                self._line("")
                for line in self._model.sections():
                    self._line(line)
        self._stream.flush()

    def _step(self, event: StepEvent) -> None:
        kind = self._model.kind
        match event:
            case StepStarted() if kind != "preview":
                self._row(
                    event, f"{formatting.doing(event, kind)} {formatting.brief(event.changes) * (event.op != 'create')}"
                )
                self._details(event)
            case StepFinished(op="same") if not self._model.verbose:
                pass
            case StepFinished():
                took = f" ({formatting.elapsed(event.elapsed)})" if kind != "preview" and event.op != "same" else ""
                self._row(event, f"{formatting.done(event, kind)}{took}")
                if kind == "preview":
                    self._details(event)
            case StepFailed():
                # The whole message follows among the diagnostics.
                first_line = event.message.partition("\n")[0]
                self._row(event, f"{formatting.failed(event)} ({formatting.elapsed(event.elapsed)}): {first_line}")

    def _row(self, event: StepEvent, text: str) -> None:
        self._line(f" {formatting.sign(event):<2} {' '.join(formatting.type_and_name(event.urn))} {text}".rstrip())

    def _details(self, event: StepStarted | StepFinished) -> None:
        for line in formatting.details(event.op, event.changes, event.reason):
            self._line(f"      {line}")

    def _line(self, text: str) -> None:
        self._stream.write(f"{text}\n")
