"""What ties a field of the tree to the running stack: the variable that it becomes, and what a change does.

    concurrency: Annotated[int, Between(1, 1000, "jobs"), Variable("QUEUE_CONCURRENCY", WORKER)] = 10

The environment of each role, and the column "a change" of the reference, follow from these markers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Flag, auto
from functools import cache
from typing import Any, Final

from pydantic import SecretStr

from infra.settings.describe import marker, unwrap
from infra.settings.group import Group
from infra.settings.units import milliseconds


class Role(Flag):
    """What a process of the application does, which decides the variables that it reads."""

    API = auto()
    WORKER = auto()
    MIGRATE = auto()
    OWN = auto()
    """The process that the group describes: in `api` the API, in `worker` and its groups those workers."""


API: Final = Role.API
WORKER: Final = Role.WORKER
MIGRATE: Final = Role.MIGRATE
OWN: Final = Role.OWN
EVERY: Final = API | WORKER | MIGRATE

ROLLS_ALL: Final = "rolls the API and the workers"
ROLLS_API: Final = "rolls the API"
ROLLS_WORKERS: Final = "rolls the workers"
IN_PLACE: Final = "in place"
OTHER_DATABASE: Final = "points at another, empty database: move the data first"


def text(value: Any) -> str | None:
    """A value as the application reads it: times in milliseconds, sizes in bytes; None for no variable at all."""
    match value:
        case bool():
            return "true" if value else "false"
        case timedelta():
            return str(milliseconds(value))
        case tuple():
            return ",".join(value)
        case SecretStr():
            return None  # A service gets its secrets by reference, never in its environment.
    return None if value is None else str(value)


@dataclass(frozen=True)
class Variable:
    """The variable that a field becomes, which the field's description names too."""

    name: str
    roles: Role
    """Who reads it: a change rolls those."""
    write: Callable[[Any], str | None] = text


@dataclass(frozen=True)
class Effect:
    """What a change does, where that does not follow from a variable. At a group: of all keys below without one."""

    text: str


def environment(group: Group, roles: Role) -> dict[str, str]:
    """The variables that `roles` read, from the fields of `group` and of the groups below it."""
    found: dict[str, str] = {}
    for name, variable in variables(type(group)).items():
        if variable is None:
            found |= environment(getattr(group, name), roles)
        elif variable.roles & roles and (written := variable.write(getattr(group, name))) is not None:
            found[variable.name] = written
    return found


@cache
def variables(group: type[Group]) -> dict[str, Variable | None]:
    """The fields that become a variable, and with None those that are groups with such fields."""
    found: dict[str, Variable | None] = {}
    for name, field in group.model_fields.items():
        kind, markers = unwrap(field.annotation, field.metadata)
        if (variable := marker(markers, Variable)) is not None:
            found[name] = variable
        elif isinstance(kind, type) and issubclass(kind, Group) and variables(kind):
            found[name] = None
    return found
