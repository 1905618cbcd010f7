"""The project file and the stack files: what the program is, and what config it runs with."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from infra.engine.errors import ProjectError, SecretsError, UnknownStackError
from infra.engine.project import yaml_file
from infra.engine.state import go_json
from infra.engine.state.crypto import SecretsManager
from infra.engine.values import BLINDED

PROJECT_FILE: Final = "Pulumi.yaml"

_STACK_NAME = re.compile(r"(?!\.+$)[A-Za-z0-9_.-]{1,100}", re.ASCII)
_SCHEMA_KEYS = frozenset({"type", "description", "items", "default", "value", "secret"})


@dataclass(frozen=True, kw_only=True)
class Project:
    """`Pulumi.yaml`, as far as the engine needs it."""

    root: Path
    name: str
    main: Path
    """The program: a folder with a `__main__.py`, or a file."""
    schema: Mapping[str, Any]
    """The `config` section: by key, either a schema (`type`, `default` ...) or a bare value."""
    stack_files: Path
    """The folder that holds the `Pulumi.<stack>.yaml` files."""

    def stacks(self) -> tuple[str, ...]:
        """The stacks that have a file, by name."""
        prefix, suffix = "Pulumi.", ".yaml"
        files = (p for p in self.stack_files.glob(f"{prefix}*{suffix}") if _is_file(p))
        names = (p.name for p in files if p.name != PROJECT_FILE)
        return tuple(sorted(name[len(prefix) : -len(suffix)] for name in names))

    def stack_file(self, stack: str) -> Path:
        return self.stack_files / f"Pulumi.{stack}.yaml"


@dataclass(frozen=True)
class ProgramConfig:
    """Config in the form that the SDK takes: text by full key, objects as JSON; and which keys are secret."""

    values: Mapping[str, str]
    secret_keys: frozenset[str]


def load_project(start: Path) -> Project:
    """The project in `start` or the nearest folder above it; raises ProjectError when there is none or it is broken."""
    start = start.resolve()
    for folder in (start, *start.parents):
        if _is_file(folder / PROJECT_FILE):
            return _read_project(folder)
    raise ProjectError(f"no {PROJECT_FILE} in {start} or above it: run this inside the project")


def _read_project(root: Path) -> Project:
    file = root / PROJECT_FILE
    data = yaml_file.load(file)
    name = data.get("name")
    if not isinstance(name, str) or not name:
        raise ProjectError(f"{file}: `name` is missing")
    schema = data.get("config") or {}
    if not isinstance(schema, Mapping):
        raise ProjectError(f"{file}: `config` must be a map of config keys")
    return Project(
        root=root,
        name=name,
        main=Path(os.path.normpath(root / str(data.get("main") or "."))),
        schema=go_json.plain(schema),
        stack_files=Path(os.path.normpath(root / str(data.get("stackConfigDir") or "."))),
    )


class StackFile:
    """`Pulumi.<stack>.yaml`. Edits keep comments, order and quoting; nothing is written before `save`."""

    def __init__(
        self, project: Project, stack: str, data: MutableMapping[str, Any], *, content: bytes | None = None
    ) -> None:
        """`content` is what `data` was read from; None where there was no file."""
        self.project = project
        self.stack = stack
        self.path = project.stack_file(stack)
        self.data = data
        self._content = content

    @classmethod
    def load(cls, project: Project, stack: str) -> Self:
        """Read the file; raises UnknownStackError, which lists the stacks there are, when it does not exist."""
        if not _STACK_NAME.fullmatch(stack):
            raise ProjectError(
                f"{stack!r} cannot be a stack name: letters, digits, hyphen, underscore and full stop, at most 100"
            )
        if not _is_file(project.stack_file(stack)):
            raise UnknownStackError(stack, project.stacks(), project.stack_files)
        path = project.stack_file(stack)
        content = yaml_file.read(path)
        return cls(project, stack, yaml_file.parse(content, path, strict_section="config"), content=content)

    def as_read(self) -> StackFile:
        """The file without what was changed since. A copy of its data would not do: that writes merges out."""
        content = self._content or b""
        return StackFile(self.project, self.stack, yaml_file.parse(content, self.path), content=self._content)

    @property
    def encryption_salt(self) -> str | None:
        value = self.data.get("encryptionsalt")
        return str(value) if value else None

    @encryption_salt.setter
    def encryption_salt(self, value: str) -> None:
        self.data["encryptionsalt"] = value

    @property
    def secrets_provider(self) -> str | None:
        """The URL of a secrets provider other than the passphrase, as ``awskms://...``; None for the passphrase."""
        value = self.data.get("secretsprovider")
        return str(value) if value and value not in ("passphrase", "default") else None

    def config(self) -> dict[str, Any]:
        """The config by full key (``project:key``) in JSON types; secure values stay ``{"secure": ciphertext}``.

        Keys that the stack does not set have the project's value or default.
        """
        if self.data.get("environment"):
            raise ProjectError(
                f"{self.path.name}: `environment` takes config from Pulumi Cloud, which only the Pulumi CLI can ask"
            )
        section = self.data.get("config") or {}
        if not isinstance(section, Mapping):
            raise ProjectError(f"{self.path.name}: `config` must be a map of config keys")
        values: dict[str, Any] = {}
        for key, value in section.items():
            values[_full_key(str(key), file=self.path.name, project=self.project.name)] = go_json.plain(value)
        for key, rule in self.project.schema.items():
            full = key if ":" in key else f"{self.project.name}:{key}"
            if full not in values:
                found, default = _default(rule)
                if found:
                    values[full] = default
        return values

    def program_config(self, secrets: SecretsManager | None) -> ProgramConfig:
        """The config as the program sees it; without `secrets` every secure value is `BLINDED`, still a secret."""
        values: dict[str, str] = {}
        secret_keys = set()
        for key, value in self.config().items():
            opened, secret = _open(value, secrets, where=f"{self.path.name}: {key}")
            values[key] = go_json.config_text(opened)
            if secret:
                secret_keys.add(key)
        return ProgramConfig(values=values, secret_keys=frozenset(secret_keys))

    def save(self) -> None:
        """Write the file in one step: after a crash it is either the old one or the new one.

        Raises ProjectError, with the file as it was, when somebody else has changed it since, and when the text would
        not say what was meant.
        """
        meant = go_json.plain(self.data)
        for content in yaml_file.rewrite(self._content or b"", self.data, self.path):
            if self._says(content, meant):
                break
        else:
            raise ProjectError(
                f"{self.path.name} was not changed: an alias or a merge in it stands in the way. Change it by hand"
            )
        yaml_file.save(self.path, content, expected=self._content)
        self._content = content

    def _says(self, content: bytes, meant: Any) -> bool:
        try:
            return bool(go_json.plain(yaml_file.parse(content, self.path, strict_section="config")) == meant)
        except ProjectError:
            return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:
        raise ProjectError(f"cannot look at {path}: {error.strerror}") from error


