"""What must hold whatever happened, as in tests/chaos/rig/oracle.py: accepted means done, each effect once, no waiting
beyond a bound, nothing in a registry for ever, and attempts counted for what was attempted."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

from simulated import harness
from simulated.scheduler import Process
from simulated.world import World

_STOPPED_WITHIN = harness.SHUTDOWN + 12.0
_FREE_AGAIN = 14.0
"""Seconds until a statement that the network swallowed lets go of its worker: psycopg, once it is cancelled, asks the
server to stop and waits for ten."""
_TRIED_AGAIN = {"deadlock", "serialization", "timeout"}
"""Faults that are tried again at once, and that nobody hears of."""
_NOT_TOLD = ("jobs' ends not told to Redis", "job's end not told to Redis", "left without telling Redis")


def process_ended(here: World, process: Process) -> None:
    code = process.exit_code
    if code is None:
        here.excused.setdefault(process.name, "killed")
    elif code != 0:
        here.excused.setdefault(process.name, f"exit code {code}")
        if not (here.plan.bugs or here.plan.killers):
            here.violation(f"{process.name} ended by itself with exit code {code}")


def leftovers(here: World) -> list[str]:
    """What RQ's registries still have of jobs that are over."""
    redis = here.redis
    found = []
    for name, key, read in (
        ("queue", f"rq:queue:{harness.QUEUE}", "LLEN"),
        ("started", f"rq:wip:{harness.QUEUE}", "ZCARD"),
        ("scheduled", f"rq:scheduled:{harness.QUEUE}", "ZCARD"),
    ):
        if count := redis.call(read, key):
            found.append(f"{count} in {name}")
    found += [
        f"{key.decode()} for ever" for key in list(redis.data)
        if key.startswith((b"rq:executions:", b"rq:execution:", b"rq:worker:")) and redis.call("TTL", key) == -1
    ]  # fmt: skip
    return found


def judge_jobs(here: World) -> None:
    """To be called when every job is at its end."""
    tables = here.postgres.tables
    jobs = {row["subject_id"]: row for row in tables["jobs"].values()}
    attempts: dict[Any, list[Any]] = defaultdict(list)
    for row in tables["delivery_attempts"].values():
        attempts[row["delivery_id"]].append(row)
    calls = Counter(delivery for _, delivery, _ in here.calls)
    if len(jobs) != len(tables["jobs"]) or set(jobs) != set(tables["deliveries"]):
        here.violation("not one job for each delivery")
    for key, delivery in tables["deliveries"].items():
        job = jobs[key]
        name = f"delivery {str(key)[:8]} of job {str(job['id'])[:8]}"
        made = attempts[key]
        successes = sum(one["status_code"] is not None and 200 <= one["status_code"] < 300 for one in made)
        expected = {"done": ("delivered", 1), "dead": ("failed", 0)}.get(job["state"])
        if (delivery["status"], successes) != expected:
            here.violation(f"{name} is {delivery['status']} with {successes} successes, its job {job['state']}")
        if (job["lease_until"], job["claimed_by"]) != (None, None) or delivery["completed_at"] is None:
            here.violation(f"{name} is over and still claimed, or not completed")
        if len(made) > calls[key]:
            here.violation(f"{name} has {len(made)} attempts stored and {calls[key]} calls made")
        _judge_attempts(here, name, job, made)


def _judge_attempts(here: World, name: str, job: dict[str, Any], made: list[Any]) -> None:
    runs = [one for one in here.runs if one[1] == job["id"]]
    begun = {(attempt, worker) for _, _, attempt, worker, _ in runs}
    number = json.loads(here.postgres.tables["deliveries"][job["subject_id"]]["payload_text"])["body"]
    claims = [fact[2] for _, fact in here.facts if fact[0] == "claim" and fact[2]["id"] == job["id"]]
    # A claim whose attempt never began is given back, unless its worker could not do that any more.
    left_behind = [
        claim for claim in claims
        if (claim["attempt"], claim["claimed_by"]) not in begun and _excuse(here, claim["claimed_by"])
    ]  # fmt: skip
    if not 1 <= job["attempt"] <= job["max_attempts"]:
        here.violation(f"{name}: attempt {job['attempt']} of {job['max_attempts']}")
    if job["attempt"] > len(runs) + len(left_behind):
        here.violation(f"{name}: {job['attempt']} attempts are counted and {len(runs)} have begun")
    excused = bool(left_behind) or any(_excuse(here, worker) for _, _, _, worker, _ in runs)
    harmless = not (here.plan.receiver["fails"] or here.plan.receiver["breaks"])
    special = number in here.plan.poison or number in here.plan.killers
    if job["state"] == "dead" and harmless and not special and not excused:
        here.violation(f"{name} failed without a cause: {job['last_error']}")
    refused = [one for one in made if one["error"] and "cannot be stored" in one["error"]]
    if (refused or "cannot be stored" in (job["last_error"] or "")) and not special:
        here.violation(f"{name}: a result was refused that Postgres would have taken")
    if number in here.plan.killers and job["state"] != "dead":
        here.violation(f"{name} ends threads and was not given up")


def _excuse(here: World, worker: str) -> str | None:
    """Why this worker may have left an attempt behind. By the name that it gives itself."""
    process = next((one[4] for one in here.runs if one[3] == worker), None) or here.worker_names.get(worker)
    return None if process is None else here.excused.get(process)


