"""What the components of every target share: children named by role, and transforms that reach them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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

    def inner(
        self,
        role: str,
        resource: Callable[..., R],
        properties: Mapping[str, Any],
        *,
        depends_on: pulumi.Input[Any] = None,
        secret_outputs: Sequence[str] | None = None,
        ignore_changes: Sequence[str] | None = None,
        protect: bool | None = None,
        retain_on_delete: bool | None = None,
        delete_before_replace: bool | None = None,
        timeouts: pulumi.CustomTimeouts | None = None,
        hooks: pulumi.ResourceHookBinding | None = None,
    ) -> R:
        """Make one inner resource."""
        values = dict(properties)
        options = pulumi.ResourceOptions(
            parent=self,
            depends_on=depends_on,
            additional_secret_outputs=list(secret_outputs) if secret_outputs else None,
            ignore_changes=list(ignore_changes) if ignore_changes else None,
            protect=protect,
            retain_on_delete=retain_on_delete,
            delete_before_replace=delete_before_replace,
            custom_timeouts=timeouts,
            hooks=hooks,
        )
        self._roles.append(role)
        if role in self._transforms:
            values, options = self._transforms[role](values, options)
        return resource(f"{self._name_of_component}-{role}", opts=options, **values)

    def finish(self, outputs: Mapping[str, Any]) -> None:
        """Register the outputs; ValueError for a transform that named no inner resource."""
        unknown = sorted(set(self._transforms) - set(self._roles))
        if unknown:
            raise ValueError(
                f"{self._name_of_component} has no inner resource {', '.join(unknown)} to transform; it has "
                f"{', '.join(self._roles)}"
            )
        self.register_outputs(dict(outputs))
