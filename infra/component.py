"""What the components of every target share: children named by role, and transforms that reach them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import pulumi

Transform = Callable[[dict[str, Any], pulumi.ResourceOptions], tuple[dict[str, Any], pulumi.ResourceOptions]]
"""Gets an inner resource's properties and options, returns what to use instead."""
Transforms = Mapping[str, Transform]
"""By the inner resource's role: the part of its name after the component's."""

R = TypeVar("R", bound=pulumi.Resource)


@dataclass(frozen=True, kw_only=True)
class ComponentArgs:
    """What every component can be given."""

    transforms: Transforms | None = None


class Component(pulumi.ComponentResource):
    """A component whose inner resources are named ``<name>-<role>`` and can be reached by transforms."""

    def __init__(
        self,
        kind: str,
        name: str,
        opts: pulumi.ResourceOptions | None,
        transforms: Transforms | None,
    ) -> None:
        """`kind` is the type token: ``slipway:aws:Network``."""
        super().__init__(kind, name, None, opts)
        self._name_of_component = name
        self._transforms = dict(transforms or {})
        self._roles: list[str] = []

    def inner(self, role: str, resource: Callable[..., R], properties: Mapping[str, Any], **options: Any) -> R:
        """Make one inner resource. `options` are those of `pulumi.ResourceOptions`."""
        values, opts = dict(properties), pulumi.ResourceOptions(parent=self, **options)
        self._roles.append(role)
        if role in self._transforms:
            values, opts = self._transforms[role](values, opts)
        return resource(f"{self._name_of_component}-{role}", opts=opts, **values)

    def finish(self, outputs: Mapping[str, Any]) -> None:
        """Register the outputs; ValueError for a transform that named no inner resource."""
        unknown = sorted(set(self._transforms) - set(self._roles))
        if unknown:
            raise ValueError(
                f"{self._name_of_component} has no inner resource {', '.join(unknown)} to transform; it has "
                f"{', '.join(self._roles)}"
            )
        self.register_outputs(dict(outputs))