def check_stack_file(root: str, stack: str) -> None:
    """Raise ProjectError when the stack's file does not mean what it says: for a program that the CLI may have started.

    The CLI hands on 1.1 where the file has 1.10, and then nothing tells the one from the other. A file that is
    elsewhere (`--config-file`) is not looked for.
    """
    with suppress(UnknownStackError):
        StackFile.load(load_project(Path(root)), stack)


def is_secure(value: Any) -> bool:
    """Whether a raw config value is an encrypted one."""
    return isinstance(value, Mapping) and len(value) == 1 and isinstance(value.get("secure"), str)


def _full_key(key: str, *, file: str, project: str) -> str:
    match key.split(":"):
        case [namespace, name] if namespace and name:
            return key
        case [namespace, "config", name] if namespace and name:
            return f"{namespace}:{name}"
    raise ProjectError(f"{file}: config key {key!r} must read NAMESPACE:NAME, as in '{project}:{key.strip(':')}'")


def _default(rule: Any) -> tuple[bool, Any]:
    """Whether a schema entry has a value for stacks that set none, and the value."""
    if not isinstance(rule, Mapping) or not set(rule) <= _SCHEMA_KEYS:
        return True, rule
    for word in ("default", "value"):
        if rule.get(word) is not None:
            return True, rule[word]
    return False, None


def _open(value: Any, secrets: SecretsManager | None, *, where: str) -> tuple[Any, bool]:
    """Replace every secure value inside `value` by its plaintext; whether there was one."""
    if is_secure(value):
        if secrets is None:
            return BLINDED, True
        try:
            return secrets.decrypt(value["secure"]), True
        except SecretsError as error:
            raise SecretsError(f"{where}: {error}") from None
    if isinstance(value, dict):
        pairs = {key: _open(item, secrets, where=f"{where}.{key}") for key, item in value.items()}
        return {key: item for key, (item, _) in pairs.items()}, any(secret for _, secret in pairs.values())
    if isinstance(value, list):
        items = [_open(item, secrets, where=f"{where}[{i}]") for i, item in enumerate(value)]
        return [item for item, _ in items], any(secret for _, secret in items)
    return value, False
