"""What a kind of job is: what it needs, the slow part, and what it stores."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from sqlalchemy import Connection

from app.queue.claims import Claim, Inline
from app.settings import Settings

Result = Literal["done", "retry", "dead", "wait"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What came of one attempt.

    result: "done"; "retry" when another attempt may help; "dead" when none can; "wait" when there is nothing to do
    yet, which is no attempt: the job comes back after exactly `at_least` seconds. `error` is None when done or waiting.
    `at_least`: seconds that the next attempt must wait. `detail`: what the handler wants to store.
    """

    result: Result
    error: str | None = None
    at_least: float = 0.0
    detail: Any = None
    log: Mapping[str, Any] = field(default_factory=dict)


class Handler(Protocol):
    """One kind of job. `lease` is longer than `run` can take, in seconds.

    What it does in the database stands in `inline`; with None it is a Transactional one.
    """

    lease: float

    @property
    def inline(self) -> Inline | None: ...

    def run(self, work: Any, claimed: Claim) -> Outcome:
        """The slow part; no transaction is open. Called in many threads at once."""

    def abandoned(self, connection: Connection, subject_ids: list[uuid.UUID], *, dead: bool, error: str | None) -> None:
        """The worker of these jobs vanished; they run again, or are dead. Without an `error` nothing had begun: what is
        known of the last attempt stays."""


class Transactional(Handler, Protocol):
    """One that needs more of the database than parts of a statement."""

    def begin(self, connection: Connection, claims: Sequence[Claim]) -> Mapping[uuid.UUID, Any]:
        """In a transaction after the claim: what `run` needs, by job id; without those whose subject is gone."""

    def store(self, connection: Connection, ended: Sequence[tuple[Claim, Outcome]]) -> None:
        """The effects, in the transaction that finishes the jobs."""


MakeHandlers = Callable[[Settings], Mapping[str, Handler]]
"""The handler of each kind. A function of a module: a job that runs in a process of its own calls it there."""
