"""Checks of requests and responses against botocore's service models, beyond what botocore itself checks.

botocore refuses unknown members, wrong types, missing members and values below a minimum. The models also hold enums,
patterns and upper bounds, which only the service enforces: here they are enforced before the call.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import botocore.session
from botocore.model import ListShape, MapShape, OperationModel, ServiceModel, Shape, StructureShape
from botocore.validate import ParamValidator

_CLASSES: Final = (
    # The models are written for Java. Inside a character class these stand for a little more than the original.
    (r"\p{L}", r"\w"),
    (r"\p{M}", r"\w"),
    (r"\p{N}", r"\d"),
    (r"\p{Zs}", r"\s"),
    (r"\p{Z}", r"\s"),
    (r"\p{P}", r"!-/:-@\[-`{-~"),
    (r"\p{S}", r"$+<=>^`|~"),
    (r"\p{ASCII}", r"[\x00-\x7f]"),
    (r"\p{Print}", r"[\x20-\x7e]"),
    (r"\p{Graph}", r"\x21-\x7e"),
    (r"[\w-_]", r"[\w_-]"),
    (r"\uD800\uDC00-\uDBFF\uDFFF", "\U00010000-\U0010ffff"),
    ("(?i)", ""),
)


class ModelError(ValueError):
    """A request or a response is not what the service's model says."""


@functools.cache
def service(name: str) -> ServiceModel:
    return _session().get_service_model(name)


@functools.cache
def _session() -> botocore.session.Session:
    return botocore.session.get_session()


def operation(service_name: str, name: str) -> OperationModel:
    return service(service_name).operation_model(name)


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """The model's pattern; raises re.error when it has a form that is not translated."""
    for java, python in _CLASSES:
        pattern = pattern.replace(java, python)
    return re.compile(pattern)


def problems(shape: Shape | None, value: Any, *, where: str = "") -> list[str]:
    """All that is wrong with a value: botocore's findings and ours."""
    if shape is None:
        return [f"{where}: {value!r}, where the model has nothing"] if value else []
    report = ParamValidator().validate(value, shape)
    found = [line.strip() for line in report.generate_report().splitlines()] if report.has_errors() else []
    return found + list(_beyond(shape, value, where))


def check_request(service_name: str, name: str, params: Mapping[str, Any]) -> None:
    found = problems(operation(service_name, name).input_shape, dict(params))
    if found:
        raise ModelError(f"{service_name}:{name}: {'; '.join(found)}")


def check_response(service_name: str, name: str, response: Mapping[str, Any]) -> None:
    told = {key: value for key, value in response.items() if key != "ResponseMetadata"}
    found = problems(operation(service_name, name).output_shape, told)
    if found:
        raise ModelError(f"the stand-in's answer to {service_name}:{name}: {'; '.join(found)}")


def _beyond(shape: Shape, value: Any, where: str) -> Iterator[str]:
    if isinstance(shape, StructureShape) and isinstance(value, Mapping):
        yield from _union(shape, value, where)
        for key, item in value.items():
            if key in shape.members:
                yield from _beyond(shape.members[key], item, f"{where}.{key}".lstrip("."))
    elif isinstance(shape, ListShape) and isinstance(value, Sequence) and not isinstance(value, str):
        yield from _bounds(shape, len(value), where, "items")
        for number, item in enumerate(value):
            yield from _beyond(shape.member, item, f"{where}[{number}]")
    elif isinstance(shape, MapShape) and isinstance(value, Mapping):
        yield from _bounds(shape, len(value), where, "entries")
        for key, item in value.items():
            yield from _beyond(shape.key, key, f"{where} key {key!r}")
            yield from _beyond(shape.value, item, f"{where}.{key}")
    elif isinstance(value, str):
        yield from _text(shape, value, where)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _bounds(shape, value, where, "")


def _union(shape: StructureShape, value: Mapping[str, Any], where: str) -> Iterator[str]:
    if getattr(shape, "is_tagged_union", False) and len(value) != 1:
        yield f"{where}: exactly one of {', '.join(shape.members)} must be set"


def _bounds(shape: Shape, size: float, where: str, unit: str) -> Iterator[str]:
    least, most = shape.metadata.get("min"), shape.metadata.get("max")
    if least is not None and size < float(least):
        yield f"{where}: {size} {unit} is below the minimum {least}"
    if most is not None and size > float(most):
        yield f"{where}: {size} {unit} is above the maximum {most}"


def _text(shape: Shape, value: str, where: str) -> Iterator[str]:
    if shape.type_name != "string":
        return
    yield from _bounds(shape, len(value), where, "characters")
    allowed = shape.metadata.get("enum")
    if allowed and value not in allowed:
        yield f"{where}: {value!r} is none of {', '.join(allowed)}"
    pattern = shape.metadata.get("pattern")
    if pattern and not compiled(pattern).fullmatch(value):
        yield f"{where}: {value!r} does not match {pattern}"
