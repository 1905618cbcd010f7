"""What differs between two property maps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.engine.display.events import Change, ChangeKind
from infra.engine.values import Secret, mask, reveal, same_value
from infra.property_paths import Path, covers, render_path


@dataclass(frozen=True)
class Difference:
    """One place that differs. Values are not masked: they never leave the engine in this form."""

    path: Path
    kind: ChangeKind
    old: Any
    new: Any


def compare(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[Difference]:
    """The differences at their deepest places. A secret counts as one place; marks alone make no difference."""
    return list(_compare((), dict(old), dict(new)))


def _compare(path: Path, old: Any, new: Any) -> Iterator[Difference]:
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new}):
            yield from _entry((*path, key), key in old, old.get(key), key in new, new.get(key))
    elif isinstance(old, list) and isinstance(new, list):
        for i in range(max(len(old), len(new))):
            has_old, has_new = i < len(old), i < len(new)
            yield from _entry((*path, i), has_old, old[i] if has_old else None, has_new, new[i] if has_new else None)
    elif not same_value(reveal(old), reveal(new)):
        yield Difference(path, "update", old, new)


def _entry(path: Path, has_old: bool, old: Any, has_new: bool, new: Any) -> Iterator[Difference]:
    if not has_old:
        yield Difference(path, "add", None, new)
    elif not has_new:
        yield Difference(path, "delete", old, None)
    elif isinstance(old, Secret) or isinstance(new, Secret):
        if not same_value(reveal(old), reveal(new)):
            # A secret on either side hides both: the old value may be what the new one was made from.
            yield Difference(path, "update", Secret(reveal(old)), Secret(reveal(new)))
    else:
        yield from _compare(path, old, new)


def describe(
    differences: Sequence[Difference], *, replaces: Sequence[Path] = (), hidden: Sequence[Path] = ()
) -> tuple[Change, ...]:
    """The differences for display: masked, and marked where they force a replacement. `hidden` places are left out."""
    return tuple(
        Change(
            path=render_path(difference.path),
            kind=difference.kind,
            old=mask(difference.old),
            new=mask(difference.new),
            forces_replacement=any(covers(path, difference.path) for path in replaces),
        )
        for difference in differences
        if not any(covers(path, difference.path) for path in hidden)
    )


def keep_old(path: Path, new: Any, old: Any) -> Any:
    """`new` with what stands at `path` as it is in `old`; a place that `old` does not have goes away."""
    if isinstance(new, Secret):
        return Secret(keep_old(path, new.value, old))
    if isinstance(old, Secret):
        old = old.value
    head, rest = path[0], path[1:]
    if isinstance(new, dict) and isinstance(old, dict):
        keys = sorted({*new, *old}) if head == "*" else [str(head)]
        result = dict(new)
        for key in keys:
            _keep_key(result, key, rest, old)
        return result
    if isinstance(new, list) and isinstance(old, list):
        shared = range(min(len(new), len(old)))
        indexes = shared if head == "*" else [head] if head in shared else []
        return [
            (keep_old(rest, item, old[i]) if rest else old[i]) if i in indexes else item for i, item in enumerate(new)
        ]
    return new


def _keep_key(result: dict[str, Any], key: str, rest: Path, old: dict[str, Any]) -> None:
    if not rest:
        if key in old:
            result[key] = old[key]
        else:
            result.pop(key, None)
    elif key in result and key in old:
        result[key] = keep_old(rest, result[key], old[key])
