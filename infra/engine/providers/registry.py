"""Which provider is behind a resource, and the default providers that a deployment adds to the state for it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Mapping
from typing import Any, Final

from infra.engine.errors import EngineError
from infra.engine.program.monitor import Target
from infra.engine.program.registration import Registration
from infra.engine.providers.base import Provider, ProviderContext
from infra.engine.providers.client import ProviderClient
from infra.engine.state.snapshot import ResourceState
from infra.engine.state.snapshot_manager import SnapshotManager, now
from infra.engine.urns import PROVIDER_PREFIX, is_default_provider, make_urn, package_of, parse_urn, provider_urn
from infra.engine.values import Secret, reveal

_WITH_CONFIG: Final = "pulumi-python"
"""The package whose default provider is configured with the project's whole config."""
INSTALL: Final = (
    "Install the Pulumi CLI (https://www.pulumi.com/docs/install/, or: curl -fsSL https://get.pulumi.com | sh) "
    "and run the same command again: it works on the same state."
)


class UnsupportedError(EngineError):
    """The stack has resources for which there is no provider in this process."""

    def __init__(self, packages: Mapping[str, str]) -> None:
        names = ", ".join(sorted(packages))
        examples = ", ".join(sorted(packages.values()))
        super().__init__(
            f"the stack needs provider plugins that only the Pulumi CLI can run: {names} (for {examples}). {INSTALL}"
        )


ProviderFactory = Callable[[ProviderContext], Provider]


class ProviderRegistry:
    """The factories by package. `standard()` has the built-in ones; tests and emulators add theirs."""

    def __init__(self) -> None:
        self._factories: dict[str, ProviderFactory] = {}

    @classmethod
    def standard(cls) -> ProviderRegistry:
        """Dynamic resources, `random` and Pulumi's own resources."""
        registry = cls()
        registry.add("pulumi-python", _dynamic)
        registry.add("random", _random)
        registry.add("pulumi", _builtin)
        return registry

    def add(self, package: str, factory: ProviderFactory) -> None:
        """Serve a package, in place of what served it before."""
        self._factories[package] = factory

    def factory(self, package: str) -> ProviderFactory | None:
        return self._factories.get(package)


class Providers:
    """The providers of one deployment: each made once for each provider resource. Safe for several threads."""

    def __init__(self, registry: ProviderRegistry, target: Target, snapshots: SnapshotManager) -> None:
        self._registry = registry
        self._target = target
        self._snapshots = snapshots
        self._instances: dict[tuple[str, str], Provider] = {}
        self._lock = threading.Lock()

    def get(self, package: str, *, reference: str = "", inputs: Mapping[str, Any] | None = None) -> Provider | None:
        """The provider of a package as the provider resource `reference` configures it; None when there is none."""
        factory = self._registry.factory(package)
        if factory is None:
            return None
        target, key = self._target, (package, reference)
        with self._lock:
            if key not in self._instances:
                context = ProviderContext(
                    project=target.project, stack=target.stack, config=target.config, inputs=inputs or {}
                )
                self._instances[key] = factory(context)
            return self._instances[key]

    def client(self, state: ResourceState) -> ProviderClient | None:
        """What calls the resource's provider, of this run or the last; None where this process has none for it."""
        package, urn = package_of(state.type), provider_urn(state.provider) if state.provider else ""
        if not urn or is_default_provider(urn):
            provider = self.get(package)
        else:
            configured = self._snapshots.new(urn) or self._snapshots.old(urn)
            inputs = reveal(configured.inputs) if configured else {}
            provider = self.get(package, reference=state.provider or "", inputs=inputs)
        if provider is None or not provider.supports(state.type):
            return None
        return ProviderClient(provider, self._target.dry_run)

    def reference(self, goal: Registration) -> str:
        """The provider reference of a custom resource; makes the default provider on first use."""
        explicit = goal.provider or goal.providers.get(goal.package)
        if explicit:
            return explicit
        inputs: dict[str, Any] = {}
        if goal.package == _WITH_CONFIG:
            target = self._target
            inputs = {
                key: Secret(value) if key in target.secret_keys else value
                for key, value in sorted(target.config.items())
            }
        elif goal.version:
            inputs = provider_inputs(goal, {})
        urn = make_urn(
            stack=self._target.stack,
            project=self._target.project,
            parent=None,
            type_=PROVIDER_PREFIX + goal.package,
            name=f"default_{goal.version.replace('.', '_')}" if goal.version else "default",
        )
        with self._lock:
            state = self._snapshots.new(urn) or self._record_default(urn, inputs)
        return f"{urn}::{state.id}"

    def _record_default(self, urn: str, inputs: dict[str, Any]) -> ResourceState:
        old = self._snapshots.old(urn)
        time = now()
        state = ResourceState(
            urn=urn,
            type=parse_urn(urn).type,
            custom=True,
            id=old.id if old else str(uuid.uuid4()),
            inputs=inputs,
            outputs=provider_outputs(inputs),
            created=old.created if old else time,
            modified=old.modified if old else time,
            extra=dict(old.extra) if old else {},
        )
        self._snapshots.put(state, old)
        return state


def provider_inputs(goal: Registration, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a provider resource, with its plugin's version as Pulumi notes it."""
    if not goal.version:
        return dict(inputs)
    internal = {"pluginDownloadURL": goal.plugin_download_url} if goal.plugin_download_url else {}
    return {**inputs, "__internal": internal, "version": goal.version}


def provider_outputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in inputs.items() if key != "__internal"}


def _dynamic(context: ProviderContext) -> Provider:
    # Imported on first use: dill is slow to load, and a stack without dynamic resources does not need it.
    from infra.engine.providers.dynamic import DynamicProvider

    return DynamicProvider(context)


def _random(_: ProviderContext) -> Provider:
    from infra.engine.providers.random import RandomProvider

    return RandomProvider()


def _builtin(_: ProviderContext) -> Provider:
    from infra.engine.providers.builtin import BuiltinProvider

    return BuiltinProvider()
