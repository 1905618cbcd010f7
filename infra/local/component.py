"""What the components of this target share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pulumi
from pulumi.dynamic import Resource as DynamicResource
from pulumi.dynamic import ResourceProvider

from .paths import stack_folder

Transform = Callable[[dict[str, Any], pulumi.ResourceOptions], tuple[dict[str, Any], pulumi.ResourceOptions]]
"""Gets an inner resource's properties and options, returns what to use instead."""
Transforms = Mapping[str, Transform]
"""By the inner resource's role: the part of its name after the component's."""

R = TypeVar("R", bound=pulumi.Resource)


class LocalComponent(pulumi.ComponentResource):
    """A component whose inner resources are named ``<name>-<role>`` and can be reached by transforms."""

    def __init__(
        self, kind: str, name: str, opts: pulumi.ResourceOptions | None, transforms: Transforms | None
    ) -> None:
        super().__init__(f"slipway:local:{kind}", name, None, opts)
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
        secret_outputs: list[str] | None = None,
    ) -> R:
        """Make one inner resource."""
        values = dict(properties)
        options = pulumi.ResourceOptions(parent=self, depends_on=depends_on, additional_secret_outputs=secret_outputs)
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

    def folder(self, service: str) -> str:
        """Where a service of this stack keeps its files, relative to the project root."""
        return stack_folder(pulumi.get_stack(), service)


class LocalResource(DynamicResource, module="slipway", name="Local"):
    """A dynamic resource with the named outputs besides its inputs."""

    provider: ResourceProvider
    computed: tuple[str, ...] = ()

    def __init__(self, name: str, /, *, opts: pulumi.ResourceOptions, **properties: Any) -> None:
        super().__init__(self.provider, name, {**dict.fromkeys(self.computed), **properties}, opts)

    def output(self, name: str) -> pulumi.Output[Any]:
        """An output, which is known once the resource is as it should be."""
        value: pulumi.Output[Any] = getattr(self, name)
        return value
