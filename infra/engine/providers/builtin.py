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

    def check(self, call: ProviderRequest) -> CheckResult:
        unknown = [CheckFailure(property=key, reason="unknown property") for key in call.inputs if key != "input"]
        missing = [] if "input" in call.inputs else [CheckFailure(property="input", reason="is required")]
        return CheckResult(inputs=call.inputs, failures=(*unknown, *missing))

    def diff(self, call: ProviderRequest) -> DiffResult:
        return DiffResult(changes=not same_value(call.inputs["input"], call.old_inputs.get("input")))

    def create(self, call: ProviderRequest) -> ResourceOutputs:
        value = call.inputs["input"]
        return ResourceOutputs(id=str(uuid.uuid4()), outputs={"input": value, "output": value})

    def update(self, call: ProviderRequest) -> Mapping[str, Any]:
        return {"input": call.inputs["input"], "output": call.old_outputs.get("output")}
