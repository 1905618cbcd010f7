"""Which provider is behind a resource, and the provider resources that the engine adds to the state for it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from infra.engine.program.registration import Registration
from infra.engine.providers.client import ProviderClient
from infra.engine.providers.registry import Providers
from infra.engine.state.snapshot import ResourceState
from infra.engine.state.snapshot_manager import SnapshotManager, now
from infra.engine.steps.registrations import ResolvedRegistration
from infra.engine.urns import PROVIDER_PREFIX, is_default_provider, make_urn, package_of, parse_urn, provider_urn
from infra.engine.values import Secret, reveal

_WITH_CONFIG: Final = "pulumi-python"
"""The package whose default provider is configured with the project's whole config."""


def provider_inputs(goal: Registration) -> dict[str, Any]:
    """The inputs of a provider resource, with its plugin's version as Pulumi notes it."""
    if not goal.version:
        return dict(goal.inputs)
    internal = {"pluginDownloadURL": goal.plugin_download_url} if goal.plugin_download_url else {}
    return {**goal.inputs, "__internal": internal, "version": goal.version}


def provider_outputs(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in inputs.items() if key != "__internal"}


class Sources:
    """Finds the provider of each resource; safe for several threads."""

    def __init__(
        self,
        *,
        stack: str,
        project: str,
        config: Mapping[str, str],
        secret_keys: frozenset[str],
        providers: Providers,
        snapshots: SnapshotManager,
        dry_run: bool,
    ) -> None:
        self._stack = stack
        self._project = project
        self._config = {key: Secret(value) if key in secret_keys else value for key, value in sorted(config.items())}
        self._providers = providers
        self._snapshots = snapshots
        self._dry_run = dry_run
        self._lock = threading.Lock()

    def reference(self, resolved: ResolvedRegistration) -> str:
        """The provider reference of a custom resource; makes the default provider on first use."""
        goal = resolved.goal
        explicit = goal.provider or goal.providers.get(goal.package)
        if explicit:
            return explicit
        inputs: dict[str, Any] = {}
        if goal.package == _WITH_CONFIG:
            inputs = dict(self._config)
        elif goal.version:
            inputs = provider_inputs(replace(goal, inputs={}))
        return self._default(goal.package, goal.version, inputs)

    def _default(self, package: str, version: str | None, inputs: dict[str, Any]) -> str:
        name = f"default_{version.replace('.', '_')}" if version else "default"
        urn = make_urn(
            stack=self._stack, project=self._project, parent=None, type_=PROVIDER_PREFIX + package, name=name
        )
        with self._lock:
            state = self._snapshots.new(urn)
            if state is None:
                state = self._record_default(urn, inputs)
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

    def client(self, state: ResourceState) -> ProviderClient | None:
        """The provider of a resource, of this run or the last; None where this process has none for it."""
        urn = provider_urn(state.provider) if state.provider else ""
        if not urn or is_default_provider(urn):
            provider = self._providers.get(package_of(state.type))
        else:
            configured = self._snapshots.new(urn) or self._snapshots.old(urn)
            inputs = reveal(configured.inputs) if configured else {}
            provider = self._providers.get(package_of(state.type), reference=state.provider or "", inputs=inputs)
        if provider is None or not provider.supports(state.type):
            return None
        return ProviderClient(provider, self._dry_run)
