"""Markers in the state that refuse a rotation by more than one step.

The program cannot see the last generation, but the hook of a resource that keeps it can: Pulumi hands it the old
inputs with the new ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import pulumi
from pulumi import ResourceHook, ResourceHookArgs, ResourceHookBinding, ResourceHookOptions, Stash

from infra.component import Component
from infra.rotation import check_step
from infra.settings import Settings


def generations(settings: Settings) -> dict[str, int]:
    """The generations that a stack asks for, by their keys."""
    return {f"rotation.{name}": getattr(settings.rotation, name) for name in ("jwt", "db", "redis")}


@dataclass(frozen=True, kw_only=True)
class RotationMarkerArgs:
    """`generations` by setting (``rotation.jwt``); `after` is what must have taken them over first."""

    generations: Mapping[str, int]
    after: Sequence[pulumi.Resource] = field(default=())


class RotationMarker(Component):
    """Remembers generations, and fails preview and update when one moves by anything but one step up.

    A stack has two. The one for what is *requested* refuses jumps and steps back. The one for what is *applied* moves
    only after every service has the new credentials; it refuses a step that is taken before the last one was finished,
    which would renew the very login that the services still use. Creates: one record in the state. Costs: nothing.
    """

    kind: ClassVar[str] = "slipway:index:RotationMarker"

    def __init__(self, name: str, args: RotationMarkerArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(self.kind, name, opts, None)
        # Also in previews, so that nothing has changed yet when a step is refused.
        hook = ResourceHook(f"{name}-step", _refuse_jumps, ResourceHookOptions(on_dry_run=True))
        self.inner(
            "generations",
            Stash,
            {"input": dict(args.generations)},
            depends_on=list(args.after),
            hooks=ResourceHookBinding(before_update=[hook]),
        )
        self.finish({})


def _refuse_jumps(args: ResourceHookArgs) -> None:
    old, new = (args.old_inputs or {}).get("input", {}), (args.new_inputs or {}).get("input", {})
    for name in sorted(set(old) & set(new)):
        check_step(int(old[name]), int(new[name]), name=name)
