"""YAML files read and written with their comments, order, quoting and line ends kept."""

from __future__ import annotations

import codecs
import fcntl
import os
from collections.abc import Hashable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import contextmanager, suppress
from difflib import SequenceMatcher
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infra.engine.errors import ProjectError
from infra.engine.state.files import write_atomically

if TYPE_CHECKING:
    from ruamel.yaml import YAML

_MOST_BYTES: Final = 1024**2
"""The parser needs about half a minute for as much. The longest of ours has 6 KiB."""


def read(path: Path) -> bytes:
    """What is in the file; raises ProjectError when it cannot be read or is too large to be one of ours."""
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ProjectError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > _MOST_BYTES:
        raise ProjectError(f"{path} is larger than 1 MiB, which no file of settings is: is it the right one?")
    return content


def load(path: Path) -> MutableMapping[str, Any]:
    """The map in the file (empty for an empty file); raises ProjectError with the place when it is not valid YAML."""
    return parse(read(path), path)


def parse(content: bytes, path: Path, *, strict_section: str | None = None) -> MutableMapping[str, Any]:
    """As `load`, for what has been read. Below the key `strict_section` a plain word must mean one thing to all."""
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    from infra.engine.project import yaml_nodes

    try:
        data = _construct(_text(content, path), strict_section=strict_section)
    except yaml_nodes.Ambiguous as error:
        raise ProjectError("\n".join(f"{path.name}{line}" for line in error.problems)) from None
    except yaml_nodes.Unreadable as error:
        raise ProjectError(f"{path}{_place(error.mark)}: {error}") from None
    except MarkedYAMLError as error:
        reason = str(error.problem or error.context).partition("\n")[0]
        raise ProjectError(
            f"{path}{_place(error.problem_mark or error.context_mark)}: not valid YAML: {reason}"
        ) from None
    except YAMLError as error:
        reason = " ".join(str(error).split())
        raise ProjectError(f"{path}: not valid YAML: {reason}") from None
    except RecursionError:
        raise ProjectError(f"{path}: too many levels of maps and lists") from None
    if data is None:
        return CommentedMap()
    if not isinstance(data, MutableMapping):
        raise ProjectError(f"{path}: must be a map of keys to values")
    return data


def rewrite(content: bytes, data: MutableMapping[str, Any], path: Path) -> Iterator[bytes]:
    """What the file may become to say `data`, the form nearest to its present `content` first.

    The parser's writer puts lists, comments and the marks of a document in places of its own, so the lines that it
    changes are put into the file as it was, where they have a place there; and else the whole is as the writer has it.
    """
    text = _text(content, path)
    after = _dump(data)
    patched = patch(text, _dump(parse(content, path)), after)
    # A file with both kinds of line ends gets the one that most of its lines have.
    end = "\r\n" if content.count(b"\r\n") * 2 > content.count(b"\n") else "\n"
    mark = codecs.BOM_UTF8 if content.startswith(codecs.BOM_UTF8) else b""
    for form in (patched, after):
        if form is not None:
            yield mark + form.replace("\n", end).encode()


def patch(text: str, before: str, after: str) -> str | None:
    """`text` with the lines that differ between `before` and `after`; None where one of them has no clear place in it.

    `before` says the same as `text`, a line of the one mostly beside a line of the other.
    """
    lines, old, new = (part.splitlines(keepends=True) for part in (text, before, after))
    place: dict[int, int] = {len(old): len(lines)}
    for _, start, end, first, last in _opcodes(*([tuple(line.split()) for line in part] for part in (old, lines))):
        if end - start == last - first:
            place.update(zip(range(start, end), range(first, last), strict=True))
    edits = []
    for kind, start, end, first, last in _opcodes(old, new):
        if kind == "equal":
            continue
        if start not in place or (end > start and end - 1 not in place):
            return None
        since = place[start]
        until = place[end - 1] + 1 if end > start else since
        if until - since != end - start:
            return None
        indents = {_indent(old[at]): _indent(lines[place[at]]) for at in range(end) if at in place and old[at].strip()}
        change = [indents.get(_indent(line), _indent(line)) + line.lstrip(" ") for line in new[first:last]]
        edits.append((since, until, change))
    for since, until, change in reversed(edits):
        if change and since > 0 and not lines[since - 1].endswith("\n"):
            lines[since - 1] += "\n"
        lines[since:until] = change
    return "".join(lines)


