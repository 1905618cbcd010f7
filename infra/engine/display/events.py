"""What happens during a deployment, as typed events: a display gets nothing else.

Nothing in an event is secret: values are masked when the event is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Kind = Literal["preview", "up", "destroy"]
Op = Literal["same", "create", "update", "replace", "delete", "read"]
"""What happens to a resource. ``replace`` covers the creation of the successor; the removal of the old self is
``delete`` with `replacing` set on its step."""
Severity = Literal["debug", "info", "warning", "error"]
ChangeKind = Literal["add", "delete", "update"]


@dataclass(frozen=True, kw_only=True)
class Change:
    """One property that differs. `old` and `new` are masked."""

    path: str
    kind: ChangeKind
    old: Any = None
    new: Any = None
    forces_replacement: bool = False


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a resource, or with no URN the whole deployment, failed."""

    message: str
    urn: str | None = None


@dataclass(frozen=True, kw_only=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True, kw_only=True)
class DeploymentStarted(Event):
    kind: Kind
    project: str
    stack: str


@dataclass(frozen=True, kw_only=True)
class StepEvent(Event):
    urn: str
    parent: str | None
    op: Op
    replacing: bool = False
    """True for the deletion that completes a replacement."""
    internal: bool = False
    """True for what the engine made for itself, such as default providers: not worth showing."""


@dataclass(frozen=True, kw_only=True)
class StepStarted(StepEvent):
    changes: tuple[Change, ...] = ()
    reason: str = ""
    """Why, where the changed properties do not say it."""


@dataclass(frozen=True, kw_only=True)
class StepFinished(StepEvent):
    elapsed: float = 0.0
    """Seconds."""
    changes: tuple[Change, ...] = ()
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class StepFailed(StepEvent):
    elapsed: float = 0.0
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Diagnostic(Event):
    """A message for the user; with `ephemeral` it is a passing status line of its resource."""

    severity: Severity
    message: str
    urn: str | None = None
    ephemeral: bool = False


@dataclass(frozen=True, kw_only=True)
class OutputsKnown(Event):
    """The stack's outputs, masked; in a preview some may be unknown. `changes` says what is new in them."""

    outputs: Mapping[str, Any]
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DeploymentFinished(Event):
    kind: Kind
    succeeded: bool
    interrupted: bool
    changes: Mapping[str, int]
    duration: float
    """Seconds."""
    failures: tuple[Failure, ...] = field(default=())


class EventSink(Protocol):
    """Where events go. Called from several threads, one call at a time."""

    def emit(self, event: Event) -> None: ...


class NullSink:
    """Drops all events."""

    def emit(self, event: Event) -> None:
        pass
