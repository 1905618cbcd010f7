"""The plan of a stack: the resource graph that its program asks for, as data.

No CLI, plugin, network or credentials are needed. It is not a preview: no provider has checked the inputs, and nothing
is compared with what exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.engine.display.events import Severity
from infra.engine.program.callbacks import Hooks
from infra.engine.program.monitor import ResourceMonitor, Target
from infra.engine.program.registration import Registration
from infra.engine.program.runner import run_program
from infra.engine.project.project import ProgramConfig, Project
from infra.engine.recorder import Fakes, Recorded, Recorder
from infra.engine.values import mask
from infra.garbage_collection import gc_paused


@dataclass(frozen=True, kw_only=True)
class PlannedResource:
    """One resource of the graph. `inputs` and `outputs` still carry their secret and unknown marks."""

    urn: str
    type: str
    name: str
    parent: str | None
    custom: bool
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    dependencies: tuple[str, ...]
    registration: Registration
    read_id: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "urn": self.urn,
            "type": self.type,
            "name": self.name,
            "parent": self.parent,
            "inputs": mask(dict(self.inputs)),
            "dependencies": list(self.dependencies),
            "options": self.registration.options() | ({"read": self.read_id} if self.read_id else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All resources in the order of their names within dependency order, and the stack's outputs."""

    stack: str
    resources: tuple[PlannedResource, ...]
    outputs: Mapping[str, Any]
    invokes: tuple[str, ...] = ()
    """The provider functions that the program calls: a preview of it needs credentials."""
    messages: tuple[tuple[Severity, str], ...] = field(default=())
    """What the program logged."""

    def to_json(self) -> dict[str, Any]:
        """The graph in JSON types; secrets are ``[secret]``, unknown values ``[unknown]``."""
        return {
            "stack": self.stack,
            "resources": [resource.to_json() for resource in self.resources],
            "outputs": mask(dict(self.outputs)),
        }

    def find(self, type_: str, name: str) -> PlannedResource:
        """The resource with that type and name; raises KeyError with what there is of the type."""
        for resource in self.resources:
            if resource.type == type_ and resource.name == name:
                return resource
        there = sorted(resource.name for resource in self.resources if resource.type == type_)
        raise KeyError(f"the plan has no {type_} {name!r}; of that type it has {there}")

    def of_type(self, type_: str) -> tuple[PlannedResource, ...]:
        return tuple(resource for resource in self.resources if resource.type == type_)


def plan(*, project: Project, stack: str, config: ProgramConfig, fakes: Fakes | None = None) -> Plan:
    """Run the program and record its graph; raises EngineError when the program fails.

    Outputs that only a deployment knows stay unknown; with `fakes` the program runs as in a deployment instead, with
    those outputs known.
    """
    recorder = Recorder(stack=stack, project=project.name, fakes=fakes)
    target = Target(
        project=project.name,
        stack=stack,
        config=config.values,
        secret_keys=config.secret_keys,
        dry_run=fakes is None,
    )
    hooks = Hooks()
    monitor = ResourceMonitor(target, recorder, hooks)
    try:
        with gc_paused():
            run_program(
                root=project.root,
                main=project.main,
                monitor=monitor,
                on_output=lambda line: recorder.log("info", line, urn=None, ephemeral=False),
            )
    finally:
        hooks.close()
    if error := monitor.first_error():
        raise error
    return Plan(
        stack=stack,
        resources=tuple(_planned(record) for record in in_order(recorder.records)),
        outputs=recorder.stack_outputs(),
        invokes=tuple(sorted({request.token for request in recorder.invokes})),
        messages=tuple(recorder.messages),
    )


def _planned(record: Recorded) -> PlannedResource:
    goal = record.goal
    return PlannedResource(
        urn=record.urn,
        type=goal.type,
        name=goal.name,
        parent=goal.parent,
        custom=goal.custom,
        inputs=goal.inputs,
        outputs=record.outputs,
        dependencies=tuple(sorted(goal.dependencies)),
        registration=goal,
        read_id=record.read_id,
    )


def in_order(records: tuple[Recorded, ...]) -> list[Recorded]:
    """Parents and dependencies first, and otherwise by URN: registrations arrive in an order that varies by run."""
    waiting = {record.urn: record for record in sorted(records, key=lambda record: record.urn)}
    ordered: list[Recorded] = []

    def place(record: Recorded) -> None:
        if waiting.pop(record.urn, None) is None:
            return
        needs = {*record.goal.dependencies, *filter(None, [record.goal.parent])}
        for urn in sorted(needs):
            if urn in waiting:
                place(waiting[urn])
        ordered.append(record)

    for urn in list(waiting):
        if urn in waiting:
            place(waiting[urn])
    return ordered