def save(path: Path, content: bytes, *, expected: bytes | None) -> None:
    """Replace the file in one step, with its permissions kept, and through a symbolic link the file that it names.

    Raises ProjectError when it is not what was `expected` any more: two commands at once each wrote what they had
    read, and one of the two changes was lost. None expects no file.
    """
    path = Path(os.path.realpath(path))
    with _alone_in(path.parent):
        present = path.exists()
        if (read(path) if present else None) != expected:
            raise ProjectError(
                f"{path} was changed by somebody else in the meantime, and was left as they wrote it: run this again"
            )
        write_atomically(path, content, mode=path.stat().st_mode & 0o777 if present else 0o644)


def block_map(values: Mapping[str, Any]) -> MutableMapping[str, Any]:
    """A map that is written over lines, and can carry comments."""
    from ruamel.yaml.comments import CommentedMap

    made: MutableMapping[str, Any] = CommentedMap(values)
    return made


def quoted(text: str) -> str:
    """A text that reads back as itself, here and in the CLI: in quotes unless it needs none."""
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    from infra.engine.project import yaml_scalars

    return text if yaml_scalars.problem(text, ours="text") is None else DoubleQuotedScalarString(text)


def parse_value(text: str) -> Any:
    """A value as it would read in a file: ``2`` is a number, ``true`` a boolean, ``[a, b]`` a list; else the text.

    Raises Ambiguous for a word in it that would not read as it was typed, as ``012``.
    """
    from ruamel.yaml.error import YAMLError

    from infra.engine.project import yaml_nodes

    try:
        return _construct(text, strict_section="")
    except (YAMLError, yaml_nodes.Unreadable, RecursionError):
        return text


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Hold off other commands that write here. By the folder: the file itself is another one after each write."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ProjectError(f"cannot open {folder}: {error.strerror}") from error
    try:
        # Some network file systems know no such lock; what is left is the moment between look and write.
        with suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _text(content: bytes, path: Path) -> str:
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode()
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ProjectError(
            f"{path}:{line}: not UTF-8, as every file of settings is: save it in that encoding"
        ) from None
    return text.replace("\r\n", "\n")


def _construct(text: str, *, strict_section: str | None) -> Any:
    """What the text says. `strict_section`: as `parse`; all words where it is empty."""
    from infra.engine.project import yaml_nodes

    yaml = _yaml()
    constructor, parser = yaml.get_constructor_parser(text)
    # The CLI takes the latest of two anchors with one name, and so does this parser, with a warning that nobody needs.
    constructor.composer.warn_double_anchors = False
    try:
        root = constructor.composer.get_single_node()
        if root is None:
            return None
        yaml_nodes.check(root, yaml.resolver)
        if strict_section is not None:
            yaml_nodes.check_words(root, yaml.resolver, section=strict_section)
        return constructor.construct_document(root)
    finally:
        parser.dispose()


def _dump(data: MutableMapping[str, Any]) -> str:
    stream = StringIO()
    _yaml().dump(data, stream)
    return stream.getvalue()


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip(" "))]


def _opcodes(one: Sequence[Hashable], other: Sequence[Hashable]) -> list[tuple[str, int, int, int, int]]:
    return SequenceMatcher(None, one, other, autojunk=False).get_opcodes()  # type: ignore[return-value]


def _place(mark: Any) -> str:
    return f":{mark.line + 1}:{mark.column + 1}" if mark else ""


def _yaml() -> YAML:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    # Long ciphertexts must stay on one line, and lists indented as the files have them.
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
