"""The base of the program's own resource providers, and of the resources that they provide.

A state holds the provider of each resource as the name of its class, not as code: a class that is moved or renamed
breaks the stacks that exist, whose resources could then not be deleted. Providers keep nothing in themselves, so that
several threads may use one at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

import pulumi
from pulumi.dynamic import (
    CheckFailure,
    CheckResult,
    CreateResult,
    DiffResult,
    ReadResult,
    Resource,
    ResourceProvider,
    UpdateResult,
)
from pydantic import BaseModel, ValidationError

P = TypeVar("P", bound=BaseModel)


class DynamicProvider(ResourceProvider, Generic[P]):
    """Checks the inputs against `properties`, and gives back inputs and computed outputs together."""

    properties: ClassVar[type[BaseModel]]

    def identity(self, props: Mapping[str, Any], /) -> str:
        """The id of a resource that is created."""
        raise NotImplementedError

    def apply(self, props: P, olds: Mapping[str, Any], /) -> dict[str, Any]:
        """Bring about what `props` say; returns the computed outputs. `olds` are the outputs of the last run, empty at
        the creation."""
        raise NotImplementedError

    def changed(self, olds: Mapping[str, Any], news: Mapping[str, Any], /) -> bool:
        """Whether to update. `news` of a preview may hold values that are not known yet."""
        return any(olds.get(key) != value for key, value in inputs_of(news).items())

    def parse(self, props: Mapping[str, Any], /) -> P:
        """Raises ValidationError."""
        return self.properties.model_validate(inputs_of(props))  # type: ignore[return-value]

    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        failures = []
        if not pulumi.contains_unknowns(news):
            try:
                self.parse(news)
            except ValidationError as error:
                failures = [CheckFailure(".".join(map(str, one["loc"])), one["msg"]) for one in error.errors()]
        return CheckResult(news, failures)

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> DiffResult:
        return DiffResult(changes=self.changed(_olds, _news))

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult(self.identity(props), self._applied(props, {}))

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        return UpdateResult(self._applied(_news, _olds))

    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        return ReadResult(id_, props)

    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        """Nothing: what was done stays done."""

    def _applied(self, news: Mapping[str, Any], olds: Mapping[str, Any]) -> dict[str, Any]:
        return {**inputs_of(news), **self.apply(self.parse(news), olds)}


class DynamicResource(Resource, module="slipway", name="Dynamic"):
    """A resource of `provider`, with the outputs `computed` besides its inputs."""

    provider: ClassVar[ResourceProvider]
    computed: ClassVar[tuple[str, ...]] = ()

    def __init__(self, name: str, /, *, opts: pulumi.ResourceOptions | None = None, **properties: Any) -> None:
        super().__init__(self.provider, name, {**dict.fromkeys(self.computed), **properties}, opts)


def inputs_of(props: Mapping[str, Any]) -> dict[str, Any]:
    """Without what Pulumi keeps beside them: the provider itself."""
    return {key: value for key, value in props.items() if not key.startswith("__")}
