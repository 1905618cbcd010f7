"""One resource as the program registers it, with every option, read strictly from the SDK's request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from pulumi.runtime.proto import alias_pb2, resource_pb2

from infra.engine.errors import EngineError
from infra.engine.program.wire import from_struct, from_value
from infra.engine.urns import package_of
from infra.engine.values import mask

HOOK_KINDS: Final = {
    "before_create": "BeforeCreate",
    "after_create": "AfterCreate",
    "before_update": "BeforeUpdate",
    "after_update": "AfterUpdate",
    "before_delete": "BeforeDelete",
    "after_delete": "AfterDelete",
    "on_error": "OnError",
}
"""The request's field of each kind of hook, and the kind's name in a state file."""

_DURATION_UNITS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|ms|s|m|h)")

_KNOWN_FIELDS: Final = frozenset(
    [
        "type",
        "name",
        "parent",
        "custom",
        "object",
        "protect",
        "dependencies",
        "provider",
        "propertyDependencies",
        "deleteBeforeReplace",
        "version",
        "ignoreChanges",
        "acceptSecrets",
        "additionalSecretOutputs",
        "aliasURNs",
        "importId",
        "customTimeouts",
        "deleteBeforeReplaceDefined",
        "supportsPartialValues",
        "remote",
        "acceptResources",
        "providers",
        "replaceOnChanges",
        "pluginDownloadURL",
        "pluginChecksums",
        "retainOnDelete",
        "aliases",
        "deletedWith",
        "replace_with",
        "replacement_trigger",
        "aliasSpecs",
        "sourcePosition",
        "stackTrace",
        "parentStackTraceHandle",
        "supportsResultReporting",
        "packageRef",
        "hooks",
        "hideDiffs",
        "envVarMappings",
        "accepts_byte_string",
    ]
)


@dataclass(frozen=True, kw_only=True)
class Alias:
    """A former identity of a resource: a whole URN, or the parts that were other than they are now."""

    urn: str | None = None
    name: str | None = None
    type: str | None = None
    stack: str | None = None
    project: str | None = None
    parent: str | None = None
    no_parent: bool = False


@dataclass(frozen=True, kw_only=True)
class Registration:
    """A resource that the program wants. Names are the SDK's; timeouts are in seconds; None means not set."""

    type: str
    name: str
    custom: bool
    remote: bool = False
    parent: str | None = None
    inputs: Mapping[str, Any] = field(default_factory=dict)
    dependencies: tuple[str, ...] = ()
    property_dependencies: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    provider: str | None = None
    providers: Mapping[str, str] = field(default_factory=dict)
    version: str | None = None
    plugin_download_url: str | None = None
    protect: bool | None = None
    retain_on_delete: bool | None = None
    delete_before_replace: bool | None = None
    ignore_changes: tuple[str, ...] = ()
    replace_on_changes: tuple[str, ...] = ()
    hide_diffs: tuple[str, ...] = ()
    additional_secret_outputs: tuple[str, ...] = ()
    aliases: tuple[Alias, ...] = ()
    import_id: str | None = None
    custom_timeouts: Mapping[str, float] = field(default_factory=dict)
    deleted_with: str | None = None
    replace_with: tuple[str, ...] = ()
    replacement_trigger: Any = None
    hooks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Names of hooks by kind as a state file has it (``BeforeCreate``)."""
    env_var_mappings: Mapping[str, str] = field(default_factory=dict)

    @property
    def package(self) -> str:
        return package_of(self.type)

    def options(self) -> dict[str, Any]:
        """The options that are set, masked, under Pulumi's names: what a reader of a plan wants to see."""
        aliases = [alias.urn or _alias_parts(alias) for alias in self.aliases]
        values: dict[str, Any] = {
            "protect": self.protect,
            "retainOnDelete": self.retain_on_delete,
            "deleteBeforeReplace": self.delete_before_replace,
            "ignoreChanges": list(self.ignore_changes),
            "replaceOnChanges": list(self.replace_on_changes),
            "hideDiffs": list(self.hide_diffs),
            "additionalSecretOutputs": list(self.additional_secret_outputs),
            "aliases": aliases,
            "customTimeouts": dict(self.custom_timeouts),
            "deletedWith": self.deleted_with,
            "replaceWith": list(self.replace_with),
            "replacementTrigger": mask(self.replacement_trigger),
            "hooks": {kind: list(names) for kind, names in self.hooks.items()},
            "propertyDependencies": {
                name: sorted(urns) for name, urns in sorted(self.property_dependencies.items()) if urns
            },
            "provider": self.provider,
            "providers": dict(self.providers),
            "version": self.version,
            "pluginDownloadURL": self.plugin_download_url,
            "import": self.import_id,
            "remote": self.remote or None,
            "envVarMappings": dict(self.env_var_mappings),
        }
        return {key: value for key, value in values.items() if value not in (None, [], {})}


