"""Calls a provider about a resource: secrets go in bare, come back marked, and errors become one clear message."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from infra.engine.errors import EngineError
from infra.engine.providers.base import CheckFailure, DiffResult, Provider, ProviderRequest, ResourceOutputs
from infra.engine.state.snapshot import ResourceState
from infra.engine.urns import parse_urn
from infra.engine.values import UNKNOWN, Secret, mark_keys, mark_like, reveal, scrub, secret_texts

T = TypeVar("T")


class OperationError(EngineError):
    """A provider failed. `details` has its traceback, for those who ask for it."""

    def __init__(self, message: str, details: str = "") -> None:
        super().__init__(message)
        self.details = details


@dataclass(frozen=True)
class ProviderClient:
    """A provider as the steps call it: about the states of resources, secrets marked."""

    provider: Provider
    preview: bool

    def check(
        self, new: ResourceState, old_inputs: Mapping[str, Any]
    ) -> tuple[dict[str, Any], tuple[CheckFailure, ...]]:
        """The inputs to use, and what is wrong with them."""
        request = self._request(new, inputs=new.inputs, old_inputs=old_inputs)
        checked = _guard(lambda: self.provider.check(request), new)
        return mark_like(checked.inputs, new.inputs), checked.failures

    def diff(self, old: ResourceState, inputs: Mapping[str, Any]) -> DiffResult:
        request = self._request(old, inputs=inputs, old_inputs=old.inputs, old_outputs=old.outputs)
        return _guard(lambda: self.provider.diff(request), old)

    def create(self, new: ResourceState) -> ResourceOutputs:
        request = self._request(new, inputs=new.inputs, operation="create")
        made = _guard(lambda: self.provider.create(request), new)
        return ResourceOutputs(id=made.id, outputs=_marked(made.outputs, new))

    def update(self, new: ResourceState, old: ResourceState) -> dict[str, Any]:
        request = self._request(
            new, inputs=new.inputs, old_inputs=old.inputs, old_outputs=old.outputs, operation="update"
        )
        return _marked(_guard(lambda: self.provider.update(request), new, old), new)

    def delete(self, old: ResourceState) -> None:
        request = self._request(old, old_inputs=old.inputs, old_outputs=old.outputs, operation="delete")
        _guard(lambda: self.provider.delete(request), old)

    def read(self, new: ResourceState) -> ResourceOutputs | None:
        request = self._request(new, inputs=new.inputs, operation="read")
        made = _guard(lambda: self.provider.read(request), new)
        return made and ResourceOutputs(id=made.id, outputs=_marked(made.outputs, new))

    def _request(
        self,
        state: ResourceState,
        *,
        inputs: Mapping[str, Any] | None = None,
        old_inputs: Mapping[str, Any] | None = None,
        old_outputs: Mapping[str, Any] | None = None,
        operation: str = "",
    ) -> ProviderRequest:
        return ProviderRequest(
            urn=state.urn,
            type=state.type,
            name=parse_urn(state.urn).name,
            id=state.id or "",
            inputs=reveal(dict(inputs or {})),
            old_inputs=reveal(dict(old_inputs or {})),
            old_outputs=reveal(dict(old_outputs or {})),
            timeout=state.custom_timeouts.get(operation),
            preview=self.preview,
        )


def preview_outputs(inputs: Mapping[str, Any], *, secret: Iterable[str], before: Mapping[str, Any]) -> dict[str, Any]:
    """The outputs that a preview can promise: the inputs. The rest is unknown, yet secret where it is known to be."""
    hidden = {*secret, *(key for key, value in before.items() if isinstance(value, Secret))}
    return {**{key: Secret(UNKNOWN) for key in sorted(hidden)}, **mark_keys(inputs, secret)}


def _marked(outputs: Mapping[str, Any], new: ResourceState) -> dict[str, Any]:
    return mark_keys(mark_like(outputs, new.inputs), new.additional_secret_outputs)


def _guard(work: Callable[[], T], *states: ResourceState) -> T:
    """Run a provider's method; whatever it raises becomes an OperationError with one clear message.

    Secrets of the resource are taken out of the message: a server's error may quote the URL that it was asked for.
    """
    try:
        return work()
    except Exception as error:  # noqa: BLE001 (a provider is the user's code: anything may come out of it)
        text = str(error)
        if not getattr(error, "user_facing", False):
            text = f"{type(error).__name__}: {text}" if text else type(error).__name__
        hidden = secret_texts([(state.inputs, state.outputs) for state in states])
        raise OperationError(scrub(text, hidden), scrub(traceback.format_exc(), hidden)) from None
