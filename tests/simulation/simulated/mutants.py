"""Faults of the queue that were mended, each brought back: what the simulation must find.

A mutant is the program's own source with its mend taken out. Where the source has changed so far that the mend is not
found in it, the mutant says so instead of passing.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mutant:
    name: str
    fault: str
    """What went wrong without the mend."""
    edits: tuple[tuple[str, str, str], ...]
    """Where (module:name), the text of the mend, and what stands there without it."""


MUTANTS = (
    Mutant(
        "a worker of the batches leaves a turn late",
        "a request that came in that turn started nobody and waited for the next one",
        (
            (
                "app.web.batching:Batcher._run",
                "self._workers.discard(worker)",
                "worker.add_done_callback(self._workers.discard)",
            ),
        ),
    ),
    Mutant(
        "a caller that left is stored",
        "told 503 before its statement went out, and stored afterwards",
        (
            ("app.web.batching:Batcher.submit", "self._waiting.pop(entry, None)", "pass"),
            (
                "app.web.batching:_Entry.is_wanted",
                "return not self.settled and not (self._waiter is not None and self._waiter.cancelled())",
                "return not self.settled",
            ),
        ),
    ),
    Mutant(
        "a caller that leaves during its statement is told no",
        "told 503 while its statement was under way, and stored",
        (("app.web.batching:Batcher.submit", "if batch is None:", "if True:"),),
    ),
    Mutant(
        "an outcome in the turn of the cancellation is lost",
        "it came in the turn in which the caller was cancelled, who then waited for it in vain",
        (
            (
                "app.web.batching:_Entry.outcome",
                "if not self.settled:\n            self._waiter",
                "if True:\n            self._waiter",
            ),
            ("app.web.batching:_Entry.outcome", "if not self.settled:\n                    raise", "raise"),
        ),
    ),
    Mutant(
        "a statement that nobody waits for keeps its worker",
        "two that hung kept every later request waiting",
        (
            (
                "app.web.batching:Batch.abandon_if_all_gave_up",
                "if all(entry.gave_up for entry in self.entries):",
                "if False:",
            ),
        ),
    ),
    Mutant(
        "a request to cancel meets the next statement",
        "the connection was used again while the request to cancel was on its way to it",
        (("app.deliveries.service:batcher", "if batch.interrupted:", "if False:"),),
    ),
    Mutant(
        "idempotency keys in any order",
        "two batches with the same keys waited for each other",
        (("app.deliveries.queries:add", "in sorted(new, key=", "in (lambda items, key: items)(new, key="),),
    ),
    Mutant(
        "jobs are claimed in any order",
        "two batches with the same jobs waited for each other",
        (("app.queue.statements:_CLAIM_MANY", "ORDER BY id FOR NO KEY UPDATE", ""),),
    ),
    Mutant(
        "jobs are stored in any order",
        "a store and a claim of the same jobs waited for each other",
        (("app.queue.statements:_STORE_MANY", "ORDER BY jobs.id FOR NO KEY UPDATE OF jobs", ""),),
    ),
    Mutant(
        "a lost answer to a claim is forgotten",
        "the job was kept from everybody for a lease, and an attempt counted that never began",
        (("app.queue.leases:Leases._recover", "if not self._unanswered:", "if True:"),),
    ),
    Mutant(
        "a claim that is committed after it was looked for is forgotten",
        "the same, when the statement arrives late",
        (
            (
                "app.queue.leases:Leases._recover",
                "if strays:",
                "self._unanswered.clear()\n        if strays:",
            ),
            ("app.queue.leases:Leases.claim", "ids - doubtful |", "ids |"),
        ),
    ),
    Mutant(
        "a claim under way is taken for a lost one",
        "it was given back while its jobs ran",
        (("app.queue.leases:Leases.claim", "with self._claiming:", "with threading.Lock():"),),
    ),
    Mutant(
        "a worker ends without looking for lost claims",
        "a claim whose answer was lost just before the stop was left to its lease",
        (
            ("app.queue.worker.main:main", "or attempts.unanswered", ""),
        ),
    ),
    Mutant(
        "a worker that ends claims more",
        "what it claimed after it had released what it held was left to its lease",
        (("app.queue.leases:Leases.end", "self._ended = True", "pass"),),
    ),
    Mutant(
        "a repeated store does not look for its own",
        "a job whose result was stored was called lost",
        (("app.queue.attempts:Attempts._stored_before", "if not missing:", "if True:"),),
    ),
    Mutant(
        "a repeated store does not see that the job has been claimed since",
        "a job whose result was stored was called lost, because another worker had it by then",
        (("app.queue.attempts:Attempts._stored_before", "or (exactly is False and not job.lease_over)", ""),),
    ),
    Mutant(
        "a result that could not be stored is dropped",
        "the attempt was counted for nothing, and the request sent again",
        (
            (
                "app.queue.pipeline:Pipeline._store",
                'self._stages["store"].put(job for job in jobs if job.stored_as is None)',
                "pass",
            ),
        ),
    ),
    Mutant(
        "a demoted server is a fault of the statement",
        "results were refused that Postgres would have taken a moment later",
        (("app.db.errors:_STATES", "25006", ""),),
    ),
    Mutant(
        "what a row holds is taken for an outage",
        "one result that cannot be stored held up all others of its batch",
        (
            ("app.db.errors:_CLASSES", "54", "away"),
        ),
    ),
    Mutant(
        "the results of a batch are not tried by halves",
        "one result that cannot be stored took the others with it",
        (
            ("app.queue.attempts:Attempts._store_again", "if len(jobs) > 1 and not kind.is_outage:", "if False:"),
            ("app.queue.attempts:Attempts._store_again", "[job] = jobs", "job = jobs[0]"),
            ("app.queue.attempts:Attempts._store_again", "self._store(jobs)", "self._store([job])"),
        ),
    ),
    Mutant(
        "a conflict is not tried again",
        "a deadlock ended up to a hundred requests that had nothing to do with it",
        (("app.db.errors:TRIES", "4", "1"),),
    ),
    Mutant(
        "strays are noted after Redis is asked",
        "a job that ended in between was put back, and ran again: 27 of 20,000 plain RQ jobs",
        (
            (
                "app.queue.worker.loop:Worker._put_back_strays",
                "strays = self._wakeups.dequeued_beside(known)",
                "found = self._wakeups.dequeued_beside(set())\n"
                "        known = {job.execution for job in self._pipeline.jobs()}\n"
                "        strays = [job for job in found if job.execution not in known]",
            ),
        ),
    ),
    Mutant(
        "an end is told for an execution that has the job no longer",
        "what was pushed back then ran a second time",
        (
            (
                "app.queue.scripts:ACKNOWLEDGE",
                "redis.call('ZREM', KEYS[2], entry) == 1",
                "redis.call('ZREM', KEYS[2], entry) >= 0",
            ),
        ),
    ),
    Mutant(
        "both: strays noted late, ends told for all",
        "as it was before either mend",
        (
            (
                "app.queue.worker.loop:Worker._put_back_strays",
                "strays = self._wakeups.dequeued_beside(known)",
                "found = self._wakeups.dequeued_beside(set())\n"
                "        known = {job.execution for job in self._pipeline.jobs()}\n"
                "        strays = [job for job in found if job.execution not in known]",
            ),
            (
                "app.queue.scripts:ACKNOWLEDGE",
                "redis.call('ZREM', KEYS[2], entry) == 1",
                "redis.call('ZREM', KEYS[2], entry) >= 0",
            ),
        ),
    ),
    Mutant(
        "jobs are released one by one",
        "one that was released ran here all the same when the next could not be",
        (
            (
                "app.queue.attempts:Attempts.release",
                "self.records.store(\n"
                "            [replace(job, outcome=_released(job, error, counted.get(str(job.id))), wait=0.0)"
                " for job in jobs]\n        )",
                "[self.records.store([replace(job, outcome=_released(job, error, counted.get(str(job.id))), wait=0.0)])"
                " for job in jobs]",
            ),
        ),
    ),
    Mutant(
        "what was dequeued during a stop is kept",
        "a job stayed among the started ones until RQ gave it up",
        (("app.queue.worker.loop:Worker._turn", "self._wakeups.release(jobs)\n            return", "return"),),
    ),
    Mutant(
        "a thread that ends leaves its process",
        "the worker looked well, and took jobs that nobody ran",
        (("app.fail_fast:install", "threading.excepthook = failed", "pass"),),
    ),
    Mutant(
        "a job that ends threads costs no attempt",
        "it ended one worker after another",
        (
            (
                "app.queue.attempts:Attempts.release",
                'counted = dict.fromkeys(map(str, suspects), "the worker failed over the job")',
                "counted = dict.fromkeys(())",
            ),
        ),
    ),
    Mutant(
        "any claim of the attempt is forgotten",
        "the number of an attempt that was not counted is used again",
        (("app.queue.leases:Leases.forget", "is job:", "is not None:"),),
    ),
    Mutant(
        "the lease begins with the answer",
        "a worker whose answer came late believed that it held what it did not",
        (
            (
                "app.queue.attempts:Attempts.claim",
                "for job in won:",
                "for job in won:\n            job.claimed_at = time.monotonic()",
            ),
        ),
    ),
    Mutant(
        "the owner is no part of the fence",
        "a worker that came back stored over the attempt of another",
        (("app.queue.statements:_STORE", "AND jobs.claimed_by = ended.worker", ""),),
    ),
    Mutant(
        "the attempt is no part of the fence",
        "the same, in one worker",
        (("app.queue.statements:_STORE", "jobs.attempt = ended.attempt AND", ""),),
    ),
    Mutant(
        "nobody looks for what Redis has forgotten",
        "jobs waited for ever after Redis lost its data",
        (("app.queue.sweeper:Sweeper._requeue", "there: set[str] | None = None", "return 0"),),
    ),
    Mutant(
        "nobody takes back what a worker has left",
        "jobs of a worker that was killed stayed claimed",
        (("app.queue.sweeper:Sweeper._take_back", "return self._enqueue(", "return (lambda _: 0)(()) if True else ("),),
    ),
)  # fmt: skip


@contextmanager
def applied(mutant: Mutant) -> Iterator[None]:
    """With `harness.installed()` already entered: the source is compiled against the simulation's names."""
    with ExitStack() as stack:
        for where, old, new in mutant.edits:
            stack.enter_context(_edited(where, old, new))
        yield


