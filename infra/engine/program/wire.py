"""Property values on the wire between the SDK and the monitor: protobuf structs with signed maps in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from google.protobuf import struct_pb2

from infra.engine import signatures as sig
from infra.engine.values import UNKNOWN, Secret

_EXACT: Final = 2**53


class WireError(Exception):
    """The SDK sent a value of a form that this engine does not know."""


def from_struct(struct: struct_pb2.Struct) -> dict[str, Any]:
    """A property map as `infra.engine.values` describes it; raises WireError on a signature it does not know."""
    return {key: from_value(value) for key, value in struct.fields.items()}


def from_value(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "null_value" | None:
            return None
        case "number_value":
            return _number(value.number_value)
        case "string_value":
            return UNKNOWN if value.string_value == sig.UNKNOWN else value.string_value
        case "bool_value":
            return value.bool_value
        case "list_value":
            return [from_value(item) for item in value.list_value.values]
        case "struct_value":
            return _from_map(value.struct_value)
    raise WireError(f"a value of an unknown kind: {value.WhichOneof('kind')}")


def _number(number: float) -> int | float:
    """Every number arrives as a float; whole ones are integers to everybody who reads them later."""
    return int(number) if number.is_integer() and abs(number) <= _EXACT else number


def _from_map(struct: struct_pb2.Struct) -> Any:
    fields = struct.fields
    if sig.KEY not in fields:
        return from_struct(struct)
    signature = fields[sig.KEY].string_value
    if signature == sig.SECRET:
        return Secret(from_value(fields["value"]))
    if signature in sig.PLAIN_MAPS:
        return from_struct(struct)
    raise WireError(f"a value with the unknown signature {signature}")


def to_struct(properties: Mapping[str, Any], *, secrets: bool = True) -> struct_pb2.Struct:
    """The property map as a struct. With ``secrets=False`` secrets go out bare, as providers want them."""
    struct = struct_pb2.Struct()
    for key, value in properties.items():
        _fill(struct.fields[key], value, secrets=secrets)
    return struct


def _fill(target: struct_pb2.Value, value: Any, *, secrets: bool) -> None:
    match value:
        case None:
            target.null_value = struct_pb2.NULL_VALUE
        case bool():
            target.bool_value = value
        case int() | float():
            target.number_value = value
        case str():
            target.string_value = value
        case Secret():
            if secrets:
                fields = target.struct_value.fields
                fields[sig.KEY].string_value = sig.SECRET
                _fill(fields["value"], value.value, secrets=True)
            else:
                _fill(target, value.value, secrets=False)
        case dict():
            # Touching the field makes an empty map arrive as a map.
            target.struct_value.SetInParent()
            for key, item in value.items():
                _fill(target.struct_value.fields[key], item, secrets=secrets)
        case list() | tuple():
            target.list_value.SetInParent()
            for item in value:
                _fill(target.list_value.values.add(), item, secrets=secrets)
        case _ if value is UNKNOWN:
            target.string_value = sig.UNKNOWN
        case _:
            raise WireError(f"a value of type {type(value).__name__} cannot be sent to the program")
