"""One stack of this project in a pretended account, with its state from run to run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from emulator.cloud import Cloud
from emulator.docker import DockerProvider
from emulator.provider import serving
from infra.engine.deployment import Deployment, Result
from infra.engine.display.events import Diagnostic, Event, StepFinished
from infra.engine.plan import Plan, plan
from infra.engine.project.project import ProgramConfig, Project, StackFile
from infra.engine.providers.registry import ProviderRegistry
from infra.engine.state.snapshot import ResourceState, Snapshot
from infra.engine.urns import parse_urn


@dataclass
class Log:
    """An event sink that keeps everything."""

    events: list[Event] = field(default_factory=list)

    def emit(self, event: Event) -> None:
        self.events.append(event)

    def steps(self) -> list[tuple[str, str]]:
        return [
            (event.op, parse_urn(event.urn).name)
            for event in self.events
            if isinstance(event, StepFinished) and event.op != "same" and not event.internal
        ]

    def messages(self) -> list[str]:
        return [event.message for event in self.events if isinstance(event, Diagnostic)]


class Stack:
    """`config` holds groups that are laid over the stack file: ``stack.set(api={"replicas": 4})``."""

    def __init__(self, project: Project, name: str, cloud: Cloud) -> None:
        self.name = name
        self.cloud = cloud
        self.log = Log()
        self._project = project
        self._values: dict[str, Any] = {}
        self._secrets: dict[str, str] = {}
        self._snapshot = Snapshot(stack=name, project=project.name)
        self._registry = ProviderRegistry.standard()
        self._registry.add("aws", serving(cloud))
        self._registry.add("docker", lambda _: DockerProvider())
        self._find_zone()

    def set(self, **groups: Any) -> Stack:
        """Lay values over the stack file: mappings by key, others whole; `secrets` stay secret."""
        for group, value in groups.items():
            if group == "secrets":
                self._secrets |= value
            elif isinstance(value, Mapping):
                self._values[group] = _over(self._values.get(group, {}), value)
            else:
                self._values[group] = value
        return self

    def config(self) -> ProgramConfig:
        base = StackFile.load(self._project, self.name).program_config(None)
        values, hidden = dict(base.values), set(base.secret_keys)
        for group, value in {**self._values, **({"secrets": self._secrets} if self._secrets else {})}.items():
            key = f"{self._project.name}:{group}"
            if isinstance(value, Mapping):
                values[key] = json.dumps(_over(json.loads(values.get(key) or "{}"), value))
            else:
                values[key] = value if isinstance(value, str) else json.dumps(value)
        if self._secrets:
            hidden.add(f"{self._project.name}:secrets")
        return ProgramConfig(values=values, secret_keys=frozenset(hidden))

    def _find_zone(self) -> None:
        """The zone of the stack file's domain, which is there before the stack."""
        domain = json.loads(self.config().values.get(f"{self._project.name}:domain") or "{}")
        if "zone_id" in domain:
            self.cloud.add_zone(domain["zone_id"], domain["zone"])

    def plan(self) -> Plan:
        return plan(project=self._project, stack=self.name, config=self.config())

    def preview(self) -> Result:
        return self._deployment().preview()

    def up(self) -> Result:
        deployment = self._deployment()
        try:
            return deployment.up()
        finally:
            self._snapshot = deployment.snapshot

    def must_up(self) -> Result:
        result = self.up()
        assert result.succeeded, "\n".join(failure.message for failure in result.failures)
        return result

    def destroy(self) -> Result:
        deployment = self._deployment()
        try:
            return deployment.destroy()
        finally:
            self._snapshot = deployment.snapshot

    @property
    def resources(self) -> list[ResourceState]:
        """Those that AWS has, as the state knows them."""
        return [item for item in self._snapshot.resources if item.custom and item.type.startswith("aws:")]

    def state(self, type_: str, name: str) -> ResourceState:
        there = [item for item in self._snapshot.resources if item.type == type_ and not item.delete]
        for item in there:
            if parse_urn(item.urn).name == name:
                return item
        raise KeyError(f"no {type_} {name!r}; there are {sorted(parse_urn(item.urn).name for item in there)}")

    def unprotect(self) -> None:
        """As `pulumi state unprotect --all`."""
        for item in self._snapshot.resources:
            item.protect = False

    def _deployment(self) -> Deployment:
        self.log = Log()
        return Deployment(
            project=self._project,
            stack=self.name,
            config=self.config(),
            snapshot=self._snapshot,
            save=lambda snapshot: None,
            sink=self.log,
            providers=self._registry,
        )


def _over(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(below)
    for key, value in above.items():
        inner = made.get(key)
        made[key] = _over(inner, value) if isinstance(value, Mapping) and isinstance(inner, Mapping) else value
    return made
