"""What may stand in a file of ours, checked on its parsed nodes, where each still has its place and its own text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from ruamel.yaml.error import StringMark
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode

from infra.engine.project import yaml_scalars
from infra.property_paths import Path, render_path

_TAG: Final = "tag:yaml.org,2002:"
_KINDS: Final[dict[str, yaml_scalars.Kind]] = {
    f"{_TAG}int": "number",
    f"{_TAG}float": "number",
    f"{_TAG}timestamp": "date",
    f"{_TAG}bool": "bool",
    f"{_TAG}null": "null",
    f"{_TAG}str": "text",
}
_MOST_VALUES: Final = 20_000
"""Aliases of aliases multiply: ten lines stood for a billion values, and reading them took a minute and all memory."""
_MOST_LEVELS: Final = 50


class Unreadable(Exception):
    """One thing that may not stand in the file, and where."""

    def __init__(self, message: str, mark: StringMark | None) -> None:
        super().__init__(message)
        self.mark = mark


class Ambiguous(Exception):
    """Unquoted words that do not mean one thing to all. Each problem starts with its place, as ``:4:12: api.port``."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def check(root: Any, resolver: Any) -> None:
    """Raise Unreadable for what no reader of the file can mean: tags, endless or huge structures, odd keys."""
    _Structure(resolver).size(root, level=0)


def check_words(root: Any, resolver: Any, *, section: str) -> None:
    """Raise Ambiguous with every unquoted word below the key `section`, or below the root where it is empty."""
    problems = []
    for steps, scalar, is_name in _scalars(_section(root, section) if section else root, ()):
        path = render_path(steps)
        found = yaml_scalars.problem(scalar.value, ours=_KINDS.get(scalar.tag), is_name=is_name)
        if found and _implicit(scalar, resolver):
            mark = scalar.start_mark
            place = f":{mark.line + 1}:{mark.column + 1}: {path}{': ' if path else ''}"
            if "secret" in path.lower():
                problems.append(f"{place}[secret] {found}: for a text write it in quotes")
            else:
                problems.append(f'{place}{scalar.value} {found}: for a text write it in quotes, "{scalar.value}"')
    if problems:
        raise Ambiguous(problems)


class _Structure:
    """Counts what a tree comes to with its aliases written out."""

    def __init__(self, resolver: Any) -> None:
        self._resolver = resolver
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def size(self, node: Any, *, level: int) -> int:
        if (known := self._sizes.get(id(node))) is not None:
            return known
        if id(node) in self._open:
            raise Unreadable("an alias stands inside what it stands for, without end", node.start_mark)
        if level > _MOST_LEVELS:
            raise Unreadable(f"more than {_MOST_LEVELS} levels of maps and lists", node.start_mark)
        self._check_tag(node)
        self._open.add(id(node))
        size = 1 + sum(self.size(child, level=level + 1) for child in _children(node))
        self._open.discard(id(node))
        if size > _MOST_VALUES:
            raise Unreadable(f"more than {_MOST_VALUES} values, with the aliases written out", node.start_mark)
        self._sizes[id(node)] = size
        return size

    def _check_tag(self, node: Any) -> None:
        if isinstance(node, ScalarNode):
            plain = _implicit(node, self._resolver)
            written = None if plain or node.tag == f"{_TAG}str" else node.tag
        else:
            written = None if node.tag in (f"{_TAG}map", f"{_TAG}seq") else node.tag
        if written:
            shown = str(written).replace(_TAG, "!!")
            raise Unreadable(f"the tag {shown} has no place here: leave it out; a text goes in quotes", node.start_mark)


def _children(node: Any) -> Iterator[Any]:
    if isinstance(node, SequenceNode):
        yield from node.value
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                raise Unreadable("a key must be a name, not a map or a list", key.start_mark)
            yield key
            yield value


def _implicit(node: Any, resolver: Any) -> bool:
    """Whether the scalar stands unquoted and without a tag, so that its own form decides what it is."""
    if node.style is not None:
        return False
    return bool(node.tag == resolver.resolve(ScalarNode, node.value, (True, False)))


def _section(root: Any, name: str) -> Any:
    pairs = root.value if isinstance(root, MappingNode) else ()
    return next((value for key, value in pairs if key.value == name), None)


def _scalars(node: Any, path: Path) -> Iterator[tuple[Path, Any, bool]]:
    """Every scalar below `node`, with its path, and whether it is a key."""
    if isinstance(node, ScalarNode):
        yield path, node, False
    elif isinstance(node, SequenceNode):
        for at, item in enumerate(node.value):
            yield from _scalars(item, (*path, at))
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            if key.tag == f"{_TAG}merge":
                yield from _scalars(value, path)
                continue
            inner = (*path, str(key.value))
            yield inner, key, True
            yield from _scalars(value, inner)
