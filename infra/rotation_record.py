"""Records in the state that refuse a rotation by more than one step, or before the last one has run its course.

The program cannot see the last generation, but the hook of a resource that keeps it can: Pulumi hands it the old
inputs with the new ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar, Final

import pulumi
from pulumi import ResourceHook, ResourceHookArgs, ResourceHookBinding, ResourceHookOptions, Stash

from infra import signing_keys
from infra.component import Component
from infra.rotation import RotationError, check_step, key_id
from infra.settings import Settings
from infra.settings.platform import Rotation
from infra.signing_keys import SigningKeysRecord

CLOCKS: Final = timedelta(minutes=5)
"""How far the clock of who deploys may be from those of the servers that sign and check tokens."""


_KEYS: Final = tuple(name for name in Rotation.model_fields if name != "jwt_min")


def generations(settings: Settings) -> dict[str, int]:
    """The generations that a stack asks for, by their keys."""
    return {f"rotation.{name}": getattr(settings.rotation, name) for name in _KEYS}


@dataclass(frozen=True, kw_only=True)
class SigningKeys:
    """What the settings say of the keys that sign tokens."""

    generation: int
    token_life: int
    """Seconds that the longest-lived token is good for."""
    floor: int | None = None
    """Oldest generation that is still to verify: older ones are dropped on purpose."""

    @classmethod
    def of(cls, settings: Settings) -> SigningKeys:
        life = max(settings.jwt.refresh_expires_in, settings.jwt.access_expires_in)
        return cls(
            generation=settings.rotation.jwt,
            token_life=int(life.total_seconds()),
            floor=settings.rotation.jwt_min,
        )

    def check(self, known: Mapping[str, Any], at: datetime) -> str | None:
        """Raise RotationError when a step would drop a key whose tokens may live at the time `at`.

        `known` are the outputs of the record before the step; without any, the time of the last step is not known.
        Where `floor` drops the key on purpose nothing is refused, and what it costs is returned.
        """
        dropped, last = self.generation - 2, self.generation - 1
        if dropped < 1 or not (reason := self._early(known, at)):
            return None
        what = f"rotation.jwt goes from {last} to {self.generation}, which drops key {key_id(dropped)}, {reason}."
        if self.floor is not None and self.floor > dropped:
            return f"{what} rotation.jwt_min is {self.floor}, so it is done: whoever holds such a token is logged out."
        first = "and run up, which notes the time" if not known else "until then"
        started = f" or where an up with {self.generation} has begun," if not known else ""
        raise RotationError(
            f"{what} Set rotation.jwt to {last} {first}. To insist, as after a leak,{started} set rotation.jwt_min to "
            f"{last}: whoever holds such a token is then logged out."
        )

    def _early(self, known: Mapping[str, Any], at: datetime) -> str:
        """Why tokens of the dropped key may live; empty when none does."""
        if not known:
            return (
                "and this state does not say since when nothing is signed with it, which may be less than "
                f"{_span(self.token_life)}"
            )
        until, stepped = _read(known.get("earlier_until")), _read(known.get("stepped"))
        if int(known["generation"]) == self.generation or until is None or at >= until + CLOCKS:
            return ""
        arrived = f": the last step arrived on {_said(stepped)}" if stepped else ""
        wrong = f", and the clock of this machine says {_said(at)}" if stepped and at < stepped else ""
        # The next full minute: a step at the time that is named is not refused again.
        ends = until + CLOCKS + timedelta(seconds=59)
        return f"whose tokens may live until {_said(ends)}{arrived}{wrong}"


@dataclass(frozen=True, kw_only=True)
class RotationRecordArgs:
    """`generations` by setting (``rotation.jwt``); `after` is what must have taken them over first. `signing` has the
    times of the signing key's steps kept too."""

    generations: Mapping[str, int]
    signing: SigningKeys | None = None
    after: Sequence[pulumi.Resource] = field(default=())


class RotationRecord(Component):
    """Remembers generations, and fails preview and update when one moves by anything but one step up.

    A stack has two. The one for what is *requested* refuses jumps and steps back. The one for what is *applied* moves
    only after every service has the new credentials; it refuses a step that is taken before the last one was finished,
    which would renew the very login that the services still use. That one also keeps since when no earlier key signs,
    and refuses the step that would drop a key whose tokens still live. Creates: one or two records in the state.
    Costs: nothing.
    """

    kind: ClassVar[str] = "slipway:index:RotationMarker"

    def __init__(self, name: str, args: RotationRecordArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__(self.kind, name, opts, None)
        # Also in previews, so that nothing has changed yet when a step is refused.
        on_preview = ResourceHookOptions(on_dry_run=True)
        self._steps: set[str] = set()
        hook = ResourceHook(f"{name}-step", self._refuse_jumps, on_preview)
        kept = self.inner(
            "generations",
            Stash,
            {"input": dict(args.generations)},
            depends_on=list(args.after),
            hooks=ResourceHookBinding(before_update=[hook]),
        )
        if args.signing is not None:
            self._keep_times(name, args.signing, kept, on_preview)
        self.finish({})

    def _keep_times(self, name: str, keys: SigningKeys, kept: Stash, on_preview: ResourceHookOptions) -> None:
        def refuse_early(call: ResourceHookArgs) -> None:
            # A record that is made together with a step is of a stack from before there were any.
            if call.old_inputs or "rotation.jwt" in self._steps:
                notice = keys.check(call.old_outputs or {}, signing_keys.now())
                if notice:
                    pulumi.log.warn(notice)

        hook = ResourceHook(f"{name}-early", refuse_early, on_preview)
        self.inner(
            "signing-keys",
            SigningKeysRecord,
            {"generation": keys.generation, "token_life": keys.token_life},
            depends_on=[kept],
            hooks=ResourceHookBinding(before_create=[hook], before_update=[hook]),
        )

    def _refuse_jumps(self, args: ResourceHookArgs) -> None:
        old, new = (args.old_inputs or {}).get("input", {}), (args.new_inputs or {}).get("input", {})
        for name in sorted(new):
            # What a record does not name yet had one generation only when it was written.
            before, after = int(old.get(name, 1)), int(new[name])
            check_step(before, after, name=name)
            if after != before:
                self._steps.add(name)


def _read(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None


def _said(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _span(seconds: int) -> str:
    return f"{seconds // 86_400} days" if seconds >= 2 * 86_400 else f"{max(1, -(-seconds // 60))} minutes"
