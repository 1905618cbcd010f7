"""What a kind of job is: the slow part, and what it reads and writes in the database.

class GreetingHandler:
    lease = 30.0
    effects = Effects(
        begin="SELECT greetings.id, json_build_object('to', name) AS work "
        "FROM {mine} AS claimed JOIN greetings ON greetings.id = claimed.subject_id",
        store=(
            "UPDATE greetings SET status = finished.state, error = finished.error "
            "FROM {mine} AS finished WHERE greetings.id = finished.subject_id",
        ),
    )

    def run(self, work: Any, job: Job) -> Outcome:
        return Outcome(result="done") if greet(work["to"]) else Outcome(result="retry", error="nobody is there")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from sqlalchemy import Connection

from app.queue.job import Job, Outcome
from app.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Effects:
    """What a kind of job does in the database, as parts of the statements that claim and store jobs.

    One statement is one transaction and one round trip, and that is most of what a short job costs. `{mine}` stands for
    the rows of the kind, to be given an alias; all parts of a statement see the database as it was before it.

    begin: of the rows claimed (subject_id, job_id) it returns the subject's `id` and, as JSON, what `run` needs
    (`work`). store: of the rows whose lease held (subject_id, state: done, pending or dead, error, detail: the
    outcome's, begun: see Outcome). It is also how an attempt is stored that came to no end: its worker vanished or
    stopped, and the queue says what came of it instead of the handler.
    read: makes of the JSON what `run` takes. also: for what no part can say, called in the transaction that stores
    the jobs, with those whose lease held; it costs the kind a transaction of its own.
    """

    begin: str
    store: Sequence[str] = ()
    read: Callable[[Any], Any] = lambda work: work
    also: Callable[[Connection, Sequence[Job]], None] | None = None


class Handler(Protocol):
    """One kind of job. `lease` is longer than `run` can take, in seconds."""

    lease: float

    @property
    def effects(self) -> Effects: ...

    def run(self, work: Any, job: Job) -> Outcome:
        """The slow part; no transaction is open. Called in many threads at once."""


MakeHandlers = Callable[[Settings], Mapping[str, Handler]]
"""The handler of each kind. A function of a module: a job that runs in a process of its own calls it there."""
