"""Transforms: the program's own rewriting of what it registers, run before the engine reads the request."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, cast

from pulumi.runtime.proto import alias_pb2, callback_pb2, resource_pb2

from infra.engine.program.callbacks import Callbacks

_SAME_NAMES = {
    # option in a transform -> field of the registration
    "depends_on": "dependencies",
    "ignore_changes": "ignoreChanges",
    "replace_on_changes": "replaceOnChanges",
    "aliases": "aliases",
    "additional_secret_outputs": "additionalSecretOutputs",
    "hide_diff": "hideDiffs",
    "replace_with": "replace_with",
}
_TEXTS = {
    "version": "version",
    "provider": "provider",
    "plugin_download_url": "pluginDownloadURL",
    "deleted_with": "deletedWith",
    "import": "importId",
}
_MESSAGES = {"custom_timeouts": "customTimeouts", "hooks": "hooks", "replacement_trigger": "replacement_trigger"}


class Transforms:
    """Those of the stack, and of each resource for itself and what is below it. Safe to use from several threads."""

    def __init__(self, callbacks: Callbacks) -> None:
        self._callbacks = callbacks
        self._stack: list[callback_pb2.Callback] = []
        self._by_urn: dict[str, tuple[callback_pb2.Callback, ...]] = {}
        self._parents: dict[str, str] = {}
        self._lock = threading.Lock()

    def add_to_stack(self, callback: callback_pb2.Callback) -> None:
        with self._lock:
            self._stack.append(callback)

    def remember(self, urn: str, parent: str | None, own: Sequence[callback_pb2.Callback]) -> None:
        """Keep a resource's transforms for its children."""
        with self._lock:
            self._by_urn[urn] = tuple(own)
            if parent:
                self._parents[urn] = parent

    def apply(self, request: resource_pb2.RegisterResourceRequest) -> resource_pb2.RegisterResourceRequest:
        """The request after the transforms of the resource, of its parents from the nearest up, and of the stack."""
        chain = self._chain(request)
        if not chain:
            return request
        result = resource_pb2.RegisterResourceRequest()
        result.CopyFrom(request)
        # Fields of the former form would come back once more as aliases of the transform's options.
        del result.aliasURNs[:]
        result.aliases.extend(alias_pb2.Alias(urn=urn) for urn in request.aliasURNs)
        for callback in chain:
            self._apply_one(callback, result)
        return result

    def _chain(self, request: resource_pb2.RegisterResourceRequest) -> list[callback_pb2.Callback]:
        chain = list(request.transforms)
        with self._lock:
            parent: str | None = request.parent
            while parent:
                chain.extend(self._by_urn.get(parent, ()))
                parent = self._parents.get(parent)
            chain.extend(self._stack)
        return chain

    def _apply_one(self, callback: callback_pb2.Callback, request: resource_pb2.RegisterResourceRequest) -> None:
        question = resource_pb2.TransformRequest(
            type=request.type,
            name=request.name,
            custom=request.custom,
            parent=request.parent,
            properties=request.object,
            options=_options_of(request),
        )
        answer = resource_pb2.TransformResponse.FromString(
            self._callbacks.invoke(callback, question.SerializeToString())
        )
        request.object.CopyFrom(answer.properties)
        for key in list(request.propertyDependencies):
            if key not in answer.properties.fields:
                del request.propertyDependencies[key]
        if answer.HasField("options"):
            _set_options(request, answer.options)


def _options_of(request: Any) -> resource_pb2.TransformResourceOptions:
    options: Any = resource_pb2.TransformResourceOptions()
    for option, name in _SAME_NAMES.items():
        getattr(options, option).extend(getattr(request, name))
    for option, name in _TEXTS.items():
        setattr(options, option, getattr(request, name))
    for option, name in _MESSAGES.items():
        if request.HasField(name):
            getattr(options, option).CopyFrom(getattr(request, name))
    for option, name in (("protect", "protect"), ("retain_on_delete", "retainOnDelete")):
        if request.HasField(name):
            setattr(options, option, getattr(request, name))
    if request.deleteBeforeReplaceDefined or request.deleteBeforeReplace:
        options.delete_before_replace = request.deleteBeforeReplace
    options.providers.update(request.providers)
    return cast("resource_pb2.TransformResourceOptions", options)


def _set_options(request: Any, options: Any) -> None:
    for option, name in _SAME_NAMES.items():
        request.ClearField(name)
        getattr(request, name).extend(getattr(options, option))
    for option, name in _TEXTS.items():
        setattr(request, name, getattr(options, option))
    for option, name in _MESSAGES.items():
        request.ClearField(name)
        if options.HasField(option):
            getattr(request, name).CopyFrom(getattr(options, option))
    for option, name in (("protect", "protect"), ("retain_on_delete", "retainOnDelete")):
        request.ClearField(name)
        if options.HasField(option):
            setattr(request, name, getattr(options, option))
    request.deleteBeforeReplaceDefined = options.HasField("delete_before_replace")
    request.deleteBeforeReplace = options.delete_before_replace
    request.ClearField("providers")
    request.providers.update(options.providers)
