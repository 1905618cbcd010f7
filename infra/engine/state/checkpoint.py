"""Pulumi's checkpoint: the JSON text of a stack's whole state, and `Snapshot`, its form in memory.

The text is what the CLI writes, byte for byte as far as it carries the same facts: field order, number forms, and the
ciphertext of every secret that has not changed. Whatever this engine does not know is kept and written back.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from typing import Any, Final

from infra.engine.errors import StateError
from infra.engine.state import go_json
from infra.engine.state.crypto import SecretsManager
from infra.engine.state.properties import Ciphertexts, decode, encode, holds_byte_string
from infra.engine.state.snapshot import PendingOperation, ResourceState, Snapshot

ENGINE_VERSION: Final = "v3.260.0"
"""The version of Pulumi's engine whose state format this is; the manifest names it, and its magic follows from it."""

_FEATURE_FIELDS: Final = {
    "refreshBeforeUpdate": "refreshBeforeUpdate",
    "viewOf": "views",
    "resourceHooks": "hooks",
    "taint": "taint",
    "replaceWith": "replaceWith",
    "extensionRef": "extensionParameterization",
    "snippetID": "snippets-prototype",
}
"""By resource field, the feature that a state which uses it must declare; older CLIs then refuse it."""
_BYTE_STRING_FEATURE: Final = "byteString"
_FEATURES: Final = frozenset({*_FEATURE_FIELDS.values(), _BYTE_STRING_FEATURE})

# The order in which the CLI writes a resource's fields.
_FIELD_ORDER: Final = (
    "urn", "custom", "delete", "id", "type", "inputs", "outputs", "parent", "protect", "taint", "external",
    "dependencies", "initErrors", "provider", "propertyDependencies", "pendingReplacement",
    "additionalSecretOutputs", "aliases", "customTimeouts", "importID", "retainOnDelete", "deletedWith",
    "replaceWith", "created", "modified", "sourcePosition", "stackTrace", "ignoreChanges", "hideDiff",
    "replaceOnChanges", "replacementTrigger", "refreshBeforeUpdate", "viewOf", "resourceHooks", "extensionRef",
    "snippetID",
)  # fmt: skip


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


_ATTRIBUTES: Final = {_camel(one.name): one.name for one in fields(ResourceState) if one.name != "extra"}
"""By field of the file, the attribute of `ResourceState` that holds it. All others are kept in its `extra`."""
_PROPERTY_FIELDS: Final = frozenset({"inputs", "outputs", "replacementTrigger"})
_LATEST_FIELDS: Final = ("manifest", "secrets_providers", "resources", "pending_operations", "metadata")


