"""A job on its way through a worker: one record, whose fields fill as it goes.

    queued ─▶ claimed ─▶ running ─▶ ended ─▶ stored ─▶ acknowledged

queued: dequeued from Redis, and nobody's yet. claimed: this worker's in Postgres, until its lease ends. running: its
handler is at it. ended: the attempt has an outcome. stored: Postgres has the outcome, or has nothing to hear of it.
acknowledged: RQ's registries say how it ended, or on what list it waits now.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

State = Literal["queued", "claimed", "running", "ended", "stored", "acknowledged"]
Result = Literal["done", "retry", "dead", "wait"]
RowState = Literal["pending", "done", "dead"]
Acknowledgement = Literal["finished", "failed", "scheduled", "queued", "dropped"]
"""finished: with `value`; failed: for good, with `error`; scheduled: to run again in `wait` seconds; queued: back at
the front of the queue, as if it had not been dequeued; dropped: there was nothing to do for it here."""

NOT_OURS: Final = uuid.UUID(int=0)
"""The id of a job without a row: somebody's own RQ job on this queue."""
INTERNAL_ERROR: Final = "internal error"
_ROW_STATES: Final[Mapping[Result, RowState]] = {"done": "done", "retry": "pending", "wait": "pending", "dead": "dead"}


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one attempt.

    result: "done"; "retry" when another attempt may help; "dead" when none can; "wait" when there is nothing to do
    yet, which is no attempt: the job comes back after exactly `at_least` seconds. `error` is None when done or waiting.
    `at_least`: seconds that the next attempt must wait. `detail`: what the handler wants to store; JSON, if it does so
    by parts of a statement. `begun`: False for a job that is released before its handler has seen it; what is known of
    its last attempt stays.
    """

    result: Result
    error: str | None = None
    at_least: float = 0.0
    detail: Any = None
    log: Mapping[str, Any] = field(default_factory=dict)
    begun: bool = True

    @property
    def row_state(self) -> RowState:
        return _ROW_STATES[self.result]


@dataclass(kw_only=True, eq=False)
class Job:
    """`id` is the row's in Postgres; `rq_id`, `execution` and `fields` (its hash) are RQ's, if it came from Redis."""

    id: uuid.UUID = NOT_OURS
    rq_id: str = ""
    execution: str = ""
    fields: Mapping[bytes, bytes] = field(default_factory=dict)
    dequeued_at: float = 0.0
    """Seconds since 1970."""
    unreadable: str = ""
    """Why RQ's data of the job cannot be read, if so: anybody may write to a queue."""
    state: State = "queued"
    since: float = field(default_factory=lambda: time.monotonic())
    """When (monotonic) it was dequeued, or began to run."""

    # -- claimed: the right to act on it, as `attempt`, for `lease` seconds from `claimed_at` (monotonic)
    kind: str = ""
    subject_id: uuid.UUID = NOT_OURS
    attempt: int = 0
    max_attempts: int = 0
    worker: str = ""
    lease: float = 0.0
    claimed_at: float = 0.0
    correlation_id: str | None = None
    traceparent: str | None = None
    waited: float = 0.0
    """Seconds from when the job was due until its claim."""
    work: Any = None
    """What its handler needs; None when what the job was for is gone."""

    # -- ended
    outcome: Outcome | None = None
    """Set before the job runs only if it cannot be begun."""
    wait: float | None = None
    """Seconds until it is to run again, if it is."""
    duration: float = 0.0
    """Seconds that the attempt took."""
    span: Mapping[str, str] = field(default_factory=dict)
    """What names the attempt's span in a log line, when it is traced."""
    store_failed: bool = False
    """Whether a statement that was to store it has failed: the outcome may stand in Postgres all the same."""

    # -- stored
    stored_as: Literal["stored", "lost", "unstored"] | None = None
    """lost: another worker has the job by now. unstored: Postgres was away until the lease had ended, or refuses what
    is to be stored. None: not yet, it is to be tried again within the lease."""

    # -- acknowledged
    acknowledgement: Acknowledgement = "dropped"
    value: Any = None
    error: str = ""
    ended_at: float = 0.0
    """Seconds since 1970."""

    @property
    def ours(self) -> bool:
        return self.id != NOT_OURS

    @property
    def ended_as(self) -> Outcome:
        """The outcome of a job that has one."""
        assert self.outcome is not None
        return self.outcome

    @property
    def lease_over(self) -> bool:
        return time.monotonic() >= self.claimed_at + self.lease

    def seconds(self, name: bytes, default: int) -> int:
        """One of RQ's times: the job's limit, or how long it is to be kept. The default for what is no number: anybody
        may write to a queue."""
        try:
            return int(float(self.fields.get(name) or default))
        except (ValueError, OverflowError):
            return default

    def facts(self) -> dict[str, Any]:
        """What names the attempt in a log line."""
        return {"job_id": str(self.id), "kind": self.kind, "attempt": self.attempt}
