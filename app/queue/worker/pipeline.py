"""The way of a job through a worker: claimed, run, stored, told to RQ.

    taken ─▶ claim (one thread) ─▶ run (a thread a slot) ─▶ store (one thread) ─▶ tell (one thread) ─▶ gone

Only running takes a slot. The other steps work on whatever has gathered, so that under load a job costs a fraction of a
transaction and of a round trip. Postgres and Redis have a thread each at the end: while Redis is away, effects are
still stored before their leases end.

While jobs are short, a few more are taken than there are slots, so that a slot does not stand empty for the time that
it takes to fetch and claim the next one. Never more than the slots will get to within 50 ms by the pace of the last
jobs; and when that was wrong, because receivers have begun to hang, what waits goes back for other workers.

A job of another function than ours (somebody's own RQ job on this queue) skips claim and store. One that uses more of
RQ than a return value (callbacks, repeats, rate limits), or fails, is RQ's own code's to finish.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

from redis import RedisError
from sqlalchemy.exc import SQLAlchemyError

from app.observability.logging import get_logger
from app.queue.attempts import Ended, Fate, Started
from app.queue.runtime import JobsNotStartedError, Runtime
from app.queue.worker import foreign
from app.queue.worker.books import Books, Popped, Told
from app.queue.worker.database import DatabaseGate
from app.queue.worker.foreign import RqSide
from app.queue.worker.slot import Slot, Step
from app.queue.worker.stages import Crew, Stage

log = get_logger()

_MOST = 500
_AHEAD_SECONDS = 0.05
_PATIENCE = 1.0
"""Seconds that a job taken ahead waits for a slot before it goes back."""
_PACE_WEIGHT = 0.1
_LINGER = 0.002
"""Seconds for which the ends of jobs gather before RQ is told. Nobody waits for it, and with short jobs it makes one
round trip of many."""


class Pipeline:
    """Takes popped jobs; `under_way` holds them until RQ has been told how they ended."""

    def __init__(self, *, runtime: Runtime, books: Books, rq: RqSide, gate: DatabaseGate, concurrency: int) -> None:
        self._runtime, self._books, self._rq, self._gate = runtime, books, rq, gate
        self._concurrency = concurrency
        # Seconds that the last jobs took.
        self._pace = float("inf")
        self.under_way: dict[str, Slot] = {}
        self._counts: dict[Step, int] = {"wait": 0, "run": 0, "store": 0, "tell": 0}
        self._changed = threading.Condition()
        self._crew: Crew[Slot] = Crew("job", self._run, size=concurrency)
        self._claiming: Stage[Slot] = Stage("claim", self._claim, most=_MOST)
        self._storing: Stage[tuple[Slot, Ended]] = Stage("store", self._store, most=_MOST)
        self._telling: Stage[tuple[Slot, Told]] = Stage("tell", self._tell, most=_MOST, linger=_LINGER)
        self._stages: dict[str, Stage[Any]] = {"claim": self._claiming, "store": self._storing, "tell": self._telling}

    def free(self, *, timeout: float) -> int:
        """How many more jobs may be taken; waits for at least one, up to `timeout` seconds.

        None while as many have run and are not stored: when Postgres hangs, what was done must not pile up. Nor when
        Redis hangs and many are not told.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._free() > 0, timeout)
            return max(0, self._free())

    def put(self, jobs: Sequence[Popped]) -> None:
        slots = [Slot.of(popped) for popped in jobs]
        with self._changed:
            self.under_way.update((slot.popped.execution_id, slot) for slot in slots)
            self._counts["wait"] += len(slots)
        self._claiming.put(slot for slot in slots if slot.ours)
        for slot in slots:
            if slot.popped.unreadable:
                self._end([slot], [Told(popped=slot.popped, fate="failed", error=slot.popped.unreadable)])
            elif not slot.ours:
                self._crew.put([slot])

    def slots(self) -> list[Slot]:
        """The jobs under way at this moment; other threads add and remove some at any time."""
        with self._changed:
            return list(self.under_way.values())

    @property
    def broken(self) -> bool:
        """Whether a thread has ended: some of the jobs under way come to no end here."""
        return bool(self._crew.failed) or not all(stage.is_alive for stage in self._stages.values())

    @property
    def suspects(self) -> list[uuid.UUID]:
        """Our jobs over which a thread has ended."""
        return [slot.started.claimed.job_id for slot in self._crew.failed if slot.started]

    def busy_since(self) -> dict[str, float]:
        """The steps that have work at hand, and since when (monotonic) the same. Running is not among them: what a job
        may take is its own to say."""
        return {name: since for name, stage in self._stages.items() if (since := stage.busy_since) is not None}

    def overdue(self) -> list[str]:
        """Ids of the jobs of other functions that ignore their own time limit."""
        return [slot.popped.job_id for slot in self.slots() if slot.overdue]

    def hand_on(self) -> None:
        """Give back what was taken ahead and has waited too long: another worker may have a slot for it."""
        now = time.monotonic()
        slots = self.slots()
        if not any(slot.step == "wait" and now > slot.since + _PATIENCE for slot in slots):
            return
        with self._changed:
            self._pace = max([self._pace, *(now - slot.since for slot in slots if slot.step == "run")])
        waiting = self._crew.take_back()
        late = [slot for slot in waiting if now > slot.since + _PATIENCE]
        self._crew.put(slot for slot in waiting if slot not in late)
        try:
            self._runtime.hand_back([slot.started.claimed for slot in late if slot.started], error=None)
        except SQLAlchemyError as error:
            log.warning("jobs not handed on", jobs=len(late), reason=type(error).__name__)
            self._crew.put(late)
        else:
            self._end(late, [Told(popped=slot.popped, fate="queued") for slot in late])

    def _free(self) -> int:
        """With the condition held."""
        counts, ahead = self._counts, min(self._concurrency, int(_AHEAD_SECONDS * self._concurrency / self._pace))
        unended = counts["wait"] + counts["run"]
        if unended > self._concurrency + ahead // 2:
            # So that the next ones come together.
            return 0
        most = self._concurrency + ahead
        return min(most - unended, most + self._concurrency - unended - counts["store"], _MOST - counts["tell"])

    def _run(self, slot: Slot) -> None:
        slot.since = time.monotonic()
        with self._changed:
            self._set(slot, "run")
        if slot.started is None:
            self._run_theirs(slot)
        else:
            self._run_ours(slot, slot.started)

    def _ran(self, slot: Slot, step: Step) -> None:
        """Its slot is free again."""
        took = max(time.monotonic() - slot.since, 1e-6)
        with self._changed:
            self._pace = took if self._pace == float("inf") else self._pace + _PACE_WEIGHT * (took - self._pace)
            self._set(slot, step)
            self._tell_loop()

    # -- our jobs

    def _claim(self, slots: Sequence[Slot]) -> None:
        by_id: dict[uuid.UUID, Slot] = {}
        twice: list[Slot] = []
        for slot in slots:
            if (job_id := uuid.UUID(slot.popped.call[2][0])) in by_id:
                twice.append(slot)
            else:
                by_id[job_id] = slot
        try:
            taken = self._runtime.claim(list(by_id))
        except JobsNotStartedError as error:
            self._gate.close()
            log.warning("jobs go back, the database is away", jobs=len(slots), reason=str(error))
            self._end(slots, [Told(popped=slot.popped, fate="queued") for slot in slots])
            return
        for started in taken.started:
            slot = by_id.pop(started.claimed.job_id)
            slot.started = started
            self._crew.put([slot])
        ends = [(by_id.pop(job_id), seconds) for job_id, seconds in taken.not_yet.items()]
        nothing = [*by_id.values(), *twice]
        self._end(
            [*(slot for slot, _ in ends), *nothing],
            [
                *(self._again(slot, seconds) for slot, seconds in ends),
                *(Told(popped=slot.popped, fate="dropped") for slot in nothing),
            ],
        )

    def _run_ours(self, slot: Slot, started: Started) -> None:
        ended = self._runtime.run(started)
        self._ran(slot, "store")
        self._storing.put([(slot, ended)])

    def _store(self, batch: Sequence[tuple[Slot, Ended]]) -> None:
        slots = {id(ended.started): slot for slot, ended in batch}
        told, waiting = [], []
        for ended, fate in self._runtime.store([ended for _, ended in batch]):
            slot = slots[id(ended.started)]
            if fate == "waiting":
                waiting.append((slot, ended))
                continue
            if fate == "unstored":
                self._gate.close()
            told.append((slot, self._told(slot, ended, fate)))
            self._move(slot, "tell")
        self._telling.put(told)
        # With what has ended meanwhile: nothing waits behind them.
        self._storing.put(waiting)

    def _told(self, slot: Slot, ended: Ended, fate: Fate) -> Told:
        if fate == "lost":
            return Told(popped=slot.popped, fate="dropped")
        if fate == "unstored":
            return Told(popped=slot.popped, fate="queued")
        result = ended.outcome.result
        if result in ("retry", "wait"):
            return self._again(slot, ended.wait)
        if result == "dead":
            return Told(popped=slot.popped, fate="failed", error=ended.outcome.error or "", ended_at=time.time())
        return Told(popped=slot.popped, fate="finished", ended_at=time.time())

    def _again(self, slot: Slot, seconds: float) -> Told:
        self._rq.expect(time.time() + seconds)
        return Told(popped=slot.popped, fate="scheduled", seconds=seconds)

    # -- somebody else's

    def _run_theirs(self, slot: Slot) -> None:
        told = foreign.run(slot.popped, rq=self._rq)
        self._ran(slot, "tell")
        if told is None:
            self._gone([slot])
        else:
            self._telling.put([(slot, told)])

    # -- the end

    def _end(self, slots: Sequence[Slot], told: Sequence[Told]) -> None:
        for slot in slots:
            self._move(slot, "tell")
        self._telling.put(zip(slots, told, strict=True))

    def _tell(self, batch: Sequence[tuple[Slot, Told]]) -> None:
        try:
            if parents := self._books.tell([told for _, told in batch]):
                self._rq.release_dependents(parents)
        except (RedisError, OSError) as error:
            # Their effects are in Postgres. RQ's registries catch up when the entries expire and the jobs are popped
            # again.
            ids = [slot.popped.job_id for slot, _ in batch]
            log.warning("jobs' ends not told to Redis", job_ids=ids, reason=type(error).__name__)
        finally:
            self._gone([slot for slot, _ in batch])

    def _move(self, slot: Slot, step: Step) -> None:
        with self._changed:
            self._set(slot, step)
            self._tell_loop()

    def _set(self, slot: Slot, step: Step) -> None:
        """With the condition held."""
        self._counts[slot.step] -= 1
        self._counts[step] += 1
        slot.step = step

    def _gone(self, slots: Sequence[Slot]) -> None:
        with self._changed:
            for slot in slots:
                if self.under_way.pop(slot.popped.execution_id, None):
                    self._counts[slot.step] -= 1
            self._tell_loop()

    def _tell_loop(self) -> None:
        """With the condition held; not for nothing, a thread that wakes takes the interpreter from the others."""
        if self._free() > 0:
            self._changed.notify()