class Unknown(AssertionError):
    """The mend is not where the mutant looks for it: adapt the mutant."""


@contextmanager
def _edited(where: str, old: str, new: str) -> Iterator[None]:
    module_name, _, path = where.partition(":")
    module = importlib.import_module(module_name)
    owner: Any = module
    *outer, name = path.split(".")
    for part in outer:
        owner = getattr(owner, part)
    if name not in vars(owner):
        raise Unknown(f"{where} is not there")
    before = vars(owner)[name]
    if isinstance(before, str):
        if old not in before:
            raise Unknown(f"{where} has no {old!r}")
        after: Any = before.replace(old, new)
    elif isinstance(before, int):
        after = int(new)
    elif isinstance(before, dict):
        after = {key: value for key, value in before.items() if key != old}
        if new:
            after[old] = before["08"]
        elif old not in before:
            raise Unknown(f"{where} has no {old!r}")
    else:
        after = _recompiled(module, before, where, old, new)
    setattr(owner, name, after)
    try:
        yield
    finally:
        setattr(owner, name, before)


_sources: dict[Any, str] = {}


def _recompiled(module: Any, function: Any, where: str, old: str, new: str) -> Any:
    source = _sources.get(function) or inspect.getsource(getattr(function, "__wrapped__", function))
    if old not in source:
        raise Unknown(f"{where} has no {old!r}")
    edited, made = source.replace(old, new), {}
    # A method stands indented in its class.
    text = "from __future__ import annotations\n" + ("if True:\n" if edited.startswith(" ") else "") + edited
    exec(compile(text, f"<{where} without its mend>", "exec"), {**vars(module)}, made)
    after = made[function.__name__]
    rebound = type(after)(after.__code__, vars(module), after.__name__, after.__defaults__, after.__closure__)
    rebound.__kwdefaults__ = after.__kwdefaults__
    _sources[rebound] = edited
    return rebound
