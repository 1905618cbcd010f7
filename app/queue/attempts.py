"""One attempt at a job, from its claim to its end."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from app.observability.logging import get_logger
from app.queue.claims import Claim
from app.queue.handler import Outcome

log = get_logger()


@dataclass(frozen=True, kw_only=True)
class Started:
    """A claimed job, and what its handler needs; None when what the job was for is gone. `unbegun`: what came of it
    instead, when that could not be found out."""

    claimed: Claim
    work: Any
    unbegun: Outcome | None = None
    at: float
    """Monotonic time of the claim."""


@dataclass(frozen=True, kw_only=True)
class Taken:
    """What came of an attempt to claim jobs: see app.queue.claims.Claims."""

    started: list[Started] = field(default_factory=list)
    not_yet: Mapping[uuid.UUID, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A job after its attempt. `wait`: seconds until it is to run again, when it is."""

    started: Started
    outcome: Outcome
    wait: float
    duration: float
    """Seconds that the attempt took."""
    span: Mapping[str, str] = field(default_factory=dict)
    """What names the attempt's span in a log line, when it is traced."""
    tried: bool = False
    """Whether a statement that was to store it has failed: it may stand in Postgres all the same."""

    @property
    def claimed(self) -> Claim:
        return self.started.claimed


Fate = Literal["stored", "lost", "unstored", "waiting"]
"""lost: another worker has the job by now. unstored: Postgres was away until the lease had ended, or refuses what is to
be stored. waiting: to be stored again, within the lease."""


def tell(one: Ended) -> None:
    outcome = one.outcome
    write = log.info if outcome.result in ("done", "wait") else log.warning
    write(
        "job ended",
        outcome=outcome.result,
        duration_ms=round(one.duration * 1000),
        **({"error": outcome.error} if outcome.error else {}),
        **({"retry_in_ms": round(one.wait * 1000)} if outcome.result in ("retry", "wait") else {}),
        **outcome.log,
        **one.span,
        **facts(one.claimed),
    )


def facts(claimed: Claim) -> dict[str, Any]:
    return {"job_id": str(claimed.job_id), "kind": claimed.kind, "attempt": claimed.attempt}


def exhausted(outcome: Outcome, claimed: Claim) -> Outcome:
    """A failure of the last attempt is final."""
    if outcome.result != "retry" or claimed.attempt < claimed.max_attempts:
        return outcome
    error = f"{outcome.error} (attempt {claimed.attempt} of {claimed.max_attempts})"
    return Outcome(result="dead", error=error, detail=outcome.detail, log=outcome.log)
