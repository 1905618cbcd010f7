"""The AWS provider that the engine gets in these tests: every resource type by its table in `kinds`."""

from __future__ import annotations

import base64
import copy
import json
import secrets
from collections.abc import Mapping
from typing import Any

import jmespath
from botocore.exceptions import ClientError

from emulator.cloud import ACCOUNT, Cloud
from emulator.kinds import KINDS
from emulator.mapping import Kind, MappingError, Step, find
from emulator.tags import retag
from infra.engine.errors import EngineError
from infra.engine.providers.base import (
    CheckFailure,
    CheckResult,
    DiffResult,
    Provider,
    ProviderRequest,
    ResourceOutputs,
)
from infra.engine.providers.registry import ProviderContext, ProviderFactory
from infra.engine.values import same_value

_PROVIDER_WIDE = frozenset({"region", "__defaults", "tagsAll"})


class AwsProvider(Provider):
    """Serves one explicit or default provider; `tags` are those of its `default_tags`."""

    def __init__(self, cloud: Cloud, tags: Mapping[str, str]) -> None:
        self.cloud = cloud
        self._tags = dict(tags)

    def supports(self, type_: str) -> bool:
        return type_ in KINDS

    def check(self, request: ProviderRequest) -> CheckResult:
        kind = KINDS[request.type]
        inputs = dict(request.inputs)
        failures = [
            CheckFailure(property=name, reason=f"has no place in the emulation of {request.type}: add it to its table")
            for name in inputs
            if name not in _PROVIDER_WIDE and not kind.covers(name)
        ]
        if kind.named and inputs.get(kind.named) is None and inputs.get(f"{kind.prefix or kind.named}Prefix") is None:
            name = request.old_inputs.get(kind.named) or f"{request.name}-{secrets.token_hex(4)[:7]}"
            if len(name) > kind.name_limit:
                reason = f"{name!r} plus 7 random characters is longer than {kind.name_limit}"
                failures.append(CheckFailure(property=kind.named, reason=reason))
            inputs[kind.named] = name
        for name, value in kind.defaults.items():
            inputs.setdefault(name, value)
        if kind.taggable():
            inputs["tagsAll"] = {**self._tags, **(inputs.get("tags") or {})}
        return CheckResult(inputs=inputs, failures=tuple(failures))

    def diff(self, request: ProviderRequest) -> DiffResult:
        kind = KINDS[request.type]
        changed = _changed(request)
        replaces = tuple(sorted(name for name in changed if kind.replaced_by(name, request.old_inputs, request.inputs)))
        return DiffResult(changes=bool(changed), replaces=replaces, delete_before_replace=kind.delete_first)

    def create(self, request: ProviderRequest) -> ResourceOutputs:
        kind = KINDS[request.type]
        inputs = self._named(kind, request)
        known = self._known(request, inputs)
        if not isinstance(kind.create, Step):
            id_, outputs = kind.create(self.cloud, inputs, known)
            return ResourceOutputs(id=id_, outputs={**inputs, **outputs})
        answer = self._call(kind, kind.create, self._tagged(kind, inputs), known)
        id_, record = self._record(kind, answer, known)
        if not isinstance(id_, str) or not id_:
            raise EngineError(f"{request.type}: no id at {kind.id} in {record}")
        known["id"] = id_
        known.update(self._outputs(kind, record, known))
        for step in kind.steps:
            # What the creation has taken already needs no second call.
            left = {name for name in inputs if inputs[name] is not None and not kind.create.takes(kind.service, name)}
            names = [name for name in left if step.takes(kind.service, name)]
            if step.always or (step.when in inputs if step.when else names):
                self._call(kind, step, inputs, known)
        return ResourceOutputs(id=id_, outputs=self._seen(kind, request, inputs, known))

    def update(self, request: ProviderRequest) -> Mapping[str, Any]:
        kind = KINDS[request.type]
        inputs = dict(request.inputs)
        known = {
            **self._known(request, {**request.old_outputs, **inputs}),
            "id": request.id,
            "old": dict(request.old_inputs),
        }
        if callable(kind.update):
            self._retag(kind, request)
            return {**request.old_outputs, **inputs, **kind.update(self.cloud, inputs, known, _changed(request))}
        left = _changed(request) - set(kind.local) - {"tags", "tagsAll"}
        if isinstance(kind.update, Step):
            taken = {name for name in left if kind.update.takes(kind.service, name)}
            if taken:
                self._call(kind, kind.update, inputs, known)
            left -= taken
        for step in kind.steps:
            taken = {name for name in left if step.takes(kind.service, name)}
            if taken:
                self._call(kind, step, inputs, known)
            left -= taken
        self._retag(kind, request)
        if left:
            raise EngineError(
                f"{request.type}: no call changes {', '.join(sorted(left))}, and it does not replace either"
            )
        # What was computed at creation stays known: a name that was made from a prefix, an ARN.
        computed = {name: value for name, value in request.old_outputs.items() if name not in request.old_inputs}
        return {**computed, **self._seen(kind, request, inputs, known)}

    def _retag(self, kind: Kind, request: ProviderRequest) -> None:
        old, new = request.old_inputs.get("tagsAll") or {}, request.inputs.get("tagsAll") or {}
        if old != new:
            retag(self.cloud, kind.service, request.id, request.old_outputs, old, new)

    def delete(self, request: ProviderRequest) -> None:
        kind = KINDS[request.type]
        known = {**self._known(request, dict(request.old_outputs)), "id": request.id}
        if callable(kind.delete):
            kind.delete(self.cloud, dict(request.old_outputs), known)
            return
        for step in kind.delete:
            self._call(kind, step, {}, known)

    def invoke(self, token: str, args: Mapping[str, Any]) -> Mapping[str, Any]:
        if token != "aws:ecr/getAuthorizationToken:getAuthorizationToken":
            return super().invoke(token, args)
        data = self.cloud.call("ecr", "GetAuthorizationToken", {})["authorizationData"][0]
        user, _, password = base64.b64decode(data["authorizationToken"]).decode().partition(":")
        return {"userName": user, "password": password, "proxyEndpoint": data["proxyEndpoint"]}

    def _call(self, kind: Kind, step: Step, inputs: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
        try:
            given = {name: value for name, value in inputs.items() if name != "tagsAll"}
            arguments = step.arguments(kind.service, given, known)
            return self.cloud.call(kind.service, step.operation, arguments, region=known["placed"])
        except (ClientError, MappingError) as error:
            raise EngineError(f"{kind.type}: {error}") from error

    def _named(self, kind: Kind, request: ProviderRequest) -> dict[str, Any]:
        inputs = copy.deepcopy(dict(request.inputs))
        prefix = inputs.pop(f"{kind.prefix or kind.named}Prefix", None) if kind.named else None
        if prefix is not None and kind.named:
            inputs[kind.named] = f"{prefix}{secrets.token_hex(4)}"
        return inputs

    def _known(self, request: ProviderRequest, inputs: Mapping[str, Any]) -> dict[str, Any]:
        placed = inputs.get("region")  # a resource may lie elsewhere than its provider
        return {**inputs, "placed": placed, "region": self.cloud.region, "account": ACCOUNT, "urn": request.urn}

    def _record(self, kind: Kind, answer: Mapping[str, Any], known: Mapping[str, Any]) -> tuple[Any, Any]:
        """The id, and what describes the resource: from the creation's answer, or from a call that asks for it."""
        if kind.read is None:
            record = jmespath.search(kind.record, answer)
            return find(kind.id, record, known), record
        id_ = find(kind.id, answer, known)
        arguments = kind.read.arguments(kind.service, {}, {**known, "id": id_})
        return id_, jmespath.search(kind.record, self.cloud.call(kind.service, kind.read.operation, arguments))

    def _outputs(self, kind: Kind, record: Any, known: Mapping[str, Any]) -> dict[str, Any]:
        found = {name: find(where, record, known) for name, where in kind.outputs.items()}
        missing = sorted(name for name, value in found.items() if value is None)
        if missing:
            raise EngineError(f"{kind.type}: the answer has no {', '.join(missing)}: {record}")
        found |= {name: find(where, record, {**known, **found}) for name, where in kind.optional.items()}
        return {name: value for name, value in found.items() if value is not None}

    def _seen(
        self, kind: Kind, request: ProviderRequest, inputs: Mapping[str, Any], known: Mapping[str, Any]
    ) -> dict[str, Any]:
        named = {name: known[name] for name in (*kind.outputs, *kind.optional) if name in known}
        # An input that was changed in place is the output too, whatever the record said before.
        return {**named, **{name: value for name, value in inputs.items() if value is not None}}

    def _tagged(self, kind: Kind, inputs: Mapping[str, Any]) -> dict[str, Any]:
        tags = inputs.get("tagsAll")
        given = {name: value for name, value in inputs.items() if name not in ("tags", "tagsAll")}
        if not tags:
            return given
        if kind.tags:
            pairs = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
            return {**given, "tagSpecifications": [{"ResourceType": kind.tags, "Tags": pairs}]}
        return {**given, "tags": tags}


def _changed(request: ProviderRequest) -> set[str]:
    names = {*request.inputs, *request.old_inputs}
    return {name for name in names if not same_value(request.inputs.get(name), request.old_inputs.get(name))}


def serving(cloud: Cloud) -> ProviderFactory:
    """A factory for the engine's registry."""

    def make(context: ProviderContext) -> Provider:
        default = context.inputs.get("defaultTags") or {}
        if isinstance(default, str):  # the SDK hands a provider's blocks over as JSON text
            default = json.loads(default)
        return AwsProvider(cloud, default.get("tags", {}))

    return make
