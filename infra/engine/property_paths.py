"""Property paths as options name them: ``spec.containers[0].image``, ``tags["a.b"]``, ``*`` for any key or index."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from infra.engine.values import Secret

Path = tuple[str | int, ...]

_PART = re.compile(r"""\[(\d+)\]|\[\*\]|\["((?:[^"\\]|\\.)*)"\]|\.?([^.\["]+)""")


def parse_path(text: str) -> Path:
    """Raises ValueError on a text that is no path."""
    parts: list[str | int] = []
    position = 0
    while position < len(text):
        match = _PART.match(text, position)
        if match is None:
            raise ValueError(f"{text!r} is no property path")
        index, quoted, plain = match.groups()
        if index is not None:
            parts.append(int(index))
        elif quoted is not None:
            parts.append(quoted.replace('\\"', '"'))
        else:
            parts.append(plain if plain is not None else "*")
        position = match.end()
    if not parts:
        raise ValueError("a property path is empty")
    return tuple(parts)


def render_path(path: Sequence[str | int]) -> str:
    """The reverse of `parse_path`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.search(r'[.\["\]]', part):
            text += f"""["{part.replace('"', chr(92) + '"')}"]"""
        else:
            text += f".{part}" if text else part
    return text


def covers(pattern: Path, path: Path) -> bool:
    """Whether a change at `path` is one that `pattern` speaks of: the same place or one inside it."""
    return len(pattern) <= len(path) and all(a in ("*", b) for a, b in zip(pattern, path, strict=False))


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