@dataclass
class Checkpoint:
    """One stack's checkpoint. It remembers, between a load and the saves that follow, what no `Snapshot` holds."""

    project: str
    stack: str
    ciphertexts: Ciphertexts = field(default_factory=Ciphertexts)
    manifest: dict[str, Any] = field(default_factory=dict)
    """Fields of the manifest beyond time, magic and version."""
    latest: dict[str, Any] = field(default_factory=dict)
    """Fields of the deployment that this engine does not know."""
    outer: dict[str, Any] = field(default_factory=dict)
    """Fields beside `stack` and `latest`."""
    secrets_state: Mapping[str, Any] | None = None
    """The state of the secrets manager that `ciphertexts` are of."""
    blinded: bool = False
    """Whether it was read without its secrets."""

    @property
    def full_name(self) -> str:
        # A file backend has no organizations, and the CLI always writes this word.
        return f"organization/{self.project}/{self.stack}"

    def decode(self, content: bytes, *, open_secrets: Callable[[Mapping[str, Any]], SecretsManager | None]) -> Snapshot:
        """The snapshot in `content`.

        `open_secrets` gets the file's ``secrets_providers`` and returns the manager to read with; None leaves every
        secret blinded. Raises StateError for what is not a checkpoint or one of a form that is not known here.
        """
        document = _document(content)
        _check_version(document)
        try:
            return self._decode(document["checkpoint"], open_secrets)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise StateError(f"it is JSON, but not a checkpoint ({error!r})") from error

    def _decode(
        self, body: Mapping[str, Any], open_secrets: Callable[[Mapping[str, Any]], SecretsManager | None]
    ) -> Snapshot:
        self.outer = {key: value for key, value in body.items() if key not in ("stack", "latest")}
        snapshot = Snapshot(stack=self.stack, project=self.project)
        latest = body.get("latest")
        if not latest:
            return snapshot
        provider = latest.get("secrets_providers") or {}
        secrets = open_secrets(provider) if provider.get("type") else None
        self.secrets_state = provider.get("state")
        self.latest = {key: value for key, value in latest.items() if key not in _LATEST_FIELDS}
        self.manifest = {
            key: value for key, value in latest.get("manifest", {}).items() if key not in ("time", "magic", "version")
        }
        snapshot.metadata = latest.get("metadata") or {}
        snapshot.resources = [self._decode_resource(item, secrets) for item in latest.get("resources") or []]
        snapshot.pending = [
            PendingOperation(resource=self._decode_resource(item["resource"], secrets, pending=True), kind=item["type"])
            for item in latest.get("pending_operations") or []
        ]
        return snapshot

    def encode(self, snapshot: Snapshot, secrets: SecretsManager, *, now: datetime | None = None) -> bytes:
        """The text of `snapshot` as it stands in a state file."""
        if self.secrets_state != dict(secrets.state):
            # The salt changed since the state was written: none of its ciphertexts may stay.
            self.ciphertexts, self.secrets_state = Ciphertexts(), dict(secrets.state)
        features: set[str] = {"snippets-prototype"} if self.latest.get("snippets") else set()
        resources = [self._encode_resource(resource, secrets, features) for resource in snapshot.resources]
        pending = [
            {"resource": self._encode_resource(item.resource, secrets, features, pending=True), "type": item.kind}
            for item in snapshot.pending
        ]
        latest: dict[str, Any] = {
            "manifest": {
                "time": timestamp(now or datetime.now(UTC)),
                "magic": magic(ENGINE_VERSION),
                "version": ENGINE_VERSION,
                **self.manifest,
            },
            "secrets_providers": {"type": secrets.type, "state": dict(secrets.state)},
        }
        if resources:
            latest["resources"] = resources
        if pending:
            latest["pending_operations"] = pending
        latest["metadata"] = snapshot.metadata
        latest |= self.latest
        document: dict[str, Any] = {"version": 4 if features else 3}
        if features:
            document["features"] = sorted(features)
        document["checkpoint"] = {"stack": self.full_name, **self.outer, "latest": latest}
        return go_json.dumps(document, sort_keys=False, escape_html=False).encode()

    def _decode_resource(
        self, item: Mapping[str, Any], secrets: SecretsManager | None, *, pending: bool = False
    ) -> ResourceState:
        values: dict[str, Any] = {}
        extra: dict[str, Any] = {}
        place = _place(item, pending=pending)
        for key, value in item.items():
            if key in _PROPERTY_FIELDS:
                value = decode(value, place=(*place, key), secrets=secrets, ciphertexts=self.ciphertexts)
            if attribute := _ATTRIBUTES.get(key):
                values[attribute] = value
            else:
                extra[key] = value
        return ResourceState(**values, extra=extra)

    def _encode_resource(
        self, resource: ResourceState, secrets: SecretsManager, features: set[str], *, pending: bool = False
    ) -> dict[str, Any]:
        values = resource.extra | {key: getattr(resource, attribute) for key, attribute in _ATTRIBUTES.items()}
        values["propertyDependencies"] = dict(sorted(resource.property_dependencies.items()))
        place = _place(values, pending=pending)
        for key in _PROPERTY_FIELDS & values.keys():
            if holds_byte_string(values[key]):
                features.add(_BYTE_STRING_FEATURE)
            values[key] = encode(values[key], place=(*place, key), secrets=secrets, ciphertexts=self.ciphertexts)
        features |= {feature for key, feature in _FEATURE_FIELDS.items() if values.get(key)}
        ordered = [key for key in _FIELD_ORDER if key in values] + [key for key in values if key not in _FIELD_ORDER]
        return {key: values[key] for key in ordered if key == "custom" or values[key] or key in resource.extra}


def magic(version: str) -> str:
    """The manifest's check value, which the CLI compares with the version beside it."""
    return hashlib.sha256(version.encode()).hexdigest()


def timestamp(moment: datetime) -> str:
    """RFC 3339 in UTC, fractions without trailing zeros, as Go writes a time."""
    fraction = f"{moment.microsecond:06d}".rstrip("0")
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S}{'.' if fraction else ''}{fraction}Z"


def _place(fields: Mapping[str, Any], *, pending: bool) -> tuple[str, ...]:
    """A name for one copy of a resource in the file: its URN can also stand there as replaced, or as pending."""
    urn = str(fields.get("urn"))
    if pending:
        return (urn, "pending")
    return (urn, f"replaced {fields.get('id')}") if fields.get("delete") else (urn,)


def _document(content: bytes) -> dict[str, Any]:
    try:
        document = json.loads(content)
        if isinstance(document, dict) and isinstance(document.get("checkpoint", {}), dict):
            return document
    except (ValueError, RecursionError) as error:
        raise StateError(f"it is not valid JSON ({error})") from None
    raise StateError("it is JSON, but not a checkpoint")


def _check_version(document: Mapping[str, Any]) -> None:
    version = document.get("version")
    if version not in (3, 4) or "checkpoint" not in document:
        raise StateError(
            f"its checkpoint version is {version!r}, and this engine reads 3 and 4: "
            "a newer Pulumi CLI wrote it (use that one), or a very old one (run `pulumi up` once with a current CLI)"
        )
    unknown = sorted(set(document.get("features") or []) - _FEATURES) if version == 4 else []
    if unknown:
        raise StateError(
            f"it uses {', '.join(unknown)}, which this engine does not know: use the Pulumi CLI that wrote it"
        )
