"""Pulumi's own resources: `Stash`, which keeps the first value that it was given."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from infra.engine.providers.base import (
    CheckFailure,
    CheckResult,
    DiffResult,
    Provider,
    ProviderRequest,
    ResourceOutputs,
)
from infra.engine.values import same_value

STASH = "pulumi:index:Stash"


class BuiltinProvider(Provider):
    """A stash's `output` stays what it was at creation, whatever becomes of its `input`; a replacement renews it."""

    def supports(self, type_: str) -> bool:
        return type_ == STASH

    def check(self, request: ProviderRequest) -> CheckResult:
        unknown = [CheckFailure(property=key, reason="unknown property") for key in request.inputs if key != "input"]
        missing = [] if "input" in request.inputs else [CheckFailure(property="input", reason="is required")]
        return CheckResult(inputs=request.inputs, failures=(*unknown, *missing))

    def diff(self, request: ProviderRequest) -> DiffResult:
        return DiffResult(changes=not same_value(request.inputs["input"], request.old_inputs.get("input")))

    def create(self, request: ProviderRequest) -> ResourceOutputs:
        value = request.inputs["input"]
        return ResourceOutputs(id=str(uuid.uuid4()), outputs={"input": value, "output": value})

    def update(self, request: ProviderRequest) -> Mapping[str, Any]:
        return {"input": request.inputs["input"], "output": request.old_outputs.get("output")}
