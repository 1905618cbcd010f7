"""What a deployment is made of: the resources of one stack, in dependency order.

These records mirror Pulumi's checkpoint, field for field, with Python names. Fields that this engine does not use
are kept in `extra` under their own names, so that a checkpoint written by the Pulumi CLI survives a round trip.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class ResourceState:
    """One resource. `inputs` and `outputs` are property maps as `infra.engine.values` describes them."""

    urn: str
    type: str
    custom: bool
    id: str | None = None
    inputs: dict[str, Any] = field(default_factory=dict)
    outputs: dict[str, Any] = field(default_factory=dict)
    parent: str | None = None
    dependencies: list[str] = field(default_factory=list)
    property_dependencies: dict[str, list[str]] = field(default_factory=dict)
    provider: str | None = None
    """Reference to the provider resource: ``<provider urn>::<provider id>``; None for components."""
    additional_secret_outputs: list[str] = field(default_factory=list)
    protect: bool = False
    retain_on_delete: bool = False
    external: bool = False
    delete: bool = False
    """True while the resource is replaced but its old self is not deleted yet."""
    pending_replacement: bool = False
    init_errors: list[str] = field(default_factory=list)
    custom_timeouts: dict[str, float] = field(default_factory=dict)
    """Seconds by operation: ``create``, ``update``, ``delete``."""
    created: str | None = None
    modified: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class PendingOperation:
    """An operation that was under way when the state was written; one found at start means a run was cut short."""

    resource: ResourceState
    kind: str
    """``creating``, ``updating``, ``deleting`` or ``reading``."""


@dataclass(slots=True)
class Snapshot:
    """The whole state of a stack. `resources` stand in dependency order, as Pulumi requires."""

    stack: str
    project: str
    resources: list[ResourceState] = field(default_factory=list)
    pending: list[PendingOperation] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)

    def find(self, urn: str) -> ResourceState | None:
        """The live resource with that URN: never one that waits for its deletion."""
        return next((r for r in self.resources if r.urn == urn and not r.delete), None)

    @property
    def outputs(self) -> dict[str, Any]:
        """The stack's outputs, secrets still wrapped."""
        root = next((r for r in self.resources if r.type == "pulumi:pulumi:Stack"), None)
        return root.outputs if root else {}
