"""How long tokens of earlier signing keys may live, kept in the state.

A step of `rotation.jwt` drops the key before the last one. Processes signed with it until the last step had arrived
everywhere, so its tokens live until a token's life after that. A program cannot see when that was; this record can,
since its provider reads the clock when it is made or changed, and at no other time: a plan of an unchanged stack is the
same on every day. `infra.rotation_record` refuses a step that comes too early.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict

from infra.dynamic_provider import DynamicProvider, DynamicResource


def now() -> datetime:
    """The time in UTC, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


class SigningKeyInputs(BaseModel):
    """The inputs of the record; `token_life` in seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    generation: int
    token_life: int


class SigningKeysProvider(DynamicProvider[SigningKeyInputs]):
    """Outputs, all times in ISO 8601 and UTC or empty: `stepped`, the last step; `earlier_until`, up to when tokens of
    the generation before may live; `current_until`, the same of the current one for tokens signed under an earlier
    `token_life`.
    """

    properties = SigningKeyInputs

    def identity(self, _props: Mapping[str, Any], /) -> str:
        return "signing-keys"

    def apply(self, props: SigningKeyInputs, olds: Mapping[str, Any], /) -> dict[str, str]:
        """Up to this moment processes signed with the key, and for the life, of before."""
        moment = now()
        if not olds:
            # A stack that is not at its first generation may have come there a moment ago, before this was noted.
            until = "" if props.generation == 1 else _after(moment, props.token_life)
            return {"stepped": "", "earlier_until": until, "current_until": ""}
        until = max(_after(moment, olds["token_life"]), str(olds.get("current_until") or ""))
        if olds["generation"] != props.generation:
            return {"stepped": moment.isoformat(), "earlier_until": until, "current_until": ""}
        kept = {key: str(olds.get(key) or "") for key in ("stepped", "earlier_until")}
        return {**kept, "current_until": until}


class SigningKeysRecord(DynamicResource, module="slipway", name="SigningKeys"):
    """Since when no earlier key signs. It changes with a step and with the life of tokens, and with nothing else."""

    provider = SigningKeysProvider()
    computed = ("stepped", "earlier_until", "current_until")


def _after(moment: datetime, seconds: float) -> str:
    return (moment + timedelta(seconds=float(seconds))).isoformat()
