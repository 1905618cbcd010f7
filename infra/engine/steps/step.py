"""Which step brings a resource to its goal: nothing, a change in place, or a replacement; and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from infra.engine.display.events import Change
from infra.engine.errors import EngineError
from infra.engine.providers.base import DiffResult
from infra.engine.providers.client import ProviderClient
from infra.engine.state.snapshot import ResourceState
from infra.engine.steps.diff import Difference, compare, describe, keep_old
from infra.engine.urns import is_default_provider, package_of, parse_urn, provider_urn
from infra.engine.values import has_secret, has_unknown, same_value
from infra.property_paths import Path, covers, parse_path, render_path


@dataclass(frozen=True, kw_only=True)
class Step:
    op: Literal["same", "create", "update", "replace"]
    changes: tuple[Change, ...] = ()
    reason: str = ""
    delete_before_replace: bool = False
    """For a replacement: the old resource goes before the new one is made."""


def apply_ignore_changes(new: ResourceState, old: ResourceState, ignored: Sequence[str]) -> dict[str, Any]:
    """The new inputs with the properties that are to be ignored as they were."""
    inputs: Any = dict(new.inputs)
    for text in ignored:
        inputs = keep_old(_path(text, "ignore_changes", new), inputs, old.inputs)
    return dict(inputs)


def choose_step(
    *,
    old: ResourceState,
    new: ResourceState,
    client: ProviderClient,
    delete_before_replace: bool | None,
    replaced: frozenset[str],
    pending: str | None,
) -> Step:
    """Compare a resource with its old self; `new.inputs` are checked. `replaced` has the URNs replaced in this run.

    `pending` is what a run that was cut short was doing to it.
    """
    forced = forced_replacement(old, new, replaced)
    # The provider is asked even about equal inputs: it may see that what it made is no longer there.
    diff = DiffResult(changes=True) if forced else client.diff(old, new.inputs)
    differences = compare(old.inputs, new.inputs)
    replaces = [_path(text, "replaces", new) for text in diff.replaces]
    replaces += [
        pattern
        for text in new.extra.get("replaceOnChanges", ())
        if any(covers(pattern := _path(text, "replace_on_changes", new), item.path) for item in differences)
    ]
    hidden = [_path(text, "hide_diffs", new) for text in new.extra.get("hideDiff", ())]
    changes = describe(differences, replaces=replaces, hidden=hidden)
    changed = bool(differences) if diff.changes is None else diff.changes or bool(diff.replaces)
    if forced or (changed and replaces):
        first = diff.delete_before_replace if delete_before_replace is None else delete_before_replace
        reason = forced or _replacement_reason(replaces, differences)
        return Step(op="replace", changes=changes, reason=reason, delete_before_replace=first)
    unfinished = _unfinished(old, pending)
    if changed or unfinished:
        reason = unfinished or ("" if differences else "its provider reports that it is not as recorded")
        return Step(op="update", changes=changes, reason=reason)
    return Step(op="same")


def forced_replacement(old: ResourceState, new: ResourceState, replaced: frozenset[str]) -> str:
    """Why the resource must be replaced whatever its properties say; empty when it need not."""
    if old.pending_replacement:
        return "its former self is deleted already"
    if old.extra.get("taint"):
        return "it is marked for replacement"
    if _trigger_changed(new.extra.get("replacementTrigger"), old.extra.get("replacementTrigger")):
        return "its replacement trigger changed"
    for urn in (*new.extra.get("replaceWith", ()), *filter(None, [new.extra.get("deletedWith")])):
        if urn in replaced:
            return f"{parse_urn(urn).name} is replaced"
    if _provider_changed(old.provider, new.provider):
        return "its provider changed"
    return ""


def check_options(new: ResourceState) -> None:
    """Raises EngineError on options that this engine cannot honour."""
    if has_secret(new.extra.get("replacementTrigger")):
        # The trigger is kept as it is, beside the properties, where nothing would encrypt it.
        raise EngineError(f"{parse_urn(new.urn).name}: replacement_trigger is a secret: give a value made from a hash")


def _trigger_changed(new: Any, old: Any) -> bool:
    if has_unknown(new):
        return True
    return new is not None and old is not None and not same_value(new, old)


def _provider_changed(old: str | None, new: str | None) -> bool:
    """Between default providers a resource moves freely: they differ only in the SDK's version."""
    if old is None or new is None or provider_urn(old) == provider_urn(new):
        return False
    both_default = is_default_provider(provider_urn(old)) and is_default_provider(provider_urn(new))
    same_package = package_of(parse_urn(provider_urn(old)).type) == package_of(parse_urn(provider_urn(new)).type)
    return not (both_default and same_package)


def _replacement_reason(replaces: Sequence[Path], differences: Sequence[Difference]) -> str:
    unseen = [path for path in replaces if not any(covers(path, item.path) for item in differences)]
    if not unseen or len(unseen) < len(replaces):
        return ""
    return f"its provider asks for it because of {', '.join(render_path(path) for path in unseen)}"


def _unfinished(old: ResourceState, pending: str | None) -> str:
    if old.init_errors:
        return f"the last change failed: {old.init_errors[0].splitlines()[0]}"
    return "the last change was cut short" if pending == "updating" else ""


def _path(text: str, option: str, state: ResourceState) -> Path:
    try:
        return parse_path(text)
    except ValueError as error:
        raise EngineError(f"{parse_urn(state.urn).name}: {option}: {error}") from None
