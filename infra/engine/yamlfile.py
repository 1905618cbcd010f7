"""YAML files read and written with their comments, order and quoting kept."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.engine.errors import ProjectError
from infra.engine.files import write_atomically

if TYPE_CHECKING:
    from ruamel.yaml import YAML


def load(path: Path) -> MutableMapping[str, Any]:
    """The map in the file (empty for an empty file); raises ProjectError with the place when it is not valid YAML."""
    from ruamel.yaml.comments import CommentedMap
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        data = _yaml().load(path.read_bytes())
    except OSError as error:
        raise ProjectError(f"cannot read {path}: {error.strerror}") from error
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise ProjectError(f"{path}{place}: not valid YAML: {error.problem or error.context}") from None
    except YAMLError as error:
        raise ProjectError(f"{path}: not valid YAML: {error}") from None
    if data is None:
        return CommentedMap()
    if not isinstance(data, MutableMapping):
        raise ProjectError(f"{path}: must be a map of keys to values")
    return data


def save(path: Path, data: MutableMapping[str, Any]) -> None:
    """Replace the file in one step, with its permissions kept."""
    buffer = BytesIO()
    _yaml().dump(data, buffer)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    write_atomically(path, buffer.getvalue(), mode=mode)


def block_map(values: Mapping[str, Any]) -> MutableMapping[str, Any]:
    """A map that is written over lines, and can carry comments."""
    from ruamel.yaml.comments import CommentedMap

    made: MutableMapping[str, Any] = CommentedMap(values)
    return made


def parse_scalar(text: str) -> Any:
    """A value as it would read in a YAML file: ``2`` is a number, ``true`` a boolean, ``[a, b]`` a list."""
    from ruamel.yaml.error import YAMLError

    try:
        return _yaml().load(text)
    except YAMLError:
        return text


def _yaml() -> YAML:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    # Long ciphertexts must stay on one line, and lists indented as the files have them.
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml
