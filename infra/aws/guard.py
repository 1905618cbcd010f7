"""What holds data goes only with a dated permit.

Two locks. Pulumi's own ``protect`` refuses in the preview; a permit lifts it. The hook before the deletion then asks
again, on the day of the deletion and for what is really done: a permit that has run out, or one to replace when
something is deleted for good, refuses after all.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

import pulumi
from pulumi import ResourceHook, ResourceHookArgs, ResourceHookBinding, ResourceHookOptions

from infra.settings.platform import Permit

Action = Literal["delete", "replace"]

STATEFUL: Final = frozenset(
    {
        "aws:backup/vault:Vault",
        "aws:cloudwatch/logGroup:LogGroup",
        "aws:ecr/repository:Repository",
        "aws:elasticache/replicationGroup:ReplicationGroup",
        "aws:kms/key:Key",
        "aws:rds/instance:Instance",
        "aws:s3/bucket:Bucket",
        "aws:secretsmanager/secret:Secret",
    }
)
"""Types whose loss loses data. A secret's versions and generated passwords come and go with rotation, and are not."""


class GuardError(Exception):
    """Something that holds data would go, and nobody has permitted it."""

    user_facing = True


def today() -> datetime.date:
    """The day in UTC, by which permits run out."""
    return datetime.datetime.now(datetime.UTC).date()


@dataclass(frozen=True, kw_only=True)
class Guard:
    """The decision, without any resource."""

    permits: Sequence[Permit]
    stack: str
    day: Callable[[], datetime.date] = field(default=today)
    stateful: frozenset[str] = STATEFUL

    def permitted(self, name: str, action: Action) -> bool:
        """Whether a permit that has not run out allows it."""
        return any(permit.action == action for permit in self._valid(name))

    def lifts(self, name: str) -> bool:
        """Whether protection is to be lifted at all: the hook decides about what then happens."""
        return any(self._valid(name))

    def check(self, name: str, action: Action) -> None:
        """Raise GuardError unless it is permitted; the message says what to write."""
        if not self.permitted(name, action):
            raise GuardError(self._refusal(name, action))

    @property
    def expired(self) -> tuple[Permit, ...]:
        return tuple(permit for permit in self.permits if permit.until < self.day())

    def _valid(self, name: str) -> Iterable[Permit]:
        return (permit for permit in self.permits if permit.resource == name and permit.until >= self.day())

    def _refusal(self, name: str, action: Action) -> str:
        other = [permit for permit in self.permits if permit.resource == name]
        why = "".join(
            f" The permit to {permit.action} it "
            + (f"ran out on {permit.until}." if permit.until < self.day() else f"does not let anyone {action} it.")
            for permit in other
        )
        return (
            f"{name} holds data and would be {action}d.{why} Nothing was done to it. To keep it, undo the change that "
            f"asks for this. To let it go, add to Pulumi.{self.stack}.yaml under slipway:permits: "
            f"{{resource: {name}, action: {action}, until: '{self.day()}', reason: ...}}"
        )


def protect_stateful(guard: Guard) -> None:
    """Protect every stateful resource of the stack that is registered from here on.

    Call it once, before the first resource. The hooks exist even where nothing is protected: a resource in the state
    may name them from a time when it was.
    """
    for permit in guard.expired:
        pulumi.log.warn(
            f"The permit to {permit.action} {permit.resource} ran out on {permit.until}. Remove it from permits."
        )
    pulumi.runtime.register_stack_transformation(_Protection(guard).transformation)


def protect_nothing() -> None:
    """Register the hooks that protected resources of an earlier run may name, without refusing anything."""
    for name in (_REPLACING, _GOING):
        ResourceHook(name, _nothing, ResourceHookOptions(on_dry_run=True))


_REPLACING: Final = "stateful-guard-replacing"
_GOING: Final = "stateful-guard-going"


def _nothing(_: ResourceHookArgs) -> None:
    pass


class _Protection:
    """The hooks of one run of the program."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._successors: set[str] = set()
        on_preview = ResourceHookOptions(on_dry_run=True)
        self._hooks = ResourceHookBinding(
            before_create=[ResourceHook(_REPLACING, self._note_successor, on_preview)],
            before_delete=[ResourceHook(_GOING, self._refuse, on_preview)],
        )

    def transformation(self, args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        """Protect a stateful resource and bind the hooks to it. A component sets ``protect=False`` where nothing
        is lost with the resource: a read replica holds no data of its own."""
        if args.type_ not in self._guard.stateful or args.opts.protect is False:
            return None
        options = pulumi.ResourceOptions(
            protect=not self._guard.lifts(args.name),
            # The successor comes first: so that a replacement differs from a deletion for good.
            delete_before_replace=False,
            hooks=self._hooks,
        )
        return pulumi.ResourceTransformationResult(
            props=args.props, opts=pulumi.ResourceOptions.merge(args.opts, options)
        )

    def _note_successor(self, args: ResourceHookArgs) -> None:
        self._successors.add(args.urn)

    def _refuse(self, args: ResourceHookArgs) -> None:
        self._guard.check(args.name, "replace" if args.urn in self._successors else "delete")
