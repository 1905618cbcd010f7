"""Known outputs for a plan, taken from what the provider SDKs declare about their resources.

A program is planned once with unknown outputs and, in tests, once more as if all were known: code inside `apply` runs
only then.
"""

from __future__ import annotations

import typing
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from pulumi import _types
from pulumi.runtime import rpc

from infra.engine.errors import EngineError
from infra.engine.program.monitor import InvokeRequest
from infra.engine.program.registration import Registration


class DeclaredFakes:
    """Makes a value of the declared type for each output. `overrides` are outputs by type token, or by ``type::name``,
    and `invokes` results by function token."""

    def __init__(
        self,
        *,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
        invokes: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self._overrides = overrides or {}
        self._invokes = invokes or {}

    def outputs(self, goal: Registration) -> Mapping[str, Any]:
        made = {key: _fake(hint, f"{goal.name}-{key}") for key, hint in declared_outputs(goal.type).items()}
        made.pop("id", None)
        made.pop("urn", None)
        return {
            **made,
            **self._overrides.get(goal.type, {}),
            **self._overrides.get(f"{goal.type}::{goal.name}", {}),
        }

    def invoke(self, request: InvokeRequest) -> Mapping[str, Any]:
        if request.token not in self._invokes:
            raise EngineError(f"the program calls {request.token}, and there is no fake result for it")
        return self._invokes[request.token]


def declared_outputs(type_: str) -> Mapping[str, Any]:
    """The outputs that the resource's class declares, by their names on the wire; empty for an unknown class."""
    resource_class = _dynamic_class(type_) if type_.startswith("pulumi-python:") else _sdk_class(type_)
    return _types.resource_types(resource_class) if resource_class else {}


def _sdk_class(type_: str) -> type | None:
    package, module_name, _ = type_.split(":", 2)
    for key, modules in rpc._RESOURCE_MODULES.items():
        if key != f"{package}:{module_name}":
            continue
        for module in modules:
            info = getattr(module, "mod_info", {})
            if name := info.get("classes", {}).get(type_):
                found = getattr(import_module(info["fqn"]), name)
                return typing.cast("type", found)
    return None


def _dynamic_class(type_: str) -> type | None:
    from pulumi.dynamic import Resource

    def below(cls: type[Resource]) -> typing.Iterator[type[Resource]]:
        child: type[Resource]
        for child in cls.__subclasses__():
            yield child
            yield from below(child)

    name = type_.removeprefix("pulumi-python:")
    # The newest: an earlier run of the program may have left its classes behind.
    return next((cls for cls in reversed(list(below(Resource))) if cls._resource_type_name == name), None)


def _fake(hint: Any, name: str) -> Any:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Union or type(None) in args:
        inner = [arg for arg in args if arg is not type(None)]
        return _fake(inner[0], name) if inner else None
    if hint is bool:
        return False
    if hint in (int, float):
        return 1
    if hint is str:
        return name
    if origin in (list, typing.Sequence) or (isinstance(origin, type) and issubclass(origin, typing.Sequence)):
        return []
    if _types.is_output_type(hint):
        return {key: _fake(kind, f"{name}-{key}") for key, kind in _types.output_type_types(hint).items()}
    if origin is dict or (isinstance(origin, type) and issubclass(origin, typing.Mapping)):
        return {}
    return name
