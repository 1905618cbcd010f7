"""What the engine asks of a provider. Values are bare: no `Secret` reaches one, and the engine puts the marks back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.engine.errors import EngineError


@dataclass(frozen=True, kw_only=True)
class ProviderContext:
    """What a provider is made with: the project's config, and the inputs of an explicit provider resource."""

    project: str
    stack: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ProviderRequest:
    """One request about one resource. `inputs` are the new ones; in a preview they may hold `UNKNOWN`."""

    urn: str
    type: str
    name: str
    id: str = ""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    old_inputs: Mapping[str, Any] = field(default_factory=dict)
    old_outputs: Mapping[str, Any] = field(default_factory=dict)
    timeout: float | None = None
    """Seconds, where the program sets a custom timeout for the operation."""
    preview: bool = False


@dataclass(frozen=True, kw_only=True)
class CheckFailure:
    property: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """The inputs to use from here on, and what is wrong with them."""

    inputs: Mapping[str, Any]
    failures: tuple[CheckFailure, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DiffResult:
    """`changes` None leaves the answer to the engine, which compares the inputs."""

    changes: bool | None = None
    replaces: tuple[str, ...] = ()
    """Property paths that cannot change in place."""
    delete_before_replace: bool = False


@dataclass(frozen=True, kw_only=True)
class ResourceOutputs:
    """What a provider answers to a create or a read."""

    id: str
    outputs: Mapping[str, Any]


class Provider:
    """Base of all providers; a subclass writes at least `create`. Methods are called from several threads at once."""

    def supports(self, type_: str) -> bool:  # noqa: ARG002 (for subclasses)
        """Whether this provider has the resource type."""
        return True

    def check(self, request: ProviderRequest) -> CheckResult:
        return CheckResult(inputs=request.inputs)

    def diff(self, request: ProviderRequest) -> DiffResult:  # noqa: ARG002
        return DiffResult()

    def create(self, request: ProviderRequest) -> ResourceOutputs:
        raise NotImplementedError

    def update(self, request: ProviderRequest) -> Mapping[str, Any]:
        """Change the resource in place; the new outputs."""
        raise EngineError(f"{request.type} cannot be changed in place")

    def delete(self, request: ProviderRequest) -> None:
        """Remove the resource; one that is gone already is no error. Its state is in the old maps."""

    def read(self, request: ProviderRequest) -> ResourceOutputs | None:
        """The resource with that id; None when there is none."""
        raise EngineError(f"{request.type} cannot be read")

    def invoke(self, token: str, args: Mapping[str, Any]) -> Mapping[str, Any]:  # noqa: ARG002
        raise EngineError(f"the function {token} needs a provider plugin: use the Pulumi CLI")
