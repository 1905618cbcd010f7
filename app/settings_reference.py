"""The reference of all variables as Markdown: `python -m app.settings_reference > docs/reference/environment.md`."""

from __future__ import annotations

import types
from collections.abc import Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from app.environment import is_secret
from app.settings import Settings

_HEAD = """# Environment variables

What the application image reads. Generated from `app/settings.py` by `python -m app.settings_reference`; a test keeps
it current.

- A variable that is empty counts as not set.
- A secret may also come from a file: `NAME_FILE=/run/secrets/name` instead of `NAME=...`.
- Times without a unit are milliseconds.
- Wrong settings end the process with exit code 2 and every reason at once; no secret is shown.
- With `ENVIRONMENT=production`, the default, these are refused: weak or placeholder secrets, `CORS_ORIGIN=*`, and
  connections to Postgres or Redis on another host without TLS.

| Variable | Values | Default | Meaning |
| --- | --- | --- | --- |
"""
_TAIL = """
## Sockets

With `LISTEN_FDS=n` (and `LISTEN_PID` absent or this process's id) the API serves on the inherited descriptors 3 to
3+n-1, as with systemd's socket activation, and ignores `HOST` and `PORT`.

## On ECS

Where `ECS_AGENT_URI` is set, as ECS does, a worker with jobs under way asks to be spared when workers are removed. The
task's role must allow `ecs:UpdateTaskProtection`.

## Traces

With `OTEL_EXPORTER_OTLP_ENDPOINT` the OpenTelemetry SDK reads variables of its own besides, such as
`OTEL_RESOURCE_ATTRIBUTES`, and `OTEL_EXPORTER_OTLP_HEADERS` where the traces go to whoever wants a key. Which traces
are kept is decided by `OTEL_TRACES_SAMPLER_ARG` alone.

## Preparing a database

`python -m app.bootstrap` makes the owner role, the logins and their rights on a new server. It reads two secrets
of its own, as variables or as files (`..._FILE`), and nothing above:

- `BOOTSTRAP_MASTER`: the server's master user, `{"username": ..., "password": ...}`. No other process needs it.
- `BOOTSTRAP_PLAN`: `{"host", "port", "database", "sslmode", "sslrootcert", "owner", "migrate": {"user", "password"},
  "backup": {...}, "app": [{...}, {...}]}`, with two slots for the application, of which one is in use.

It may run any number of times: a password changes only where it is wrong. What it refuses, it refuses before it changes
anything. Exit codes: 0 done, 1 refused or failed, 2 wrong variables.

## Connections to Postgres

An API process holds at most `DATABASE_POOL_SIZE` + `DATABASE_MAX_OVERFLOW` + 1 connections; the last one is for
`/health` and `/metrics`.
"""


def reference() -> str:
    rows = "".join(f"{_row(name, field)}\n" for name, field in Settings.model_fields.items())
    return _HEAD + rows + _TAIL


def _row(name: str, field: FieldInfo) -> str:
    cells = (f"`{name.upper()}`", _values(name, field), _default(name, field), field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _values(name: str, field: FieldInfo) -> str:
    if is_secret(field):
        return "secret"
    if name.endswith("_expires_in"):
        return "duration"
    annotation = _without_none(field.annotation)
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{value}`" for value in get_args(annotation))
    if get_origin(annotation) is tuple:
        return "comma list"
    if annotation in (int, float):
        return " ".join(_bounds(field)) or "integer"
    return {bool: "`true`, `false`", str: "text"}[annotation]


def _bounds(field: FieldInfo) -> Iterator[str]:
    for bound in field.metadata:
        if (least := getattr(bound, "ge", None)) is not None:
            yield f"from {least:,}"
        if (most := getattr(bound, "le", None)) is not None:
            yield f"to {most:,}"


def _default(name: str, field: FieldInfo) -> str:
    value = field.default
    if field.is_required():
        return "required"
    if isinstance(value, SecretStr) or value is None or value == ():
        return "none"
    if name.endswith("_expires_in"):
        return f"`{_duration(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _duration(seconds: int) -> str:
    return next(
        f"{seconds // size}{unit}"
        for size, unit in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s"))
        if seconds % size == 0
    )


def _without_none(annotation: Any) -> Any:
    if get_origin(annotation) in (Union, types.UnionType):
        annotation = next(kind for kind in get_args(annotation) if kind is not type(None))
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


if __name__ == "__main__":
    print(reference(), end="")
