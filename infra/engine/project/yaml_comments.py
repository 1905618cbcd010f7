"""Keeps a comment line with the key that it stands above.

The parser hangs a comment line on the value before it, not on the key below it. A key that is added after that value
would come to stand below the comment, and one that is removed would take the next key's comment with it.
"""

from __future__ import annotations

from typing import Any

from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import CommentMark
from ruamel.yaml.tokens import CommentToken


def take(node: Any, key: str | int) -> str:
    """Take away and return the comment lines below the value at `node[key]`; a comment on its own line stays."""
    place = _last_leaf(node, key)
    slot = _slot(*place) if place else None
    if slot is None or (token := slot[0][slot[1]]) is None:
        return ""
    own, _, following = token.value.partition("\n")
    if own:
        token.value = f"{own}\n"
    else:
        slot[0][slot[1]] = None
    return str(following)


def give(node: Any, key: str | int, lines: str) -> None:
    """Put comment lines after the value at `node[key]`."""
    place = _last_leaf(node, key)
    if not lines or place is None:
        return
    holder, last = place
    slot = _slot(holder, last)
    if slot is None:
        holder.ca.items[last] = [None, None, None, None]
        slot = _slot(holder, last)
    assert slot is not None
    token = slot[0][slot[1]]
    if token is None:
        slot[0][slot[1]] = CommentToken(f"\n{lines}", start_mark=CommentMark(0))
    else:
        token.value += lines


def _last_leaf(node: Any, key: str | int) -> tuple[Any, str | int] | None:
    """The container and key of the last value, in the order of the text, within `node[key]`."""
    while isinstance(node, CommentedMap | CommentedSeq):
        value = node[key]
        if not isinstance(value, CommentedMap | CommentedSeq) or not value or value.fa.flow_style():
            return node, key
        node, key = value, next(reversed(value)) if isinstance(value, CommentedMap) else len(value) - 1
    return None


def _slot(node: Any, key: str | int) -> tuple[list[Any], int] | None:
    """Where the comment after the value at `node[key]` is kept: a list and the index in it."""
    slots = node.ca.items.get(key)
    if slots is None:
        return None
    return slots, 0 if isinstance(node, CommentedSeq) else 2
