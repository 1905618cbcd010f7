"""Config keys as they are typed: ``api.replicas``, ``cors_origins[0]``, ``tags["cost.centre"]``, ``aws:region``."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping, MutableSequence
from typing import Any

from infra.cli.exits import CommandError, UsageError

Path = tuple[str | int, ...]

_PART = re.compile(r"""(?:^|\.)(?P<name>[^.\[\]"]+)|\[(?P<index>\d+)\]|\[?"(?P<quoted>[^"]+)"\]?""")


def parse(text: str, *, project: str) -> Path:
    """The steps to a value in a stack's config section; the first is the full key (``slipway:api``)."""
    steps: list[str | int] = []
    at = 0
    while at < len(text):
        found = _PART.match(text, at)
        if found is None:
            raise UsageError(f'{text!r} is not a key: write it as api.replicas, cors_origins[0] or tags["a.b"]')
        steps.append(int(found["index"]) if found["index"] else found["name"] or found["quoted"])
        at = found.end()
    if not steps or not isinstance(steps[0], str):
        raise UsageError(f"{text!r} is not a key: it must start with a name, as in api.replicas")
    first = steps[0] if ":" in steps[0] else f"{project}:{steps[0]}"
    return (first, *steps[1:])


def get(tree: Any, path: Path) -> Any:
    """The value at `path`; raises KeyError when there is none."""
    for step in path:
        if isinstance(step, int):
            if not isinstance(tree, list) or step >= len(tree):
                raise KeyError(step)
            tree = tree[step]
        else:
            if not isinstance(tree, MutableMapping):
                raise KeyError(step)
            tree = tree[step]
    return tree


def put(tree: MutableMapping[str, Any], path: Path, value: Any) -> None:
    """Set the value at `path` and make the maps and lists that lead to it; raises CommandError when they cannot be."""
    node: Any = tree
    for step, following in zip(path, (*path[1:], None), strict=True):
        node = _place(node, step, path)
        last = following is None
        if last:
            node[step] = value
            return
        if node[step] is None:
            node[step] = [] if isinstance(following, int) else {}
        node = node[step]


def remove(tree: MutableMapping[str, Any], path: Path) -> bool:
    """Remove the value at `path`, and the maps and lists that are empty without it; whether there was one."""
    try:
        get(tree, path)
    except KeyError:
        return False
    for length in range(len(path), 0, -1):
        parent = get(tree, path[: length - 1])
        del parent[path[length - 1]]
        if parent:
            break
    return True


def leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every scalar, list or secure value below `value`, with its key as one would type it."""
    if isinstance(value, dict) and value and set(value) != {"secure"}:
        for name, item in value.items():
            yield from leaves(item, f'{path}["{name}"]' if "." in name else f"{path}.{name}")
    else:
        yield path, value


def _place(node: Any, step: str | int, path: Path) -> Any:
    """`node` with room for `step` in it."""
    if isinstance(step, int):
        if not isinstance(node, MutableSequence):
            raise CommandError(f"{spell(path)}: [{step}] needs a list there, and there is {_kind(node)}")
        if step > len(node):
            raise CommandError(f"{spell(path)}: the list has {len(node)} items; the next one is [{len(node)}]")
        if step == len(node):
            node.append(None)
    else:
        if not isinstance(node, MutableMapping):
            raise CommandError(f"{spell(path)}: {step!r} needs a map there, and there is {_kind(node)}")
        node.setdefault(step, None)
    return node


def spell(path: Path) -> str:
    """The path as one would type it, with its namespace."""
    text = str(path[0])
    for step in path[1:]:
        text += f"[{step}]" if isinstance(step, int) else f'["{step}"]' if "." in step else f".{step}"
    return text


def _kind(node: Any) -> str:
    if isinstance(node, MutableMapping):
        return "a map"
    return "a list" if isinstance(node, MutableSequence) else "a single value"
