"""Records what a program registers, and answers as an empty cloud would."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from infra.engine.display.events import Severity
from infra.engine.program.monitor import InvokeRequest, RegisterResult
from infra.engine.program.registration import RegisteredTwiceError, Registration
from infra.engine.urns import STACK_TYPE, make_urn
from infra.engine.values import UNKNOWN, mark_keys, mark_like


class Fakes(Protocol):
    """Where a recorder takes known outputs from, so that a program can run as after a deployment."""

    def outputs(self, goal: Registration) -> Mapping[str, Any]:
        """The outputs of a resource that are not among its inputs."""

    def invoke(self, request: InvokeRequest) -> Mapping[str, Any]:
        """The result of a provider's function."""


@dataclass(kw_only=True)
class Recorded:
    """One registration and what became of it."""

    urn: str
    goal: Registration
    outputs: dict[str, Any] = field(default_factory=dict)
    """What the program saw; for components and the stack, what they registered as outputs."""
    read_id: str | None = None
    """The id of a resource that the program only reads."""


class Recorder:
    """A handler that makes nothing: inputs are echoed, all else is unknown, or fake when `fakes` are given."""

    def __init__(self, *, stack: str, project: str, fakes: Fakes | None = None) -> None:
        self._stack = stack
        self._project = project
        self._fakes = fakes
        self._lock = threading.Lock()
        self._records: dict[str, Recorded] = {}
        self.invokes: list[InvokeRequest] = []
        self.messages: list[tuple[Severity, str]] = []

    @property
    def records(self) -> tuple[Recorded, ...]:
        """In the order of registration."""
        with self._lock:
            return tuple(self._records.values())

    def register(self, goal: Registration) -> RegisterResult:
        record = self._add(goal)
        if not goal.custom:
            record.outputs = dict(goal.inputs) if goal.remote else {}
            return RegisterResult(urn=record.urn, outputs=record.outputs)
        outputs = dict(goal.inputs)
        if self._fakes is not None:
            made = mark_like(dict(self._fakes.outputs(goal)), goal.inputs)
            outputs = {**made, **outputs}
        else:
            # Unknown, yet known to be secret: what the program derives from them must be marked too.
            outputs = {**dict.fromkeys(goal.additional_secret_outputs, UNKNOWN), **outputs}
        outputs = mark_keys(outputs, goal.additional_secret_outputs)
        record.outputs = outputs
        return RegisterResult(urn=record.urn, id=f"{goal.name}-id" if self._fakes else "", outputs=outputs)

    def _add(self, goal: Registration, *, read_id: str | None = None) -> Recorded:
        urn = make_urn(stack=self._stack, project=self._project, parent=goal.parent, type_=goal.type, name=goal.name)
        with self._lock:
            if urn in self._records:
                raise RegisteredTwiceError(goal)
            record = self._records[urn] = Recorded(urn=urn, goal=goal, read_id=read_id)
        return record

    def register_outputs(self, urn: str, outputs: Mapping[str, Any]) -> None:
        with self._lock:
            self._records[urn].outputs = dict(outputs)

    def read(self, goal: Registration, id_: str) -> RegisterResult:
        record = self._add(goal, read_id=id_)
        made = self._fakes.outputs(goal) if self._fakes else {}
        record.outputs = mark_keys({**made, **goal.inputs}, goal.additional_secret_outputs)
        return RegisterResult(urn=record.urn, id=id_, outputs=record.outputs)

    def invoke(self, request: InvokeRequest) -> Mapping[str, Any] | None:
        with self._lock:
            self.invokes.append(request)
        return self._fakes.invoke(request) if self._fakes else None

    def finish(self) -> None:
        pass

    def abandon(self) -> None:
        pass

    def log(self, severity: Severity, message: str, *, urn: str | None, ephemeral: bool) -> None:  # noqa: ARG002
        if severity != "debug" and not ephemeral:
            with self._lock:
                self.messages.append((severity, message))

    def stack_outputs(self) -> dict[str, Any]:
        root = next((record for record in self.records if record.goal.type == STACK_TYPE), None)
        return root.outputs if root else {}
