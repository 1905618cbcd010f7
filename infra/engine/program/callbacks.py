"""Calls back into the program: the hooks that it has around the operations on its resources.

The SDK serves them over gRPC on a loopback port, also when the monitor is an object in the same process.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from pulumi.runtime.proto import callback_pb2, callback_pb2_grpc, resource_pb2

from infra.engine.errors import EngineError
from infra.engine.program.wire import to_struct
from infra.engine.urns import parse_urn

_OPTIONS = (("grpc.max_receive_message_length", 400 << 20), ("grpc.max_send_message_length", 400 << 20))


class CallbackError(EngineError):
    """A hook of the program failed, or could not be reached."""


@dataclass(frozen=True, kw_only=True)
class HookCall:
    """What a hook gets of its resource; maps that do not apply are None."""

    urn: str
    id: str
    new_inputs: Mapping[str, Any] | None = None
    old_inputs: Mapping[str, Any] | None = None
    new_outputs: Mapping[str, Any] | None = None
    old_outputs: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Hook:
    name: str
    callback: callback_pb2.Callback
    on_dry_run: bool
    ignore_errors: bool


class Hooks:
    """The hooks that the program has registered, by name; safe to use from several threads."""

    def __init__(self) -> None:
        self._hooks: dict[str, Hook] = {}
        self._channels: dict[str, grpc.Channel] = {}
        """By the address of a callback server of the program."""
        self._lock = threading.Lock()

    def add(self, hook: Hook) -> None:
        with self._lock:
            if not hook.name or hook.name in self._hooks:
                raise EngineError(f"resource hook {hook.name!r} is registered twice: give each hook a name of its own")
            self._hooks[hook.name] = hook

    def find(self, name: str) -> Hook:
        with self._lock:
            hook = self._hooks.get(name)
        if hook is None:
            raise CallbackError(f"resource hook {name!r} is not registered by the program")
        return hook

    def run(self, hook: Hook, call: HookCall) -> str | None:
        """Run a before or after hook; the error message when it failed."""
        urn = parse_urn(call.urn)
        request = resource_pb2.ResourceHookRequest(urn=call.urn, id=call.id, name=urn.name, type=urn.type)
        _fill_maps(request, call)
        answer = resource_pb2.ResourceHookResponse.FromString(self._invoke(hook.callback, request))
        return answer.error or None

    def wants_retry(self, hook: Hook, call: HookCall, *, operation: str, errors: list[str]) -> bool:
        """Ask an error hook about a failed ``create``, ``update`` or ``delete``; `errors` has the newest first."""
        urn = parse_urn(call.urn)
        request = resource_pb2.ErrorHookRequest(
            urn=call.urn, id=call.id, name=urn.name, type=urn.type, failed_operation=operation, errors=errors
        )
        _fill_maps(request, call)
        answer = resource_pb2.ErrorHookResponse.FromString(self._invoke(hook.callback, request))
        if answer.error:
            raise CallbackError(f"error hook {hook.name!r} failed: {answer.error}")
        return answer.retry

    def _invoke(self, callback: callback_pb2.Callback, request: Any) -> bytes:
        """Run the callback and wait for it; raises CallbackError with the program's message."""
        with self._lock:
            channel = self._channels.get(callback.target)
            if channel is None:
                channel = self._channels[callback.target] = grpc.insecure_channel(callback.target, options=_OPTIONS)
        message = callback_pb2.CallbackInvokeRequest(token=callback.token, request=request.SerializeToString())
        try:
            response = callback_pb2_grpc.CallbacksStub(channel).Invoke(message)
        except grpc.RpcError as error:
            raise CallbackError(str(error.details())) from None
        return bytes(response.response)

    def close(self) -> None:
        with self._lock:
            for channel in self._channels.values():
                channel.close()
            self._channels.clear()


def _fill_maps(request: Any, call: HookCall) -> None:
    for name in ("new_inputs", "old_inputs", "new_outputs", "old_outputs"):
        values = getattr(call, name)
        if values is not None and name in request.DESCRIPTOR.fields_by_name:
            getattr(request, name).CopyFrom(to_struct(values))
