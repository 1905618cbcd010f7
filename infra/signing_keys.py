"""How long tokens of earlier signing keys may live, kept in the state, so that a step that comes too early is refused.

A step of `rotation.jwt` drops the key before the last one. Processes signed with it until the last step had arrived
everywhere, so its tokens live until a token's life after that. A program cannot see when that was; this record can,
since its provider reads the clock when it is made or changed, and at no other time: a plan of an unchanged stack is the
same on every day.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pulumi
from pulumi.dynamic import Resource as DynamicResource
from pydantic import BaseModel, ConfigDict

from infra.dynamic_provider import DynamicProvider
from infra.rotation import RotationError, key_id
from infra.settings import Settings

CLOCKS: Final = timedelta(minutes=5)
"""How far the clock of who deploys may be from those of the servers that sign and check tokens."""


def now() -> datetime:
    """The time in UTC, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True, kw_only=True)
class SigningKeys:
    """What the settings say of the keys that sign tokens."""

    generation: int
    token_life: int
    """Seconds that the longest-lived token is good for."""
    floor: int | None = None
    """Oldest generation that is still to verify: older ones are dropped on purpose."""

    @classmethod
    def of(cls, settings: Settings) -> SigningKeys:
        life = max(settings.jwt.refresh_expires_in, settings.jwt.access_expires_in)
        return cls(
            generation=settings.rotation.jwt,
            token_life=int(life.total_seconds()),
            floor=settings.rotation.jwt_min,
        )

    def check(self, known: Mapping[str, Any], at: datetime) -> str | None:
        """Raise RotationError when a step would drop a key whose tokens may live at the time `at`.

        `known` are the outputs of the record before the step; without any, the time of the last step is not known.
        Where `floor` drops the key on purpose nothing is refused, and what it costs is returned.
        """
        dropped, last = self.generation - 2, self.generation - 1
        if dropped < 1 or not (reason := self._early(known, at)):
            return None
        what = f"rotation.jwt goes from {last} to {self.generation}, which drops key {key_id(dropped)}, {reason}."
        if self.floor is not None and self.floor > dropped:
            return f"{what} rotation.jwt_min is {self.floor}, so it is done: whoever holds such a token is logged out."
        first = "and run up, which notes the time" if not known else "until then"
        started = f" or where an up with {self.generation} has begun," if not known else ""
        raise RotationError(
            f"{what} Set rotation.jwt to {last} {first}. To insist, as after a leak,{started} set rotation.jwt_min to "
            f"{last}: whoever holds such a token is then logged out."
        )

    def _early(self, known: Mapping[str, Any], at: datetime) -> str:
        """Why tokens of the dropped key may live; empty when none does."""
        if not known:
            return (
                "and this state does not say since when nothing is signed with it, which may be less than "
                f"{_span(self.token_life)}"
            )
        until, stepped = _read(known.get("earlier_until")), _read(known.get("stepped"))
        if int(known["generation"]) == self.generation or until is None or at >= until + CLOCKS:
            return ""
        arrived = f": the last step arrived on {_said(stepped)}" if stepped else ""
        wrong = f", and the clock of this machine says {_said(at)}" if stepped and at < stepped else ""
        # The next full minute: whoever comes at the time that is named is not refused again.
        ends = until + CLOCKS + timedelta(seconds=59)
        return f"whose tokens may live until {_said(ends)}{arrived}{wrong}"


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

    def __init__(
        self, name: str, *, generation: int, token_life: int, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        computed = dict.fromkeys(("stepped", "earlier_until", "current_until"))
        properties = {"generation": generation, "token_life": token_life, **computed}
        super().__init__(SigningKeysProvider(), name, properties, opts)


def _after(moment: datetime, seconds: float) -> str:
    return (moment + timedelta(seconds=float(seconds))).isoformat()


def _read(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) and text else None


def _said(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _span(seconds: int) -> str:
    return f"{seconds // 86_400} days" if seconds >= 2 * 86_400 else f"{max(1, -(-seconds // 60))} minutes"
