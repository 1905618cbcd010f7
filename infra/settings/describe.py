"""The settings tree as data: which keys there are, what each allows, how a value is written."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from infra.property_paths import Path
from infra.settings import units
from infra.settings.rules import Cpus, Rule, Size

T = TypeVar("T")


@dataclass(frozen=True)
class Key:
    """One key of the tree, or one kind of key below a map or a list."""

    path: Path
    field: FieldInfo
    kind: Any
    """The type without ``None`` and without its markers."""
    markers: tuple[Any, ...]

    @property
    def rule(self) -> Rule | None:
        """The check of the value, or of each item of a list."""
        items = unwrap(get_args(self.kind)[0])[1] if get_origin(self.kind) is tuple else ()
        return _rule(self.markers) or _rule(items)

    @property
    def group(self) -> type[BaseModel] | None:
        """The group below the key: itself, or the items of its list or map."""
        return model_of(self.kind)

    @property
    def secret(self) -> bool:
        return self.kind is SecretStr

    @property
    def required(self) -> bool:
        return self.field.is_required()

    @property
    def default(self) -> Any:
        """The default that stands at the field; None when it is required."""
        value = self.field.get_default(call_default_factory=True)
        return None if value is PydanticUndefined else value

    @property
    def allowed(self) -> str:
        """What a value may be, as a phrase."""
        return allowed(self.kind, self.rule)


def unwrap(annotation: Any, metadata: Sequence[Any] = ()) -> tuple[Any, tuple[Any, ...]]:
    """The type inside ``Annotated[...]`` and ``... | None``, and its markers."""
    if get_origin(annotation) is Annotated:
        inner, *inside = get_args(annotation)
        return unwrap(inner, [*inside, *metadata])
    if get_origin(annotation) in (Union, types.UnionType):
        options = [option for option in get_args(annotation) if option is not type(None)]
        if len(options) == 1:
            kind, found = unwrap(options[0])
            return kind, (*metadata, *found)
    return annotation, tuple(metadata)


def marker(markers: Sequence[Any], kind: type[T]) -> T | None:
    """The first marker of that type."""
    return next((item for item in markers if isinstance(item, kind)), None)


def model_of(kind: Any) -> type[BaseModel] | None:
    """The group that a type holds: itself, or the items of its list or map."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind
    items = [unwrap(item)[0] for item in get_args(kind) if item is not Ellipsis]
    return next((item for item in reversed(items) if isinstance(item, type) and issubclass(item, BaseModel)), None)


def keys(model: type[BaseModel], path: Path = ()) -> Iterator[Key]:
    """Every key below `model`, depth first in the order of the fields.

    ``<name>`` stands for any name in a map, ``0`` for any item of a list.
    """
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        key = Key((*path, name), field, *unwrap(field.annotation, field.metadata))
        yield key
        if key.group is not None:
            yield from keys(key.group, (*key.path, *step(key.kind)))


def step(kind: Any) -> Path:
    """The step from a map or a list to one of its groups; none from a group itself."""
    if get_origin(kind) is dict:
        return ("<name>",)
    return (0,) if get_origin(kind) is tuple else ()


def walk(model: type[BaseModel], path: Sequence[str | int]) -> list[Key]:
    """The keys on the way to `path` (names of maps and items of lists as they are), itself last; none where there is no
    such key."""
    group: type[BaseModel] | None = model
    found: list[Key] = []
    for length, part in enumerate(path, 1):
        if found and get_origin(found[-1].kind) in (dict, tuple) and length == len(found[-1].path) + 1:
            continue  # a name in a map, an item of a list
        field = group.model_fields.get(str(part)) if group else None
        if field is None or field.exclude:
            return []
        found.append(Key(tuple(path[:length]), field, *unwrap(field.annotation, field.metadata)))
        group = found[-1].group
    return found


def find(model: type[BaseModel], path: Sequence[str | int]) -> Key | None:
    """The key at `path`, or None."""
    return next(reversed(walk(model, path)), None)


def is_text(model: type[BaseModel], path: Sequence[str | int]) -> bool:
    """Whether what is typed for the key at `path` is the value itself, whatever it would read as in YAML."""
    if (found := find(model, path)) is None:
        return False
    kind, rule = found.kind, found.rule
    if len(path) > len(found.path):
        # A name in a map, or an item of a list.
        kind, markers = unwrap([item for item in get_args(kind) if item is not Ellipsis][-1])
        rule = _rule(markers)
    return kind in (str, date, timedelta, SecretStr) or get_origin(kind) is Literal or isinstance(rule, Size)


def names(model: type[BaseModel], path: Sequence[str | int]) -> tuple[str, ...]:
    """The keys that are legal directly below `path`."""
    group = found.group if (found := find(model, path)) else model if not path else None
    return tuple(n for n, field in group.model_fields.items() if not field.exclude) if group else ()


def allowed(kind: Any, rule: Rule | None) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, get_args(kind)))
    if kind is bool:
        return "true or false"
    if kind is date:
        return "a date as YYYY-MM-DD"
    if get_origin(kind) is tuple:
        return f"a list; each item {rule.allowed}" if rule else "a list"
    if get_origin(kind) is dict:
        name_rule = _rule(unwrap(get_args(kind)[0])[1])
        return "a map" + (f"; each name {name_rule.allowed}" if name_rule else "")
    if (model := model_of(kind)) is not None:
        return "a map with the keys " + ", ".join(n for n, f in model.model_fields.items() if not f.exclude)
    return rule.allowed if rule else ""


def write(value: Any, rule: Rule | None = None) -> str:
    """A value as a stack file spells it; secrets never."""
    match value:
        case SecretStr():
            return "[secret]"
        case bool():
            return "true" if value else "false"
        case timedelta():
            return units.format_duration(value)
        case int() if isinstance(rule, Size):
            return units.format_size(value)
        case int() | float() if isinstance(rule, Cpus):
            return units.format_cpu(value)
        case BaseModel() | None:
            return ""
        case Mapping():
            return "{" + ", ".join(f"{k}: {write(v)}" for k, v in value.items()) + "}"
        case list() | tuple():
            return "[" + ", ".join(write(item, rule) for item in value) + "]"
    return str(value)


def _rule(markers: Sequence[Any]) -> Rule | None:
    return marker(markers, Rule)  # type: ignore[type-abstract]
