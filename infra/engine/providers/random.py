"""The `random` package: values made once and kept in the state, in the form that Pulumi's own provider writes.

The real provider takes such a state over and reports no change. Every input is part of what the value was made from,
so any change of one replaces the resource.
"""

from __future__ import annotations

import base64
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import bcrypt

from infra.engine.providers.base import (
    CheckFailure,
    CheckResult,
    DiffResult,
    Provider,
    ProviderRequest,
    ResourceOutputs,
)
from infra.engine.values import has_unknown, same_value

_SPECIAL: Final = "!@#$%&*()-_=+[]{}<>:?"
_CLASSES: Final = (
    # input, least number, characters
    ("lower", "minLower", string.ascii_lowercase),
    ("upper", "minUpper", string.ascii_uppercase),
    ("numeric", "minNumeric", string.digits),
    ("special", "minSpecial", _SPECIAL),
)
_BCRYPT_COST: Final = 10
_BCRYPT_BYTES: Final = 72
"""bcrypt reads no more; the rest of a longer password is not in the hash."""
_NO_ID: Final = "none"
"""The id of what is secret: an id stands in the state file in the clear."""


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """One resource type: its inputs with their defaults (None for none), those required, and how it is made."""

    make: Callable[[Mapping[str, Any]], tuple[str, dict[str, Any]]]
    """From all inputs to the id and the outputs that are not inputs."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    required: frozenset[str] = frozenset()


class RandomProvider(Provider):
    def supports(self, type_: str) -> bool:
        return type_ in _KINDS

    def check(self, request: ProviderRequest) -> CheckResult:
        kind = _KINDS[request.type]
        known = {"keepers", *kind.defaults} | (
            {"number"} & request.inputs.keys() if "numeric" in kind.defaults else set()
        )
        failures = [
            CheckFailure(property=key, reason=f"is unknown; known are {', '.join(sorted(known))}")
            for key in request.inputs
            if key not in known
        ]
        failures += [
            CheckFailure(property=key, reason="is required")
            for key in sorted(kind.required)
            if key not in request.inputs
        ]
        if not failures and not has_unknown(dict(request.inputs)):
            failures += _out_of_range(_effective(request))
        return CheckResult(inputs=request.inputs, failures=tuple(failures))

    def diff(self, request: ProviderRequest) -> DiffResult:
        kind = _KINDS[request.type]
        # What the state shows counts, not what was once written: an input that now spells out its default is no change.
        new, old = (
            _effective(request),
            {**kind.defaults, **_inputs_of(request.old_inputs), **_inputs_of(request.old_outputs)},
        )
        changed = tuple(
            key for key in sorted({"keepers", *kind.defaults}) if not same_value(new.get(key), old.get(key))
        )
        return DiffResult(changes=bool(changed), replaces=changed)

    def create(self, request: ProviderRequest) -> ResourceOutputs:
        kind = _KINDS[request.type]
        inputs = _effective(request)
        id_, made = kind.make(inputs)
        return ResourceOutputs(
            id=id_, outputs={**{key: value for key, value in inputs.items() if value is not None}, **made}
        )


def _inputs_of(values: Mapping[str, Any]) -> dict[str, Any]:
    """`number` is the former name of `numeric`."""
    renamed = dict(values)
    if "number" in renamed:
        renamed.setdefault("numeric", renamed["number"])
    return renamed


def _effective(request: ProviderRequest) -> dict[str, Any]:
    return {**_KINDS[request.type].defaults, **_inputs_of(request.inputs)}


def _out_of_range(inputs: Mapping[str, Any]) -> list[CheckFailure]:
    failures = []
    for key in ("length", "byteLength"):
        value = inputs.get(key)
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            failures.append(CheckFailure(property=key, reason=f"is {value!r}; must be a whole number of at least 1"))
    if failures or "lower" not in inputs:
        return failures
    least = sum(inputs[minimum] for _, minimum, _ in _CLASSES)
    if least > inputs["length"]:
        failures.append(
            CheckFailure(property="length", reason=f"is {inputs['length']}, less than the least numbers need: {least}")
        )
    if not any(inputs[name] for name, _, _ in _CLASSES):
        failures.append(
            CheckFailure(property="lower", reason="is false as are upper, numeric and special: no characters")
        )
    return failures


def _characters(inputs: Mapping[str, Any]) -> str:
    """The wanted number of characters, with at least so many of each class, in an order that tells nothing."""
    sets = {name: characters for name, _, characters in _CLASSES}
    if inputs.get("overrideSpecial"):
        sets["special"] = inputs["overrideSpecial"]
    allowed = "".join(sets[name] for name, _, _ in _CLASSES if inputs[name])
    chosen = [secrets.choice(sets[name]) for name, minimum, _ in _CLASSES for _ in range(inputs[minimum])]
    chosen += [secrets.choice(allowed) for _ in range(inputs["length"] - len(chosen))]
    secrets.SystemRandom().shuffle(chosen)
    return "".join(chosen)


def _password(inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    result = _characters(inputs)
    salt = bcrypt.gensalt(_BCRYPT_COST, prefix=b"2a")
    hashed = bcrypt.hashpw(result.encode()[:_BCRYPT_BYTES], salt).decode()
    meta = '{"schema_version":"3"}'
    return _NO_ID, {
        "id": _NO_ID,
        "result": result,
        "bcryptHash": hashed,
        "number": inputs["numeric"],
        "__meta": meta,
    }


def _bytes(inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    raw = secrets.token_bytes(inputs["length"])
    # The real provider makes the id the value itself, in the clear; it also accepts this one.
    return _NO_ID, {"base64": base64.b64encode(raw).decode(), "hex": raw.hex()}


def _id(inputs: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    raw = secrets.token_bytes(inputs["byteLength"])
    prefix = inputs.get("prefix") or ""
    url = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return url, {
        "id": url,
        "b64Url": prefix + url,
        "b64Std": prefix + base64.b64encode(raw).decode(),
        "dec": prefix + str(int.from_bytes(raw)),
        "hex": prefix + raw.hex(),
    }


_TEXT_DEFAULTS: Final = {
    "length": None,
    "lower": True,
    "minLower": 0,
    "upper": True,
    "minUpper": 0,
    "numeric": True,
    "minNumeric": 0,
    "special": True,
    "minSpecial": 0,
    "overrideSpecial": None,
}

_KINDS: Final[Mapping[str, _Kind]] = {
    "random:index/randomPassword:RandomPassword": _Kind(
        make=_password, defaults=_TEXT_DEFAULTS, required=frozenset({"length"})
    ),
    "random:index/randomBytes:RandomBytes": _Kind(
        make=_bytes, defaults={"length": None}, required=frozenset({"length"})
    ),
    "random:index/randomId:RandomId": _Kind(
        make=_id, defaults={"byteLength": None, "prefix": None}, required=frozenset({"byteLength"})
    ),
}