class RegisteredTwiceError(EngineError):
    def __init__(self, goal: Registration) -> None:
        super().__init__(
            f"the program registers {goal.type} {goal.name!r} twice: give one of them another name or another parent"
        )


def read_registration(request: resource_pb2.RegisterResourceRequest) -> Registration:
    """Read a request; raises EngineError on a field that this engine does not know, rather than drop it."""
    what = f"{request.type} {request.name!r}"
    unknown = sorted(field.name for field, _ in request.ListFields() if field.name not in _KNOWN_FIELDS)
    if unknown:
        raise EngineError(
            f"{what} uses {', '.join(unknown)}, which the engine in process does not have: use the Pulumi CLI"
        )
    dependencies = tuple(request.dependencies)
    return Registration(
        type=request.type,
        name=request.name,
        custom=request.custom,
        remote=request.remote,
        parent=request.parent or None,
        inputs=from_struct(request.object),
        dependencies=dependencies,
        property_dependencies={key: tuple(deps.urns) for key, deps in request.propertyDependencies.items()},
        provider=request.provider or None,
        providers=dict(request.providers),
        version=request.version or None,
        plugin_download_url=request.pluginDownloadURL or None,
        protect=request.protect if request.HasField("protect") else None,
        retain_on_delete=request.retainOnDelete if request.HasField("retainOnDelete") else None,
        delete_before_replace=_delete_before_replace(request),
        ignore_changes=tuple(request.ignoreChanges),
        replace_on_changes=tuple(request.replaceOnChanges),
        hide_diffs=tuple(request.hideDiffs),
        additional_secret_outputs=tuple(request.additionalSecretOutputs),
        aliases=(*(Alias(urn=urn) for urn in request.aliasURNs), *map(_read_alias, request.aliases)),
        import_id=request.importId or None,
        custom_timeouts=_read_timeouts(request.customTimeouts, what=what),
        deleted_with=request.deletedWith or None,
        replace_with=tuple(request.replace_with),
        replacement_trigger=(
            from_value(request.replacement_trigger) if request.HasField("replacement_trigger") else None
        ),
        hooks=_read_hooks(request),
        env_var_mappings=dict(request.envVarMappings),
    )


def _delete_before_replace(request: resource_pb2.RegisterResourceRequest) -> bool | None:
    return request.deleteBeforeReplace if request.deleteBeforeReplaceDefined or request.deleteBeforeReplace else None


def _read_alias(alias: alias_pb2.Alias) -> Alias:
    if alias.WhichOneof("alias") == "urn":
        return Alias(urn=alias.urn)
    spec = alias.spec
    return Alias(
        name=spec.name or None,
        type=spec.type or None,
        stack=spec.stack or None,
        project=spec.project or None,
        parent=spec.parentUrn or None,
        no_parent=spec.noParent,
    )


def _alias_parts(alias: Alias) -> dict[str, Any]:
    parts = {
        "name": alias.name,
        "type": alias.type,
        "stack": alias.stack,
        "project": alias.project,
        "parent": alias.parent,
        "noParent": alias.no_parent or None,
    }
    return {key: value for key, value in parts.items() if value is not None}


def _read_timeouts(timeouts: resource_pb2.RegisterResourceRequest.CustomTimeouts, *, what: str) -> dict[str, float]:
    seconds = {}
    for field_, text in timeouts.ListFields():
        try:
            seconds[field_.name] = parse_duration(text)
        except ValueError as error:
            raise EngineError(f"{what}: custom_timeouts.{field_.name}: {error}") from None
    return seconds


def _read_hooks(request: resource_pb2.RegisterResourceRequest) -> dict[str, tuple[str, ...]]:
    return {HOOK_KINDS[field_.name]: tuple(names) for field_, names in request.hooks.ListFields()}


def parse_duration(text: str) -> float:
    """Seconds in a Go duration such as ``1h30m`` or ``2.5s``; raises ValueError on anything else."""
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"{text!r} is no duration: write it as in '90s', '10m' or '1h30m'")
    return sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts)
