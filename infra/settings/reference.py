"""Writes what follows from the settings tree: the reference for people and the config schema of ``Pulumi.yaml``.

``python -m infra.settings.reference`` writes both; a test holds them against the tree.
"""

from __future__ import annotations

import argparse
import inspect
import io
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path as FilePath
from typing import Any, Final, Literal, get_origin

from pydantic import SecretStr
from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from infra.property_paths import Path, render_path
from infra.settings import describe
from infra.settings.defaults import BY_TARGET, COMBINED, POSTGRES_BY_PROVIDER, REDIS_BY_PROVIDER
from infra.settings.describe import Key
from infra.settings.effects import effect
from infra.settings.invariants.unused import UNUSED
from infra.settings.rules import Between, Cpus, NumberOf, Size, Span
from infra.settings.tree import Settings

REFERENCE: Final = FilePath("docs/reference/configuration.md")
PROJECT_FILE: Final = FilePath("Pulumi.yaml")

_HEAD: Final = """\
# Configuration reference

<!-- Written by `python -m infra.settings.reference`. Change the settings models, not this page. -->

Every key that a `Pulumi.<stack>.yaml` may hold, below `config:` and with the prefix `slipway:` on the first part.
Set one with `slipway config set KEY VALUE --stack STACK`, or with `pulumi config set --path KEY VALUE`. A stack file
states what differs from the defaults; the defaults are safe for production, and what is cheaper is said in the file.

All problems of a file are reported at once, each with the command that mends it, before anything is changed.

Durations are written with a unit (`500ms`, `30s`, `15m`, `12h`, `7d`, `1h30m`), sizes too (`512 MiB`, `20 GiB`).
Prices are list prices for orientation (AWS: us-east-1, on demand, November 2026); `slipway plan` is the place to
compare. Names in capitals are the variables of the application that a key becomes. The last column says what a change
does to a running stack; to roll means one replica after the other, with no failed request.
"""

_TYPES: Final = {str: "text", bool: "true or false", int: "number", float: "number", SecretStr: "secret"}


def reference() -> str:
    """The whole page."""
    return "\n".join([_HEAD, *_sections(), *_dependent_defaults()])


def schema() -> dict[str, Any]:
    """The `config` section of the project file: one entry a top-level key.

    A key without a default would be required of every stack, so keys that may be left out default to "nothing said":
    an empty text, map or list.
    """
    entries: dict[str, Any] = {}
    for key in describe.keys(Settings):
        if len(key.path) > 1:
            continue
        entry: dict[str, Any] = {"type": _schema_type(key)}
        if entry["type"] == "array":
            entry["items"] = {"type": "string" if key.group is None else "object"}
        entry["description"] = DoubleQuotedScalarString(_line(key.field.description))
        if not key.required or key.group is not None:
            entry["default"] = {"object": {}, "array": [], "string": "", "boolean": key.default}[entry["type"]]
        entries[str(key.path[0])] = entry
    return entries


def project_file(text: str) -> str:
    """The project file with its `config` section as the settings tree has it; the rest stays as it is."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    tree = yaml.load(text)
    tree["config"] = schema()
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m infra.settings.reference", description=__doc__)
    parser.add_argument("--root", type=FilePath, default=FilePath(__file__).parents[2], help="the project's folder")
    root: FilePath = parser.parse_args().root
    (root / REFERENCE).parent.mkdir(parents=True, exist_ok=True)
    (root / REFERENCE).write_text(reference(), encoding="utf-8")
    file = root / PROJECT_FILE
    file.write_text(project_file(file.read_text(encoding="utf-8")), encoding="utf-8")


def _sections() -> Iterator[str]:
    yield "## Top level\n"
    yield from _table([key for key in describe.keys(Settings) if len(key.path) == 1])
    for key in describe.keys(Settings):
        if (model := key.group) is not None:
            step = {dict: ".<name>", tuple: "[0]"}.get(get_origin(key.kind), "")
            yield f"## `{render_path(key.path)}{step}`\n"
            yield f"{inspect.getdoc(model)}\n"
            inside = (*key.path, *describe.step(key.kind))
            yield from _table([k for k in describe.keys(Settings) if k.path[:-1] == inside])


def _table(keys: list[Key]) -> Iterator[str]:
    yield "| key | type | default | allowed | meaning | a change |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for key in keys:
        cells = (
            f"`{render_path(key.path)}`",
            _type(key),
            _default(key),
            "" if key.group is not None or key.kind is bool or key.secret else _cell(key.allowed),
            _cell(key.field.description) + _where(key.path),
            "" if key.group is not None else _cell(effect(key.path)),
        )
        yield f"| {' | '.join(cells)} |"
    yield ""


def _where(path: Path) -> str:
    """The targets that refuse the key, where there are some."""
    name = ".".join(map(str, path)).replace("worker.groups.<name>.", "worker.")
    refusing = [t for t, keys in UNUSED.items() if any(name == key or name.startswith(f"{key}.") for key in keys)]
    return f" Not on: {', '.join(f'`{target}`' for target in refusing)}." if refusing else ""


def _dependent_defaults() -> Iterator[str]:
    yield "## Defaults that depend on the target or the provider\n"
    yield "Where the file is silent, these stand in for the defaults above.\n"
    yield "| where | key | default |"
    yield "| --- | --- | --- |"
    for target, tree in BY_TARGET.items():
        yield from _rows(f"`target: {target}`", tree, "")
    for group, by_provider in (("postgres", POSTGRES_BY_PROVIDER), ("redis", REDIS_BY_PROVIDER)):
        for provider, tree in by_provider.items():
            yield from _rows(f"`{group}.provider: {provider}`", tree, f"{group}.")
    yield from _rows("`api.mode: all`", COMBINED, "api.")
    yield "| `target: aws` | `network.zones` | zones `a` and `b` of `region` |"
    yield "| `target: aws` | `api.trusted_proxies` | `network.cidr` |"
    yield "| named worker groups | `worker.groups.<name>.*` | the values of `worker`; `queue`: the group's name |"
    yield ""


def _rows(where: str, tree: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _rows(where, value, f"{prefix}{name}.")
        else:
            yield f"| {where} | `{prefix}{name}` | `{describe.write(value)}` |"


def _type(key: Key) -> str:
    if key.group is not None:
        return {dict: "map of groups", tuple: "list of groups"}.get(get_origin(key.kind), "group")
    if isinstance(key.rule, Span | Size | Cpus) and get_origin(key.kind) is None:
        return {Span: "duration", Size: "size", Cpus: "vCPUs"}[type(key.rule)]
    if get_origin(key.kind) is Literal:
        return "choice"
    if key.kind is date:
        return "date"
    return {tuple: "list", dict: "map"}.get(get_origin(key.kind)) or _TYPES[key.kind]


def _default(key: Key) -> str:
    if key.group is not None:
        return ""
    if key.required:
        return "by target" if key.path[-1] == "provider" else "**required**"
    text = describe.write(key.default, key.rule)
    return f"`{text}`" if text else ""


def _schema_type(key: Key) -> str:
    if get_origin(key.kind) is tuple:
        return "array"
    if get_origin(key.kind) is dict or key.group is not None:
        return "object"
    return "boolean" if key.kind is bool else "integer" if isinstance(key.rule, Between | NumberOf) else "string"


def _line(text: str | None) -> str:
    return " ".join((text or "").split())


def _cell(text: str | None) -> str:
    return _line(text).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    main()
