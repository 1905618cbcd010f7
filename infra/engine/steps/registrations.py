"""Resolves a registration: its URN, what it inherits from its parent, and the resource of the last run that it was."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace

from infra.engine.errors import EngineError
from infra.engine.program.monitor import Target
from infra.engine.program.registration import Alias, RegisteredTwiceError, Registration
from infra.engine.state.snapshot import ResourceState
from infra.engine.state.snapshot_manager import SnapshotManager
from infra.engine.urns import STACK_TYPE, is_default_provider, make_urn, package_of, parse_urn, provider_urn


@dataclass(frozen=True, kw_only=True)
class ResolvedRegistration:
    """`old_urn` is other than `urn` where the resource has been renamed."""

    urn: str
    goal: Registration
    """As registered, with what it inherits from its parent."""
    old: ResourceState | None
    old_urn: str


class Registrations:
    """The registrations of one run; safe for several threads."""

    def __init__(self, target: Target, snapshots: SnapshotManager) -> None:
        self._stack = target.stack
        self._project = target.project
        self._snapshots = snapshots
        self._lock = threading.Lock()
        self._goals: dict[str, Registration] = {}
        self._former: dict[str, str] = {}
        """The URN of the last run by the URN of this one, for renamed resources."""
        self._claimed: dict[str, str] = {}

    def resolve(self, goal: Registration) -> ResolvedRegistration:
        """Raises EngineError when the program registers a resource twice, or two claim the same former one."""
        with self._lock:
            goal = self._inherit(goal)
            urn = self._urn(goal)
            if urn in self._goals:
                raise RegisteredTwiceError(goal)
            if urn in self._claimed:
                raise EngineError(
                    f"{goal.type} {goal.name!r} is claimed as a former name by {self._claimed[urn]}: "
                    "remove that alias or rename this resource"
                )
            self._goals[urn] = goal
            old, old_urn = self._find_old(goal, urn)
            return ResolvedRegistration(urn=urn, goal=goal, old=old, old_urn=old_urn)

    def find(self, urn: str) -> Registration | None:
        with self._lock:
            return self._goals.get(urn)

    def _urn(self, goal: Registration) -> str:
        return make_urn(stack=self._stack, project=self._project, parent=goal.parent, type_=goal.type, name=goal.name)

    def _inherit(self, goal: Registration) -> Registration:
        parent = self._goals.get(goal.parent or "")
        if parent is None:
            return goal
        provider = goal.provider
        if provider is None and parent.provider and not is_default_provider(provider_urn(parent.provider)):
            ours = not goal.custom or package_of(parse_urn(provider_urn(parent.provider)).type) == goal.package
            provider = parent.provider if ours else None
        return replace(
            goal,
            protect=parent.protect if goal.protect is None else goal.protect,
            retain_on_delete=parent.retain_on_delete if goal.retain_on_delete is None else goal.retain_on_delete,
            deleted_with=goal.deleted_with or parent.deleted_with,
            provider=provider,
        )

    def _find_old(self, goal: Registration, urn: str) -> tuple[ResourceState | None, str]:
        for candidate in (urn, *self._former_urns(goal)):
            old = self._snapshots.old(candidate)
            if old is None and candidate not in self._claimed:
                continue
            if candidate != urn:
                self._claim(candidate, urn)
            if old is not None:
                return old, candidate
        return None, urn

    def _claim(self, former: str, urn: str) -> None:
        claimant = self._claimed.get(former)
        if former in self._goals or claimant is not None:
            owner = claimant or "a resource that the program registers"
            raise EngineError(f"{urn} has the alias {former}, which belongs to {owner}: an alias can be used once")
        self._claimed[former] = urn
        self._former[urn] = former
        self._snapshots.rename(former, urn)

    def _former_urns(self, goal: Registration) -> Iterator[str]:
        yield from (self._alias_urn(alias, goal) for alias in goal.aliases)
        former_parent = self._former.get(goal.parent or "")
        if former_parent is None or goal.parent is None:
            return
        # A renamed component takes its children along, also those named after it.
        yield self._child_urn(goal.type, goal.name, goal.parent, former_parent)
        for alias in goal.aliases:
            own = parse_urn(self._alias_urn(alias, goal))
            yield self._child_urn(own.type, own.name, goal.parent, former_parent)

    def _child_urn(self, type_: str, name: str, parent: str, former_parent: str) -> str:
        parent_name, former_name = parse_urn(parent).name, parse_urn(former_parent).name
        if name.startswith(parent_name):
            name = former_name + name.removeprefix(parent_name)
        return make_urn(stack=self._stack, project=self._project, parent=former_parent, type_=type_, name=name)

    def _alias_urn(self, alias: Alias, goal: Registration) -> str:
        if alias.urn is not None:
            return alias.urn
        parent: str | None = goal.parent
        if alias.no_parent:
            parent = None
        elif alias.parent:
            parent = self._former.get(alias.parent, alias.parent)
        if parent and parse_urn(parent).type == STACK_TYPE:
            parent = None
        return make_urn(
            stack=alias.stack or self._stack,
            project=alias.project or self._project,
            parent=parent,
            type_=alias.type or goal.type,
            name=alias.name or goal.name,
        )


def state_of(resolved: ResolvedRegistration, *, provider: str | None) -> ResourceState:
    """The resource's state as the program wants it; id and outputs are still those of its old self, if any."""
    goal, old = resolved.goal, resolved.old
    extra = dict(old.extra) if old else {}
    options = {
        "deletedWith": goal.deleted_with,
        "replaceWith": list(goal.replace_with),
        "ignoreChanges": list(goal.ignore_changes),
        "hideDiff": list(goal.hide_diffs),
        "replaceOnChanges": list(goal.replace_on_changes),
        "replacementTrigger": goal.replacement_trigger,
        "resourceHooks": {kind: list(names) for kind, names in goal.hooks.items()},
        "aliases": [resolved.old_urn] if resolved.old_urn != resolved.urn else [],
        "taint": None,
    }
    for key, value in options.items():
        if value in (None, [], {}):
            extra.pop(key, None)
        else:
            extra[key] = value
    return ResourceState(
        urn=resolved.urn,
        type=goal.type,
        custom=goal.custom,
        id=old.id if old else None,
        inputs=dict(goal.inputs),
        outputs=dict(old.outputs) if old else {},
        parent=goal.parent,
        # Sorted: the SDK sends sets, and an order that varies by run would show up as a change of the state.
        dependencies=sorted(goal.dependencies),
        property_dependencies={key: sorted(urns) for key, urns in sorted(goal.property_dependencies.items())},
        provider=provider,
        additional_secret_outputs=list(goal.additional_secret_outputs),
        protect=bool(goal.protect),
        retain_on_delete=bool(goal.retain_on_delete),
        init_errors=[],
        custom_timeouts=dict(goal.custom_timeouts),
        created=old.created if old else None,
        modified=old.modified if old else None,
        extra=extra,
    )
