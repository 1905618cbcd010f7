"""Settings from environment variables, a secret also from the file that ``NAME_FILE`` points to.

An orchestrator that mounts secrets as files (Docker, Kubernetes, ECS with an init step) keeps them out of the process
environment, where a crash report or ``/proc`` would show them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Self, get_args

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

MAX_SECRET_FILE_BYTES = 64 * 1024


class SettingsError(Exception):
    """The environment cannot be used. `problems` holds every reason, one sentence each, without any secret's value."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("The settings cannot be used:\n" + "\n".join(f"  - {problem}" for problem in problems))


class Environment(BaseModel):
    """Settings, each read from the variable of its name in capitals; an empty variable counts as not set.

    A secret may come from ``NAME_FILE`` instead; naming both is a problem, because it is then unclear which one was
    meant.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=True)

    @classmethod
    def load(cls, environ: Mapping[str, str]) -> Self:
        """Settings from `environ`; raises SettingsError with every problem at once."""
        values: dict[str, str] = {}
        problems: dict[str, str] = {}
        for name, field in cls.model_fields.items():
            given: dict[str, str] = {}
            for variable in variables(field, name):
                if text := environ.get(variable):
                    given[variable] = text
                if is_secret(field) and (path := environ.get(f"{variable}_FILE")):
                    try:
                        given[f"{variable}_FILE"] = _text(Path(path))
                    except ValueError as error:
                        given[f"{variable}_FILE"] = ""
                        problems[name] = f"{variable}_FILE: {error}"
            if len(given) > 1:
                problems[name] = f"{' and '.join(given)} are both set: set one of them"
            if given:
                values[name] = next(iter(given.values()))
        try:
            settings = cls(**values)
        except ValidationError as invalid:
            for found in invalid.errors(include_url=False, include_context=False):
                name = str(found["loc"][0])
                problems.setdefault(name, _problem(name, cls.model_fields[name], values.get(name), found))
        if problems:
            raise SettingsError([problems[name] for name in cls.model_fields if name in problems])
        return settings


def is_secret(field: FieldInfo) -> bool:
    return field.annotation is SecretStr


def variables(field: FieldInfo, name: str) -> tuple[str, ...]:
    """The variable of a field, and the other name that is accepted (``json_schema_extra={"alias": ...}``)."""
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return (name.upper(), str(extra["alias"])) if "alias" in extra else (name.upper(),)


def _text(path: Path) -> str:
    """The file's text without the newline that editors and `echo` leave at its end; raises ValueError."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_FILE_BYTES + 1)
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}") from None
    if len(content) > MAX_SECRET_FILE_BYTES:
        raise ValueError(f"{path} is larger than {MAX_SECRET_FILE_BYTES:,} bytes")
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        raise ValueError(f"{path} is not UTF-8 text") from None
    if not text:
        raise ValueError(f"{path} is empty")
    return text


def _problem(name: str, field: FieldInfo, given: str | None, error: ErrorDetails) -> str:
    if error["type"] == "missing":
        message = f"is required: one of {', '.join(get_args(field.annotation))}"
    else:
        message = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ").strip()
    # An @ may follow a password, in a URL that should have had none.
    shown = "" if given is None or is_secret(field) or "@" in given else f"={given}"
    return f"{name.upper()}{shown}: {message}"
