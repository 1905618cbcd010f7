"""A small project in a folder, a provider whose behaviour its resources' inputs choose, and runs against both."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from infra.engine.deployment import Deployment, Result
from infra.engine.display.events import Diagnostic, Event, OutputsKnown, StepFailed, StepFinished, StepStarted
from infra.engine.plan import Plan, plan
from infra.engine.project.project import ProgramConfig, Project
from infra.engine.providers.base import (
    CheckFailure,
    CheckResult,
    DiffResult,
    Provider,
    ProviderRequest,
    ResourceOutputs,
)
from infra.engine.providers.registry import ProviderRegistry
from infra.engine.recorder import Fakes
from infra.engine.state.snapshot import ResourceState, Snapshot
from infra.engine.urns import parse_urn

PRELUDE = """
import json
import pulumi
from pulumi import ResourceOptions as Opts, CustomTimeouts, Output

class Thing(pulumi.CustomResource):
    made: pulumi.Output[str]

    def __init__(self, name, opts=None, **props):
        super().__init__("test:index:Thing", name, {"made": None, **props}, opts)

class Group(pulumi.ComponentResource):
    def __init__(self, name, opts=None, **props):
        super().__init__("test:index:Group", name, props, opts)
"""


class RecordingProvider(Provider):
    """`fixed` cannot change in place, `fixed_first` neither and the old one goes first; `fail` names an operation that
    fails; `gate` one that waits until the test lets it go."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.seen: dict[tuple[str, str], ProviderRequest] = {}
        self.failing: set[tuple[str, str]] = set()
        self.gates: dict[tuple[str, str], threading.Event] = {}
        self.reached: dict[tuple[str, str], threading.Event] = {}
        self.diffs: dict[str, DiffResult] = {}
        self._lock = threading.Lock()
        self._number = 0

    def gate(self, operation: str, name: str) -> threading.Event:
        """Hold that operation until the event is set; `reached` tells when it waits."""
        self.reached[(operation, name)] = threading.Event()
        return self.gates.setdefault((operation, name), threading.Event())

    def _note(self, operation: str, request: ProviderRequest) -> None:
        key = (operation, request.name)
        with self._lock:
            self.calls.append(key)
            self.seen[key] = request
        if key in self.gates:
            self.reached[key].set()
            assert self.gates[key].wait(20), f"{key} was never let go"
        if key in self.failing or request.inputs.get("fail") == operation:
            raise RuntimeError(f"no {operation} today")

    def names(self, operation: str) -> list[str]:
        return [name for done, name in self.calls if done == operation]

    def check(self, request: ProviderRequest) -> CheckResult:
        failures = (CheckFailure(property="bad", reason="must not be"),) if "bad" in request.inputs else ()
        return CheckResult(inputs={**request.inputs, "checked": True}, failures=failures)

    def diff(self, request: ProviderRequest) -> DiffResult:
        self._note("diff", request)
        if request.name in self.diffs:
            return self.diffs[request.name]
        old = request.old_inputs
        replaces = [key for key in ("fixed", "fixed_first") if request.inputs.get(key) != old.get(key)]
        return DiffResult(replaces=tuple(replaces), delete_before_replace="fixed_first" in replaces)

    def create(self, request: ProviderRequest) -> ResourceOutputs:
        self._note("create", request)
        with self._lock:
            self._number += 1
            number = self._number
        return ResourceOutputs(id=f"{request.name}-{number}", outputs={**request.inputs, "made": f"by {request.name}"})

    def update(self, request: ProviderRequest) -> Mapping[str, Any]:
        self._note("update", request)
        return {**request.inputs, "made": f"by {request.name}, again"}

    def delete(self, request: ProviderRequest) -> None:
        self._note("delete", request)

    def read(self, request: ProviderRequest) -> ResourceOutputs | None:
        return None if request.id == "gone" else ResourceOutputs(id=request.id, outputs={"made": f"read {request.id}"})


