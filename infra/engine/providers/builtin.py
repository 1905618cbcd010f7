"""Pulumi's own resources: `Stash`, which keeps the first value that it was given."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from infra.engine.providers.base import Call, Checked, CheckFailure, Diff, Made, Provider
from infra.engine.secrecy import same_value

STASH = "pulumi:index:Stash"


class BuiltinProvider(Provider):
    """A stash's `output` stays what it was at creation, whatever becomes of its `input`; a replacement renews it."""

    def supports(self, type_: str) -> bool:
        return type_ == STASH

    def check(self, call: Call) -> Checked:
        unknown = [CheckFailure(property=key, reason="unknown property") for key in call.inputs if key != "input"]
        missing = [] if "input" in call.inputs else [CheckFailure(property="input", reason="is required")]
        return Checked(inputs=call.inputs, failures=(*unknown, *missing))

    def diff(self, call: Call) -> Diff:
        return Diff(changes=not same_value(call.inputs["input"], call.old_inputs.get("input")))

    def create(self, call: Call) -> Made:
        value = call.inputs["input"]
        return Made(id=str(uuid.uuid4()), outputs={"input": value, "output": value})

    def update(self, call: Call) -> Mapping[str, Any]:
        return {"input": call.inputs["input"], "output": call.old_outputs.get("output")}
