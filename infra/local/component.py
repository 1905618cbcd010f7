"""What the components of this target share."""

from __future__ import annotations

from typing import Any

import pulumi
from pulumi.dynamic import Resource as DynamicResource
from pulumi.dynamic import ResourceProvider

from infra.component import Component, Transforms
from infra.local.paths import stack_folder


class LocalComponent(Component):
    """A component of this target, whose services keep their files in the stack's folder."""

    def __init__(
        self, kind: str, name: str, opts: pulumi.ResourceOptions | None, transforms: Transforms | None
    ) -> None:
        super().__init__(f"slipway:local:{kind}", name, opts, transforms)

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
