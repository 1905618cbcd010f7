"""Pulumi's resource names: ``urn:pulumi:STACK::PROJECT::PARENTTYPE$TYPE::NAME``."""

from __future__ import annotations

from typing import Final, NamedTuple

STACK_TYPE: Final = "pulumi:pulumi:Stack"
PROVIDER_PREFIX: Final = "pulumi:providers:"
_PREFIX: Final = "urn:pulumi:"


class Urn(NamedTuple):
    """The parts of a URN. `qualified_type` holds the types of the component parents, outermost first."""

    stack: str
    project: str
    qualified_type: str
    name: str

    @property
    def type(self) -> str:
        return self.qualified_type.rsplit("$", 1)[-1]

    def __str__(self) -> str:
        return f"{_PREFIX}{self.stack}::{self.project}::{self.qualified_type}::{self.name}"


def parse_urn(text: str) -> Urn:
    """Raises ValueError when `text` is no URN. The name is all that follows the third separator."""
    parts = text.removeprefix(_PREFIX).split("::", 3)
    if not text.startswith(_PREFIX) or len(parts) != 4:
        raise ValueError(f"not a URN: {text!r}")
    return Urn(*parts)


def make_urn(*, stack: str, project: str, parent: str | None, type_: str, name: str) -> str:
    """The URN of a resource; the stack as parent leaves no trace in it."""
    if parent:
        qualified = parse_urn(parent).qualified_type
        if qualified != STACK_TYPE:
            type_ = f"{qualified}${type_}"
    return str(Urn(stack, project, type_, name))


def package_of(type_: str) -> str:
    """The package that a custom resource's type belongs to: ``aws`` for ``aws:s3/bucket:Bucket``."""
    if type_.startswith(PROVIDER_PREFIX):
        return type_.removeprefix(PROVIDER_PREFIX)
    return type_.split(":", 1)[0]


def is_provider(type_: str) -> bool:
    return type_.startswith(PROVIDER_PREFIX)


def provider_urn(reference: str) -> str:
    """The URN in a provider reference (``<urn>::<id>``)."""
    return reference.rsplit("::", 1)[0]


def is_default_provider(urn: str) -> bool:
    """Whether the engine made this provider, rather than the program."""
    parts = parse_urn(urn)
    return is_provider(parts.type) and (parts.name == "default" or parts.name.startswith("default_"))
