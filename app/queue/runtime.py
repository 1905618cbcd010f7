"""Claim, run, store: the three steps of a job, the first and the last for many jobs in one transaction.

A worker runs each step in threads of its own (app.queue.worker.pipeline); `execute` runs them one after another.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar, cast

from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from app.db import errors
from app.observability import correlation, traces
from app.observability.jobs import JobRecorder, Unrecorded
from app.observability.logging import get_logger
from app.queue import backoff
from app.queue import claims as claim
from app.queue.attempts import Ended, Fate, Started, Taken, exhausted, facts, tell
from app.queue.claims import Claim, Finish, Inline
from app.queue.handler import Handler, Outcome, Transactional
from app.queue.holding import Holding
from app.settings import Settings

log = get_logger()

_Item = TypeVar("_Item")
_Key = TypeVar("_Key")

_STORE_PAUSE = 0.25
_OVERRUN = 60.0
_CLAIM_PATIENCE = 5.0
"""Seconds that a worker at its end waits for a claim under way, to hand back what it takes."""
_FAULT = Outcome(result="retry", error="internal error")
_REFUSED = "the result cannot be stored"
_STATES: Mapping[str, claim.State] = {"done": "done", "retry": "pending", "wait": "pending", "dead": "dead"}


class JobsNotStartedError(Exception):
    """Postgres could not be asked; the jobs go back to the queue."""


@dataclass(kw_only=True)
class Runtime:
    """What jobs need of the process that runs them."""

    engine: Engine
    handlers: Mapping[str, Handler]
    worker: str
    backoff_base: float
    backoff_cap: float
    recorder: JobRecorder = field(default_factory=Unrecorded)

    def __post_init__(self) -> None:
        # Each statement is a transaction of its own.
        self._committing = self.engine.execution_options(isolation_level="AUTOCOMMIT")
        inline = {kind: handler.inline for kind, handler in self.handlers.items()}
        self._statements = claim.Statements({kind: one for kind, one in inline.items() if one is not None})
        self._holding = Holding(
            engine=self._committing,
            worker=self.worker,
            leases={kind: handler.lease for kind, handler in self.handlers.items()},
            statements=self._statements,
            release=lambda claims: self.hand_back(claims, error=None),
        )

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        engine: Engine,
        worker: str,
        handlers: Mapping[str, Handler],
        recorder: JobRecorder | None = None,
    ) -> Runtime:
        return cls(
            engine=engine,
            handlers=handlers,
            worker=worker,
            backoff_base=settings.delivery_backoff / 1000,
            backoff_cap=settings.delivery_backoff_max / 1000,
            recorder=recorder or Unrecorded(),
        )

    @property
    def held(self) -> dict[tuple[uuid.UUID, int], tuple[Claim, float]]:
        """See app.queue.holding."""
        return self._holding.held

    @property
    def longest_lease(self) -> float:
        """Seconds."""
        return max((handler.lease for handler in self.handlers.values()), default=0.0)

    def claim(self, job_ids: Sequence[uuid.UUID]) -> Taken:
        """Take those jobs that can be taken. Raises JobsNotStartedError with none of them taken, or with claims that
        nobody knows of, which `recover` finds."""
        # Before the question: the lease begins before its answer is here.
        now = time.monotonic()
        try:
            claims = self._holding.claim(job_ids, at=now)
        except SQLAlchemyError as error:
            raise JobsNotStartedError(errors.reason(error)) from None
        for claimed in claims.won:
            self.recorder.started(claimed.kind, claimed.waited)
            with correlation.bound(claimed.correlation_id):
                log.info("job started", subject_id=str(claimed.subject_id), **facts(claimed))
        started: list[Started] = []
        for kind, group in _grouped(claims.won, lambda claimed: claimed.kind):
            inline = self.handlers[kind].inline
            if inline is None:
                started += self._begin(kind, group, now)
                continue
            started += [_begun_inline(one, inline, claims.works.get(one.job_id), now) for one in group]
        return Taken(started=started, not_yet=claims.not_yet)

    @property
    def unanswered(self) -> bool:
        """Whether there may be something to `recover`."""
        return self._holding.unanswered

    def recover(self) -> None:
        """Give back jobs that were claimed for this worker without its knowing, and so have not begun: the answer to
        the claim was lost. To be called now and then. Raises SQLAlchemyError."""
        self._holding.recover()

    def _begin(self, kind: str, group: Sequence[Claim], now: float) -> list[Started]:
        handler = cast("Transactional", self.handlers[kind])

        def begin() -> Mapping[uuid.UUID, Any]:
            with self.engine.begin() as connection:
                return handler.begin(connection, group)

        try:
            works = errors.again(begin)
        except Exception as error:  # a handler's fault must not keep the other jobs from starting
            if errors.kind(error).passes:
                # No attempt of theirs: back to the queue.
                outcome = Outcome(result="wait")
            elif len(group) > 1:
                return [started for one in group for started in self._begin(kind, [one], now)]
            else:
                log.exception("job cannot be begun", **facts(group[0]))
                outcome = _FAULT
            return [Started(claimed=claimed, work=None, unbegun=outcome, at=now) for claimed in group]
        return [Started(claimed=claimed, work=works.get(claimed.job_id), at=now) for claimed in group]

    def run(self, started: Started) -> Ended:
        """The attempt itself; no fault of a handler escapes."""
        claimed, begun = started.claimed, time.monotonic()
        tracing = traces.attempt(
            job_id=claimed.job_id,
            kind=claimed.kind,
            attempt=claimed.attempt,
            waited=claimed.waited,
            traceparent=claimed.traceparent,
        )
        with correlation.bound(claimed.correlation_id), tracing as traced:
            traced_claim = replace(claimed, traceparent=traced.traceparent)
            outcome = exhausted(started.unbegun or self._run(started.work, traced_claim), claimed)
            traced.ended(outcome.result, outcome.error)
            span = traces.ids()
        wait = (
            outcome.at_least
            if outcome.result == "wait"
            else backoff.delay(
                attempt=claimed.attempt, base=self.backoff_base, cap=self.backoff_cap, at_least=outcome.at_least
            )
        )
        return Ended(started=started, outcome=outcome, wait=wait, duration=time.monotonic() - begun, span=span)

    def store(self, batch: Sequence[Ended]) -> list[tuple[Ended, Fate]]:
        """Finish the jobs and store their effects, as far as that can be done now. Does not raise.

        Those whose fate is "waiting" are to be given again, for as long as their leases hold.
        """
        inline = [one for one in batch if self.handlers[one.claimed.kind].inline is not None]
        others = [one for one in batch if self.handlers[one.claimed.kind].inline is None]
        fates = self._store_all(inline, self._store_inline)
        # Two kinds may write to the same rows, each in their order: a transaction of both would cross another's.
        for _, group in _grouped(others, lambda one: one.claimed.kind):
            fates += self._store_all(group, self._store)
        self._settle((one, fate) for one, fate in fates if fate != "waiting")
        if fates and all(fate == "waiting" for _, fate in fates):
            time.sleep(_STORE_PAUSE * (1 + random.random()))  # noqa: S311 - spreads workers, guards nothing
        return fates

    def _store_all(
        self, batch: Sequence[Ended], store: Callable[[Sequence[Ended]], set[uuid.UUID]]
    ) -> list[tuple[Ended, Fate]]:
        if not batch:
            return []
        try:
            kept = errors.again(partial(store, batch))
            kept |= self._stored_before([one for one in batch if one.tried and one.claimed.job_id not in kept])
        except Exception as error:  # noqa: BLE001 - a handler's fault must not take the other jobs' effects along
            kind = errors.kind(error)
            # Its answer alone may have been what was lost.
            batch = [replace(one, tried=True) for one in batch]
            if len(batch) > 1 and not kind.is_outage:
                # One of them holds what the database refuses, or cannot take now: the others get through.
                half = len(batch) // 2
                return [*self._store_all(batch[:half], store), *self._store_all(batch[half:], store)]
            if kind is errors.Kind.FAULT and not (batch[0].outcome.error or "").startswith(_REFUSED):
                log.error("job's result refused", reason=errors.reason(error), **facts(batch[0].claimed))
                return self._store_all([self._refused(batch[0])], store)
            return [self._unsettled(one, error) for one in batch]
        return [(one, "stored" if one.claimed.job_id in kept else "lost") for one in batch]

    def _unsettled(self, one: Ended, error: Exception) -> tuple[Ended, Fate]:
        if errors.kind(error).passes and not self._lease_over(one):
            return one, "waiting"
        log.error("job's result not stored", reason=errors.reason(error), **facts(one.claimed))
        return one, "unstored"

    def _refused(self, one: Ended) -> Ended:
        """What is stored in place of a result that cannot be: a failed attempt, of which users can read why. Left
        alone, the job would come back when its lease ends, as if its worker had vanished."""
        wait = backoff.delay(attempt=one.claimed.attempt, base=self.backoff_base, cap=self.backoff_cap)
        outcome = exhausted(Outcome(result="retry", error=_REFUSED), one.claimed)
        return replace(one, outcome=outcome, wait=wait)

    def _stored_before(self, missing: Sequence[Ended]) -> set[uuid.UUID]:
        """Those of these jobs whose end stands in Postgres already: a statement that is repeated finds nothing to end
        when its first answer was lost after the commit."""
        if not missing:
            return set()
        with self._committing.connect() as connection:
            found = claim.stands(connection, [self._finish(one) for one in missing])
        # Who has the job by now, within our lease, got it through the end that we stored.
        return {
            one.claimed.job_id
            for one in missing
            if (exactly := found.get(one.claimed.job_id)) or (exactly is False and not self._lease_over(one))
        }

    def hand_back(
        self,
        claims: Sequence[Claim] | None = None,
        *,
        error: str | None = "the worker stopped",
        suspects: Collection[uuid.UUID] = (),
    ) -> None:
        """Release these jobs, which have not begun, or every job still under way: for a worker that stops without them.
        Without an `error` the one that their rows tell of stays. Raises SQLAlchemyError.

        That takes no attempt from them, but for those that ignored their deadline and the `suspects`, over which this
        worker failed: they may do so wherever they run.
        """
        counted = dict.fromkeys(map(str, suspects), "the worker failed over the job")
        if claims is None:
            counted |= dict.fromkeys(self.stuck(), "the job ignored its deadline")
            self._holding.recover(patience=_CLAIM_PATIENCE)
            claims = self._holding.all()
        if not claims:
            return
        finishes = [_handed_back(claimed, error, counted.get(str(claimed.job_id))) for claimed in claims]
        for _, group in _grouped(finishes, lambda one: (one.state, one.error)):
            errors.again(partial(self._release, group))
        for claimed in claims:
            self._holding.forget(claimed)

    def _release(self, group: Sequence[Finish]) -> None:
        """All with the same end: a transaction of several would lock the subjects of a kind in no order."""
        dead, error = group[0].state == "dead", group[0].error
        with self.engine.begin() as connection:
            free = claim.finish(connection, group)
            for kind, finished in _grouped(group, lambda one: one.claim.kind):
                subjects = [one.claim.subject_id for one in finished if one.claim.job_id in free]
                self.handlers[kind].abandoned(connection, subjects, dead=dead, error=error)

    def stuck(self) -> list[str]:
        """Ids of the jobs that outlasted their lease by far: nothing in this process can end them."""
        return [str(claimed.job_id) for claimed in self._holding.older(_OVERRUN)]

    def _run(self, work: Any, claimed: Claim) -> Outcome:
        if work is None:
            return Outcome(result="dead", error="what the job was for is gone")
        try:
            return self.handlers[claimed.kind].run(work, claimed)
        except Exception:  # a handler's fault must end as a counted attempt, not as an endless requeue
            log.exception("job failed unexpectedly", job_id=str(claimed.job_id))
            return _FAULT

    def _store_inline(self, batch: Sequence[Ended]) -> set[uuid.UUID]:
        with self._committing.connect() as connection:
            finishes = [self._finish(one) for one in batch]
            return claim.finish(connection, finishes, statements=self._statements)

    def _store(self, batch: Sequence[Ended]) -> set[uuid.UUID]:
        with self.engine.begin() as connection:
            kept = claim.finish(connection, [self._finish(one) for one in batch])
            for kind, group in _grouped(batch, lambda one: one.claimed.kind):
                stored = [(one.claimed, one.outcome) for one in group if one.claimed.job_id in kept]
                if stored:
                    cast("Transactional", self.handlers[kind]).store(connection, stored)
        return kept

    def _finish(self, one: Ended) -> Finish:
        inline = self.handlers[one.claimed.kind].inline
        return Finish(
            claim=one.claimed,
            state=_STATES[one.outcome.result],
            seconds=one.wait,
            error=one.outcome.error,
            counted=one.outcome.result != "wait",
            detail=inline.detail(one.outcome.detail) if inline else None,
        )

    def _lease_over(self, one: Ended) -> bool:
        return time.monotonic() >= one.started.at + one.claimed.lease

    def _settle(self, fates: Iterable[tuple[Ended, Fate]]) -> None:
        for one, fate in fates:
            self._holding.forget(one.claimed)
            ended_as = one.outcome.result if fate == "stored" else "lost"
            self.recorder.ended(one.claimed.kind, ended_as, one.duration)
            with correlation.bound(one.claimed.correlation_id):
                if fate == "lost":
                    log.warning("job lost its lease, its result was dropped", **facts(one.claimed))
                elif fate == "stored":
                    tell(one)


def _begun_inline(claimed: Claim, inline: Inline, found: Any, now: float) -> Started:
    try:
        return Started(claimed=claimed, work=None if found is None else inline.work(found), at=now)
    except Exception:  # what one row holds must not keep the other jobs from starting
        log.exception("job cannot be begun", **facts(claimed))
        return Started(claimed=claimed, work=None, unbegun=_FAULT, at=now)


def _handed_back(claimed: Claim, error: str | None, fault: str | None) -> Finish:
    """`fault`: what the attempt is counted for, when it is."""
    last = fault is not None and claimed.attempt >= claimed.max_attempts
    return Finish(
        claim=claimed,
        state="dead" if last else "pending",
        error=fault or error,
        counted=fault is not None,
        begun=(fault or error) is not None,
    )


def _grouped(items: Iterable[_Item], key: Callable[[_Item], _Key]) -> Iterable[tuple[_Key, list[_Item]]]:
    groups: dict[_Key, list[_Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups.items()
