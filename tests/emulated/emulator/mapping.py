"""From a Pulumi resource's inputs to the arguments of an AWS call, guided by the call's own model.

Names are matched without regard to case and number (`capacityProviderStrategies`, `capacityProviderStrategy`); tables
give those that differ. A property that finds no member is an error: nothing is left out in silence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import jmespath
from botocore.model import ListShape, MapShape, Shape, StructureShape

from emulator.model import operation

NOWHERE: Final = ""
"""In a table of names: the property reaches no member of this call."""


Where = str | Callable[[Any, Mapping[str, Any]], Any]
"""Where an output is: JMESPath into the record, a template after ``=``, or a function of record and what is known."""


Condition = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]


class MappingError(ValueError):
    """A property has no place in the call."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One AWS call. Properties are found by name; `names` holds those that differ, by dotted path."""

    operation: str
    names: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, Any] = field(default_factory=dict)
    """Members with a template (`{id}`, `{name}`) or a constant."""
    only: frozenset[str] | None = None
    """The properties that the step takes; all that it has members for when None."""
    when: str | None = None
    """Run on creation only if this property is given; None: if any property is."""
    always: bool = False
    convert: Mapping[str, Callable[[Any], Any]] = field(default_factory=dict)
    spread: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Blocks whose entries are arguments of the call itself: each entry's member."""
    build: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None
    """Makes the arguments from the properties in `only`, where a table cannot."""

    def takes(self, service: str, name: str) -> bool:
        if self.only is not None and name not in self.only:
            return False
        if self.build or name in self.spread:
            return True
        if name in self.names:
            return self.names[name] != NOWHERE
        return member_name(operation(service, self.operation).input_shape, name) is not None

    def arguments(self, service: str, inputs: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
        """The call's arguments; raises MappingError with the property that has no place."""
        shape = operation(service, self.operation).input_shape
        arguments: dict[str, Any] = {}
        for member, template in self.fixed.items():
            value = fill(template, known)
            if value is not None:
                _put(arguments, member, value)
        if self.build:
            return {**arguments, **self.build(inputs)}
        for name, value in inputs.items():
            if value is None or not self.takes(service, name):
                continue
            if name in self.spread:
                self._spread(arguments, shape, name, value)
                continue
            path = self.names.get(name) or member_name(shape, name)
            assert path is not None
            if name in self.convert:
                _put(arguments, path, self.convert[name](value))
            else:
                _put(arguments, path, convert(_shape_at(shape, path), value, name, self.names))
        return arguments

    def _spread(self, arguments: dict[str, Any], shape: Shape | None, name: str, value: Mapping[str, Any]) -> None:
        for key, item in value.items():
            if key not in self.spread[name]:
                raise MappingError(f"{name}.{key} has no place: known are {', '.join(self.spread[name])}")
            path = self.spread[name][key]
            if path != NOWHERE and item is not None:
                _put(arguments, path, convert(_shape_at(shape, path), item, f"{name}.{key}", self.names))


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One resource type: which calls make, change and remove it, and what it tells."""

    type: str
    service: str
    create: Step | Callable[..., Any]
    id: Where
    """JMESPath into the record, or a template after ``=``."""
    record: str = "@"
    """JMESPath from the answer of `read`, or else of `create`, to what describes the resource."""
    read: Step | None = None
    outputs: Mapping[str, Where] = field(default_factory=dict)
    """By property, as `id`. One that finds nothing is an error."""
    optional: Mapping[str, Where] = field(default_factory=dict)
    steps: tuple[Step, ...] = ()
    """Calls after the creation, each again when one of its properties changes."""
    update: Step | Callable[..., Any] | None = None
    delete: tuple[Step, ...] | Callable[..., Any] = ()
    replaces: frozenset[str] = frozenset()
    """ForceNew of the real provider."""
    replaces_when: Mapping[str, Condition] = field(default_factory=dict)
    """What its CustomizeDiff replaces under conditions: by property, whether these old inputs and new ones do."""
    local: Mapping[str, str] = field(default_factory=dict)
    """Properties that reach no call, each with the reason."""
    named: str | None = None
    """The property that Pulumi names by itself."""
    name_limit: int = 255
    prefix: str | None = None
    delete_first: bool = False
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """Defaults of the real provider that differ from the API's own."""
    tags: str | None = None
    """Resource type in EC2 tag specifications."""
    tagged: bool = False
    """A `create` that is a function takes tags, as `tagsAll`."""

    def all_steps(self) -> tuple[Step, ...]:
        return tuple(step for step in (self.create, *self.steps, self.update) if isinstance(step, Step))

    def taggable(self) -> bool:
        return bool(self.tags or self.tagged) or (
            isinstance(self.create, Step) and self.create.build is None and self.create.takes(self.service, "tags")
        )

    def replaced_by(self, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
        """Whether a change of that property makes another resource."""
        return name in self.replaces or (name in self.replaces_when and self.replaces_when[name](old, new))

    def covers(self, name: str) -> bool:
        return (
            name in self.local
            or (self.named is not None and name == f"{self.prefix or self.named}Prefix")
            or (name in self.replaces and not isinstance(self.create, Step))
            or (name in ("tags", "tagsAll") and self.taggable())
            or any(step.takes(self.service, name) for step in self.all_steps())
        )


def member_name(shape: Shape | None, name: str) -> str | None:
    """The member that a property's name means, or None."""
    if not isinstance(shape, StructureShape):
        return None
    by_name = {key.lower(): key for key in shape.members}
    return next((by_name[form] for form in _forms(name.lower()) if form in by_name), None)


def _forms(name: str) -> list[str]:
    forms = [name, f"{name}s", f"{name}list"]
    if name.endswith("ies"):
        forms.append(f"{name[:-3]}y")
    elif name.endswith("es"):
        forms += [name[:-1], name[:-2]]
    elif name.endswith("s"):
        forms.append(name[:-1])
    elif name.endswith("y"):
        forms.append(f"{name[:-1]}ies")
    return forms


def convert(shape: Shape, value: Any, where: str, names: Mapping[str, str]) -> Any:
    if isinstance(shape, StructureShape):
        return _structure(shape, _single(value), where, names)
    if isinstance(shape, ListShape):
        return _list(shape, value, where, names)
    if isinstance(shape, MapShape):
        return {key: convert(shape.value, item, f"{where}.{key}", names) for key, item in value.items()}
    return _scalar(shape, value)


def _structure(shape: StructureShape, value: Any, where: str, names: Mapping[str, str]) -> Any:
    if not isinstance(value, Mapping):
        return value
    found: dict[str, Any] = {}
    for key, item in value.items():
        if item is None:
            continue
        path = names.get(f"{where}.{key}")
        if path == NOWHERE:
            continue
        path = path or member_name(shape, key)
        if path is None:
            raise MappingError(f"{where}.{key} is no member of {shape.name}: it has {', '.join(shape.members)}")
        _put(found, path, convert(_shape_at(shape, path), item, f"{where}.{key}", names))
    return found


def _list(shape: ListShape, value: Any, where: str, names: Mapping[str, str]) -> Any:
    members = shape.member.members if isinstance(shape.member, StructureShape) else {}
    pair = next(
        (
            p
            for p in (("Key", "Value"), ("key", "value"), ("TagKey", "TagValue"), ("Name", "Value"))
            if set(p) == set(members)
        ),
        None,
    )
    if pair and isinstance(value, Mapping):
        return [{pair[0]: key, pair[1]: item} for key, item in sorted(value.items())]
    items = value if isinstance(value, list) else [value]
    return [convert(shape.member, item, where, names) for item in items]


def _single(value: Any) -> Any:
    """A block that the provider allows once is a list of one in some resources."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _scalar(shape: Shape, value: Any) -> Any:
    if isinstance(value, bool):
        return value
    if shape.type_name in ("integer", "long"):
        if isinstance(value, float) and value.is_integer():
            return int(value)
        if isinstance(value, str) and value.lstrip("-").isdigit():
            return int(value)
    if shape.type_name in ("float", "double") and isinstance(value, int | str):
        try:
            return float(value)
        except ValueError:
            return value
    if shape.type_name == "string" and isinstance(value, int | float):
        return str(int(value)) if float(value).is_integer() else str(value)
    return value


def _shape_at(shape: Shape | None, path: str) -> Shape:
    for part in path.split("."):
        if isinstance(shape, ListShape):
            shape = shape.member
        if not isinstance(shape, StructureShape) or part not in shape.members:
            raise MappingError(f"the table names {path}, which {getattr(shape, 'name', None)} does not have")
        shape = shape.members[part]
    assert shape is not None
    return shape


def _put(target: dict[str, Any], path: str, value: Any) -> None:
    *parents, last = path.split(".")
    for parent in parents:
        target = target.setdefault(parent, {})
    target[last] = value


def fill(template: Any, known: Mapping[str, Any]) -> Any:
    """A template with what is known put in; one that is a single name gives the value itself, None if there is none."""
    if isinstance(template, Mapping):
        return {key: fill(item, known) for key, item in template.items()}
    if isinstance(template, list):
        return [fill(item, known) for item in template]
    if not isinstance(template, str) or "{" not in template:
        return template
    if template.startswith("{") and template.endswith("}") and template.count("{") == 1:
        return known.get(template[1:-1])
    return template.format_map(known)


def find(expression: Where, record: Any, known: Mapping[str, Any]) -> Any:
    if not isinstance(expression, str):
        return expression(record, known)
    return fill(expression[1:], known) if expression.startswith("=") else jmespath.search(expression, record)
