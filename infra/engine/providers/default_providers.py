"""Which provider is behind a resource, and the provider resources that the engine adds to the state for it."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from infra.engine.program.registration import Registration
from infra.engine.providers.boundary import Bound
from infra.engine.providers.registry import Providers
from infra.engine.secrecy import reveal
from infra.engine.state.resources import ResourceState
from infra.engine.state.snapshot import Ledger, now
from infra.engine.steps.identity import Identity
from infra.engine.urns import PROVIDER_PREFIX, is_default_provider, make_urn, package_of, parse_urn, provider_urn
from infra.engine.values import Secret

_WITH_CONFIG: Final = "pulumi-python"
"""The package whose default provider is configured with the project's whole config."""


def provider_inputs(wanted: Registration) -> dict[str, Any]:
    """The inputs of a provider resource, with its plugin's version as Pulumi notes it."""
    if not wanted.version:
        return dict(wanted.inputs)
    internal = {"pluginDownloadURL": wanted.plugin_download_url} if wanted.plugin_download_url else {}
    return {**wanted.inputs, "__internal": internal, "version": wanted.version}


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
        ledger: Ledger,
        dry_run: bool,
    ) -> None:
        self._stack = stack
        self._project = project
        self._config = {key: Secret(value) if key in secret_keys else value for key, value in sorted(config.items())}
        self._providers = providers
        self._ledger = ledger
        self._dry_run = dry_run
        self._lock = threading.Lock()

    def reference(self, identity: Identity) -> str:
        """The provider reference of a custom resource; makes the default provider on first use."""
        wanted = identity.wanted
        explicit = wanted.provider or wanted.providers.get(wanted.package)
        if explicit:
            return explicit
        inputs: dict[str, Any] = {}
        if wanted.package == _WITH_CONFIG:
            inputs = dict(self._config)
        elif wanted.version:
            inputs = provider_inputs(replace(wanted, inputs={}))
        return self._default(wanted.package, wanted.version, inputs)

    def _default(self, package: str, version: str | None, inputs: dict[str, Any]) -> str:
        name = f"default_{version.replace('.', '_')}" if version else "default"
        urn = make_urn(
            stack=self._stack, project=self._project, parent=None, type_=PROVIDER_PREFIX + package, name=name
        )
        with self._lock:
            state = self._ledger.new(urn)
            if state is None:
                state = self._record_default(urn, inputs)
        return f"{urn}::{state.id}"

    def _record_default(self, urn: str, inputs: dict[str, Any]) -> ResourceState:
        old = self._ledger.old(urn)
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
        self._ledger.put(state, old)
        return state

    def bound(self, state: ResourceState) -> Bound | None:
        """The provider of a resource, of this run or the last; None where this process has none for it."""
        urn = provider_urn(state.provider) if state.provider else ""
        if not urn or is_default_provider(urn):
            provider = self._providers.get(package_of(state.type))
        else:
            configured = self._ledger.new(urn) or self._ledger.old(urn)
            inputs = reveal(configured.inputs) if configured else {}
            provider = self._providers.get(package_of(state.type), reference=state.provider or "", inputs=inputs)
        if provider is None or not provider.supports(state.type):
            return None
        return Bound(provider, self._dry_run)
