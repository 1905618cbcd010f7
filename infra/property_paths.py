"""Property paths, as options and config keys name them: ``spec.containers[0].image``, ``tags["a.b"]``.

In an option ``*`` stands for any key or index.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

Path = tuple[str | int, ...]

_PART = re.compile(r"""\[(\d+)\]|\[\*\]|\["((?:[^"\\]|\\.)*)"\]|\.?([^.\["\]]+)""")


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
