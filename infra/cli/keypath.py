"""Config keys as they are typed: ``api.replicas``, ``cors_origins[0]``, ``tags["cost.centre"]``, ``aws:region``."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping, MutableSequence
from typing import Any

from infra.cli.exits import CommandError, UsageError
from infra.property_paths import Path, parse_path, render_path


def parse(text: str, *, project: str) -> Path:
    """The steps to a value in a stack's config section; the first is the full key (``slipway:api``)."""
    try:
        first, *steps = parse_path(text)
    except ValueError:
        raise UsageError(f'{text!r} is not a key: write it as api.replicas, cors_origins[0] or tags["a.b"]') from None
    if not isinstance(first, str) or "*" in (first, *steps):
        raise UsageError(f"{text!r} is not a key: it must start with a name, as in api.replicas")
    return (first if ":" in first else f"{project}:{first}", *steps)


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
    """Set the value at `path` and make the maps and lists that lead to it; raises CommandError when they cannot be.

    In a tree that was read from a file each comment stays above the key that it stood above.
    """
    from ruamel.yaml.comments import CommentedMap, CommentedSeq

    from infra.engine.project import yaml_comments

    node: Any = tree
    comment, end = "", len(path) - 1
    for at, step in enumerate(path):
        _check(node, step, path)
        before = _last_key(node)
        if not _has(node, step):
            if before is not None:
                comment = yaml_comments.take(node, before)
            _add(node, step)
        if at == end:
            # The value that is replaced may be one after which a comment stands.
            comment = comment or yaml_comments.take(node, step)
            node[step] = value
            yaml_comments.give(node, step, comment)
        elif node[step] is None:
            node[step] = CommentedSeq() if isinstance(path[at + 1], int) else CommentedMap()
        node = node[step]


def remove(tree: MutableMapping[str, Any], path: Path) -> bool:
    """Remove the value at `path`, and the maps and lists that are empty without it; whether there was one."""
    from infra.engine.project import yaml_comments

    try:
        get(tree, path)
    except KeyError:
        return False
    while len(path) > 1 and len(get(tree, path[:-1])) == 1:
        path = path[:-1]
    parent, key = get(tree, path[:-1]), path[-1]
    comment = yaml_comments.take(parent, key)
    keys = list(parent) if isinstance(parent, MutableMapping) else list(range(len(parent)))
    place = keys.index(key)
    if place > 0:
        yaml_comments.give(parent, keys[place - 1], comment)
    elif comment and len(keys) > 1 and isinstance(keys[1], str):
        text = "\n".join(line.strip().removeprefix("#").removeprefix(" ") for line in comment.splitlines())
        parent.yaml_set_comment_before_after_key(keys[1], before=text, indent=parent.lc.key(keys[1])[1])
    del parent[key]
    return True


def leaves(value: Any, *path: str | int) -> Iterator[tuple[str, Any]]:
    """Every scalar, list or secure value below `value`, with its key as one would type it."""
    if isinstance(value, dict) and value and set(value) != {"secure"}:
        for name, item in value.items():
            yield from leaves(item, *path, name)
    else:
        yield render_path(path), value


def _check(node: Any, step: str | int, path: Path) -> None:
    """Raise CommandError when `node` has no room for `step`."""
    if isinstance(step, int):
        if not isinstance(node, MutableSequence):
            raise CommandError(f"{render_path(path)}: [{step}] needs a list there, and there is {_kind(node)}")
        if step > len(node):
            raise CommandError(f"{render_path(path)}: the list has {len(node)} items; the next one is [{len(node)}]")
    elif not isinstance(node, MutableMapping):
        raise CommandError(f"{render_path(path)}: {step!r} needs a map there, and there is {_kind(node)}")


def _last_key(node: Any) -> str | int | None:
    if not node:
        return None
    return next(reversed(node)) if isinstance(node, MutableMapping) else len(node) - 1


def _has(node: Any, step: str | int) -> bool:
    return step < len(node) if isinstance(step, int) else step in node


def _add(node: Any, step: str | int) -> None:
    if isinstance(step, int):
        node.append(None)
    else:
        node[step] = None


def _kind(node: Any) -> str:
    if isinstance(node, MutableMapping):
        return "a map"
    return "a list" if isinstance(node, MutableSequence) else "a single value"
