"""Dynamic resources: the program's own providers, called as Pulumi's dynamic provider host calls them."""

from __future__ import annotations

import base64
import threading
from collections.abc import Mapping
from typing import Any

import dill
from pulumi.dynamic import Config, ConfigureRequest, ResourceProvider
from pulumi.output import Unknown as SdkUnknown
from pulumi.runtime import rpc
from pulumi.runtime._serialization import _deserialize

from infra.engine.errors import EngineError
from infra.engine.program.wire import to_struct
from infra.engine.providers.base import (
    CheckFailure,
    CheckResult,
    DiffResult,
    Provider,
    ProviderContext,
    ProviderRequest,
    ResourceOutputs,
)
from infra.engine.values import UNKNOWN

KEY = "__provider"


class DynamicProvider(Provider):
    """Unpickles the provider that each resource carries, configures it once, and calls its methods."""

    def __init__(self, context: ProviderContext) -> None:
        self._context = context
        self._providers: dict[str, ResourceProvider] = {}
        self._lock = threading.Lock()

    def supports(self, type_: str) -> bool:
        return type_.startswith("pulumi-python:dynamic")

    def check(self, request: ProviderRequest) -> CheckResult:
        news = _as_host(request.inputs)
        result = self._provider(request).check(_as_host(request.old_inputs), news)
        failures = tuple(CheckFailure(property=failure.property, reason=failure.reason) for failure in result.failures)
        return CheckResult(inputs=_with_provider(result.inputs, request.inputs[KEY]), failures=failures)

    def diff(self, request: ProviderRequest) -> DiffResult:
        result = self._provider(request).diff(request.id, _as_host(request.old_outputs), _as_host(request.inputs))
        return DiffResult(
            changes=result.changes,
            replaces=tuple(result.replaces or ()),
            delete_before_replace=bool(result.delete_before_replace),
        )

    def create(self, request: ProviderRequest) -> ResourceOutputs:
        result = self._provider(request).create(_as_host(request.inputs))
        if not isinstance(result.id, str) or not result.id:
            raise EngineError("the provider returned no id from create: it must be a text that is not empty")
        return ResourceOutputs(id=result.id, outputs=_with_provider(result.outs, request.inputs[KEY]))

    def update(self, request: ProviderRequest) -> Mapping[str, Any]:
        result = self._provider(request).update(request.id, _as_host(request.old_outputs), _as_host(request.inputs))
        return _with_provider(result.outs, request.inputs[KEY])

    def delete(self, request: ProviderRequest) -> None:
        self._provider(request).delete(request.id, _as_host(request.old_outputs))

    def read(self, request: ProviderRequest) -> ResourceOutputs | None:
        props = request.old_outputs or request.inputs
        result = self._provider(request).read(request.id, _as_host(props))
        if not result.id:
            return None
        return ResourceOutputs(id=result.id, outputs=_with_provider(result.outs, props[KEY]))

    def _provider(self, request: ProviderRequest) -> ResourceProvider:
        """The provider of the new inputs; of the old state where those are unknown or there are none."""
        text = request.inputs.get(KEY, UNKNOWN)
        if text is UNKNOWN:
            text = request.old_outputs.get(KEY) or request.old_inputs.get(KEY)
        if not isinstance(text, str):
            raise EngineError("the resource carries no dynamic provider: was it made by another engine?")
        with self._lock:
            # One at a time: two resources with the same provider share one configured object.
            if text not in self._providers:
                self._providers[text] = self._load(text)
            return self._providers[text]

    def _load(self, text: str) -> ResourceProvider:
        try:
            provider: ResourceProvider = _deserialize(lambda: dill.loads(base64.b64decode(text)))  # noqa: S301
        except Exception as error:
            raise EngineError(
                f"the dynamic provider in the state cannot be loaded ({type(error).__name__}: {error}). "
                "It was written by another version of the program or of Python: run that version, or bring back the "
                "module that it names"
            ) from error
        config = Config(raw_config=dict(self._context.config), project_name=self._context.project)
        provider.configure(ConfigureRequest(config=config))
        return provider


def _as_host(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties as the host hands them over, which has them from the wire: whole numbers are floats, and what is
    None is missing. A provider that works here must not fail there."""
    found: dict[str, Any] = rpc.deserialize_properties(to_struct(properties, secrets=False), True)
    return found


def _with_provider(returned: Mapping[str, Any] | None, provider: Any) -> dict[str, Any]:
    values = {key: _plain(value, key) for key, value in (returned or {}).items() if value is not None}
    values[KEY] = provider
    return values


def _plain(value: Any, where: str) -> Any:
    """What a provider returned, as JSON types; raises EngineError on anything else."""
    match value:
        case None | bool() | str() | int():
            return value
        case float():
            return int(value) if value.is_integer() else value
        case SdkUnknown():
            return UNKNOWN
        case Mapping():
            return {str(key): _plain(item, f"{where}.{key}") for key, item in value.items()}
        case list() | tuple():
            return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise EngineError(
        f"the provider returned a {type(value).__name__} in {where!r}: properties must be texts, numbers, booleans, "
        "lists and maps"
    )