@dataclass
class Log:
    """An event sink that keeps everything."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def steps(self) -> list[tuple[str, str]]:
        """Operation and name of what was finished, in order; what stayed the same is left out."""
        return [
            (event.op, parse_urn(event.urn).name)
            for event in self.events
            if isinstance(event, StepFinished) and event.op != "same" and not event.internal
        ]

    def started(self, name: str) -> StepStarted:
        return next(e for e in self.events if isinstance(e, StepStarted) and parse_urn(e.urn).name == name)

    def failed(self) -> list[str]:
        return [parse_urn(event.urn).name for event in self.events if isinstance(event, StepFailed)]

    def messages(self, *severities: str) -> list[str]:
        return [e.message for e in self.events if isinstance(e, Diagnostic) and e.severity in severities]

    def outputs(self) -> Mapping[str, Any]:
        return next(event for event in self.events if isinstance(event, OutputsKnown)).outputs


class Stack:
    """One stack of one project, with its state kept in memory from run to run."""

    def __init__(self, folder: Path) -> None:
        self.main = folder / "stacks"
        self.main.mkdir(parents=True)
        (folder / "Pulumi.yaml").write_text("name: proj\nruntime: python\nmain: stacks/\n")
        self.project = Project(root=folder, name="proj", main=self.main, schema={}, stack_files=folder)
        self.config: dict[str, str] = {}
        self.secret_keys: set[str] = set()
        self.provider = RecordingProvider()
        self.registry = ProviderRegistry.standard()
        self.registry.add("test", lambda _: self.provider)
        self.snapshot = Snapshot(stack="dev", project="proj")
        self.saves: list[Snapshot] = []
        self.log = Log()

    def program(self, source: str) -> Stack:
        """Make this the program: the classes Thing and Group are there for it."""
        (self.main / "__main__.py").write_text(PRELUDE + dedent(source))
        return self

    def plan(self, fakes: Fakes | None = None) -> Plan:
        return plan(project=self.project, stack="dev", config=self._config(), fakes=fakes)

    def deployment(self) -> Deployment:
        self.log = Log()
        self.provider.calls.clear()
        self.saves.clear()
        return Deployment(
            project=self.project,
            stack="dev",
            config=self._config(),
            snapshot=self.snapshot,
            save=self._save,
            sink=self.log,
            providers=self.registry,
        )

    def preview(self) -> Result:
        return self.deployment().preview()

    def up(self) -> Result:
        deployment = self.deployment()
        try:
            return deployment.up()
        finally:
            self.snapshot = deployment.snapshot

    def destroy(self) -> Result:
        deployment = self.deployment()
        try:
            return deployment.destroy()
        finally:
            self.snapshot = deployment.snapshot

    def must_up(self) -> Result:
        result = self.up()
        assert result.succeeded, result.failures
        return result

    def state(self, name: str) -> ResourceState:
        return next(r for r in self.snapshot.resources if parse_urn(r.urn).name == name and not r.delete)

    def names(self) -> list[str]:
        """Of the resources that a user knows of."""
        return sorted(
            parse_urn(resource.urn).name
            for resource in self.snapshot.resources
            if not resource.type.startswith("pulumi:pro") and not resource.type.startswith("pulumi:pulumi")
        )

    def _config(self) -> ProgramConfig:
        return ProgramConfig(values=dict(self.config), secret_keys=frozenset(self.secret_keys))

    def _save(self, snapshot: Snapshot) -> None:
        check_order(snapshot)
        self.saves.append(deepcopy(snapshot))


def check_order(snapshot: Snapshot) -> None:
    """What Pulumi requires of a state: each resource after all that it points at, and no URN live twice."""
    known: set[str] = set()
    live: set[str] = set()
    for resource in snapshot.resources:
        needed = {*resource.dependencies, *(urn for urns in resource.property_dependencies.values() for urn in urns)}
        if resource.parent:
            needed.add(resource.parent)
        if resource.provider:
            needed.add(resource.provider.rsplit("::", 1)[0])
        assert needed <= known, f"{resource.urn} stands before {needed - known}"
        known.add(resource.urn)
        if not resource.delete:
            assert resource.urn not in live, f"{resource.urn} is there twice"
            live.add(resource.urn)


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    return Stack(tmp_path / "project")


@pytest.fixture
def in_background() -> Callable[[Callable[[], Any]], Callable[[], Any]]:
    """Run something in a thread; the returned function waits for its result."""

    def start(work: Callable[[], Any]) -> Callable[[], Any]:
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
        thread.start()

        def wait() -> Any:
            thread.join(20)
            assert results, "it did not end"
            return results[0]

        return wait

    return start