def judge(here: World) -> None:
    _judge_answers(here)
    _judge_claims(here)
    _judge_logs(here)
    _judge_foreign(here)
    for text in here.postgres.deadlocks:
        here.violation(f"a deadlock of our own: {text}")
    for name, at in here.stops.items():
        process = next(one for one in here.processes if one.name == name)
        if not process.dead and here.scheduler.now > at + _STOPPED_WITHIN and here.excused.get(name) != "paused":
            here.violation(f"{name} was asked to stop at {at:.1f} and still runs")


def _judge_answers(here: World) -> None:
    stored = {}
    for row in here.postgres.tables["deliveries"].values():
        payload = json.loads(row["payload_text"])
        stored[payload["request"], payload["try"]] = row
    by_key: dict[str, set[Any]] = defaultdict(set)
    limit = here.plan.request_timeout + 0.5 + 0.3
    conflicts = sum(label in ("add", "connect", "select deliveries") for _, label, _ in here.plan.injected)
    harmless = not here.plan.events and conflicts < 4 and {fault for _, _, fault in here.plan.injected} <= _TRIED_AGAIN
    for one in here.tries:
        row = stored.get((one.request.number, one.number))
        name = f"request {one.request.number} (try {one.number})"
        if one.answer is None:
            here.violation(f"{name} was never answered")
            continue
        if one.answer in ("accepted", "replayed", "unheard") and one.delivery is not None:
            if one.delivery not in here.postgres.tables["deliveries"]:
                here.violation(f"{name} was accepted and its delivery does not exist")
            if one.request.key:
                by_key[one.request.key].add(one.delivery)
        if one.answer in ("timeout", "gone") and row is not None:
            here.violation(f"{name} was told no and is stored")
        if one.answer in ("unknown", "timeout") and harmless and here.plan.request_timeout > 1:
            here.violation(f"{name} failed although nothing else did that cannot be tried again")
        if one.answer not in ("accepted", "replayed", "timeout", "gone", "unknown", "unheard"):
            here.violation(f"{name} was answered with an error: {one.answer}")
        if one.answer == "unknown" and not here.plan.injected:
            here.violation(f"{name} was not told its outcome, although nothing fails")
        if (
            one.answer == "timeout"
            and one.began > here.plan.calm + here.plan.request_timeout + _FREE_AGAIN
            and here.plan.request_timeout >= 0.3
        ):
            here.violation(f"{name} took too long although nothing fails any more")
        if not here.plan.injected and here.plan.request_timeout > 1 and one.ended - one.began > 0.8:
            here.violation(f"{name} waited for {one.ended - one.began:.2f} s although nothing fails")
        if one.ended - one.began > limit and here.excused.get(one.process) != "killed":
            here.violation(f"{name} was answered after {one.ended - one.began:.2f} s")
    for key, deliveries in by_key.items():
        if len(deliveries) > 1:
            here.violation(f"key {key} was accepted as {len(deliveries)} deliveries")


def _judge_claims(here: World) -> None:
    """An attempt runs only under a claim that stands, until its lease is over."""
    claimed_at = {(fact[2]["id"], fact[2]["attempt"], fact[2]["claimed_by"]): at
                  for at, fact in here.facts if fact[0] == "claim"}  # fmt: skip
    stopping = {process for _, process, event, _ in here.logs if event.startswith("worker stopping")}
    for at, job, attempt, worker, process in here.unclaimed:
        since = claimed_at.get((job, attempt, worker), at)
        if at < since + harness.LEASE and job not in here.forgotten and process not in stopping:
            here.violation(f"attempt {attempt} of job {str(job)[:8]} ran in {process} without a claim")


def _judge_logs(here: World) -> None:
    stored = {}
    claimed_at = {}
    for at, fact in here.facts:
        if fact[0] == "claim":
            claimed_at[str(fact[2]["id"]), fact[2]["attempt"], fact[2]["claimed_by"]] = at
        if fact[0] == "finish" and fact[1]["attempt"] == fact[2]["attempt"]:
            stored[str(fact[1]["id"]), fact[1]["attempt"], fact[1]["claimed_by"]] = at
    workers = {process: worker for worker, process in here.worker_names.items()}
    for at, process, event, facts in here.logs:
        if event == "job's result not stored":
            key = facts["job_id"], facts["attempt"], workers.get(process)
            if key in claimed_at and at < claimed_at[key] + harness.LEASE:
                here.violation(f"the result of job {facts['job_id'][:8]} was dropped within its lease")
        if event.startswith("job lost its lease"):
            key = facts["job_id"], facts["attempt"], workers.get(process)
            if stored.get(key, at + 1) <= at and at < claimed_at[key] + harness.LEASE:
                here.violation(f"job {facts['job_id'][:8]} was called lost, and its result is stored")


def _judge_foreign(here: World) -> None:
    runs = Counter(name for _, name, _ in here.foreign_runs)
    untold = any(event in _NOT_TOLD for _, _, event, _ in here.logs)
    redis = any("redis" in what for _, what, _ in here.plan.events)
    ended = set(here.excused) | {process for _, process, event, _ in here.logs if event.startswith("worker stopping")}
    for name, count in runs.items():
        where = {process for _, one, process in here.foreign_runs if one == name}
        if count > 1 and not untold and not redis and not where & ended:
            here.violation(f"{name} ran {count} times")
