"""What the components of this target share."""

from __future__ import annotations

import pulumi

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
