"""Settings from environment variables, a secret also from the file that ``NAME_FILE`` points to.

An orchestrator that mounts secrets as files (Docker, Kubernetes, ECS with an init step) keeps them out of the process
environment, where a crash report or ``/proc`` would show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

MAX_SECRET_FILE_BYTES = 64 * 1024


class SettingsError(Exception):
    """The environment cannot be used. `problems` holds every reason, one sentence each, without any secret's value."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("The settings cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems))


class EnvironmentSource(PydanticBaseSettingsSource):
    """Reads each field from the variable of its name in capitals; an empty variable counts as not set.

    Fields marked ``json_schema_extra={"secret": True}`` may come from ``NAME_FILE`` instead; naming both is a problem,
    because it is then unclear which one was meant. What cannot be read is collected in `problems`, by field.
    """

    def __init__(self, settings_cls: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(settings_cls)
        self._environ = environ
        self.problems: dict[str, str] = {}

    def __call__(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, field in self.settings_cls.model_fields.items():
            value, key, _ = self.get_field_value(field, name)
            if value is not None:
                found[key] = value
        return found

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        values: dict[str, str] = {}
        for variable in variables(field, field_name):
            if value := self._environ.get(variable):
                values[variable] = value
            if is_secret(field) and (path := self._environ.get(f"{variable}_FILE")):
                values[f"{variable}_FILE"] = self._read(field_name, f"{variable}_FILE", Path(path)) or ""
        if len(values) > 1:
            self.problems[field_name] = f"{' and '.join(values)} are both set: set one of them"
        return next(iter(values.values()), None), field_name, False

    def _read(self, field_name: str, variable: str, path: Path) -> str | None:
        """The file's text without the newline that editors and `echo` leave at its end."""
        try:
            with path.open("rb") as file:
                content = file.read(MAX_SECRET_FILE_BYTES + 1)
            if len(content) > MAX_SECRET_FILE_BYTES:
                self.problems[field_name] = f"{variable}: {path} is larger than {MAX_SECRET_FILE_BYTES:,} bytes"
                return None
            text = content.decode().rstrip("\r\n")
        except OSError as error:
            self.problems[field_name] = f"{variable}: cannot read {path}: {error.strerror}"
            return None
        except UnicodeDecodeError:
            self.problems[field_name] = f"{variable}: {path} is not UTF-8 text"
            return None
        if not text:
            self.problems[field_name] = f"{variable}: {path} is empty"
        return text


def is_secret(field: FieldInfo) -> bool:
    return isinstance(field.json_schema_extra, dict) and bool(field.json_schema_extra.get("secret"))


def variables(field: FieldInfo, name: str) -> tuple[str, ...]:
    """The variable of a field and its other accepted names."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    alias = extra.get("alias")
    return (name.upper(), str(alias)) if alias else (name.upper(),)
