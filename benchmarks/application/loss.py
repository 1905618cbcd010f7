"""A worker is killed with jobs in flight and another one started: what is lost, what runs twice, how long it takes.

The trials run beside each other, each against a Valkey of its own: what counts here are jobs and many seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.application import journal, load
from benchmarks.application.contestants import BullMq, Contestant, Dramatiq, RqJobs
from benchmarks.application.generator import Order
from benchmarks.application.load import Generator
from benchmarks.application.processes import BenchmarkError, Running
from benchmarks.application.servers import Servers, free_port, valkey
from benchmarks.application.systems import Ours

JOBS = 100
MILLISECONDS = 200
CAP_SECONDS = 120.0
_KILL_AFTER = 20
_START_SECONDS = 60.0
_POLL = 0.05

# Each contestant's own settings for a quick recovery, where its documentation has any.
RQ_RECOVERY = {"WORKER_TTL": "45", "MAINTENANCE_INTERVAL": "15", "JOB_MONITORING_INTERVAL": "10"}
DRAMATIQ_RECOVERY = {"HEARTBEAT_TIMEOUT": "10000", "MAINTENANCE_CHANCE": "100000"}
BULLMQ_RECOVERY = {"LOCK_DURATION": "5000", "STALLED_INTERVAL": "5000"}
OURS_RECOVERY = {
    "DELIVERY_TIMEOUT": "3000",
    "QUEUE_JOB_TIMEOUT": "4000",
    "QUEUE_LEASE": "5000",
    "SWEEP_INTERVAL": "1000",
}


@dataclass(frozen=True)
class Trial:
    """`in_flight` when the worker was killed; `lost` had not ended when the time was up; `ended_twice` took effect a
    second time; `begun_twice` were run again from the start. `seconds` from the kill to the last end."""

    name: str
    settings: Mapping[str, str]
    jobs: int
    in_flight: int
    lost: int
    begun_twice: int
    ended_twice: int
    seconds: float


def measure(servers: Servers) -> list[Trial]:
    print("loss when a worker is killed", flush=True)
    trials: list[Callable[[], Trial]] = [
        lambda: _ours(servers),
        lambda: _jobs(servers, RqJobs("RQ Worker", kind="worker", concurrency=1, expected=0), RQ_RECOVERY),
        lambda: _jobs(servers, Dramatiq("dramatiq", concurrency=10, expected=0), DRAMATIQ_RECOVERY),
        lambda: _jobs(servers, BullMq("BullMQ", concurrency=10, expected=0), BULLMQ_RECOVERY),
    ]
    with ThreadPoolExecutor(len(trials)) as pool:
        return [found.result() for found in [pool.submit(trial) for trial in trials]]


def _jobs(shared: Servers, one: Contestant, settings: Mapping[str, str]) -> Trial:
    servers = replace(shared, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    path = servers.file("journal")
    with valkey(servers):
        one.enqueue(servers, "job", JOBS, MILLISECONDS)

        def start() -> Running:
            return one.start(servers, database_url="", journal=path, settings=settings)

        return _kill_and_wait(one.name, settings, path, start)


def _ours(shared: Servers) -> Trial:
    """By the acceptance path: the job's effect is the receiver's answer, and its row in Postgres."""
    servers = replace(shared, redis_url=f"redis://127.0.0.1:{free_port()}/0")
    with valkey(servers):
        system = Ours(servers)
        with load.receiver(servers, delay=MILLISECONDS) as receiver, system.api() as api:
            system.wait_until_healthy(api)
            order = Order(
                port=system.port,
                token=system.token(),
                receiver=receiver.url,
                prefix="job",
                requests=JOBS,
                connections=10,
            )
            answers = Generator(servers, order).answers()
            if any(answer.status != 202 for answer in answers):
                raise BenchmarkError("the deliveries of the loss trial were not all accepted")

            def start() -> Running:
                return system.worker(OURS_RECOVERY)

            trial = _kill_and_wait(system.name, OURS_RECOVERY, receiver.path, start, rows=system.count_completed)
        system.drop()
    return trial


def _kill_and_wait(
    name: str,
    settings: Mapping[str, str],
    path: Path,
    start: Callable[[], Running],
    *,
    rows: Callable[[], int] | None = None,
) -> Trial:
    """`rows`: how many effects the database has, for a system whose effects are there."""
    with start() as first:
        first.wait_for(lambda: _is_under_way(path), seconds=_START_SECONDS, what="jobs in flight", interval=0.01)
        first.kill()
    killed = time.time()
    # Requests that were under way are answered into a closed socket for a moment; they are no effect of the new worker.
    at_kill = journal.read(path)
    with start():
        while time.time() < killed + CAP_SECONDS:
            ended = {note.job_id for note in journal.read(path) if note.event == "E"}
            if len(ended) >= JOBS and (rows is None or rows() >= JOBS):
                break
            time.sleep(_POLL)
        lost = JOBS - (len(ended) if rows is None else rows())
    notes = journal.read(path)
    begun, ends = [n.job_id for n in notes if n.event == "S"], [n.job_id for n in notes if n.event == "E"]
    return Trial(
        name=name,
        settings=settings,
        jobs=JOBS,
        in_flight=len(_open(at_kill)),
        lost=lost,
        begun_twice=len(begun) - len(set(begun)),
        ended_twice=len(ends) - len(set(ends)),
        seconds=max((note.at for note in notes if note.event == "E"), default=killed) - killed,
    )


def _open(notes: list[journal.Note]) -> set[str]:
    """Ids of the jobs that have begun and not ended."""
    return {n.job_id for n in notes if n.event == "S"} - {n.job_id for n in notes if n.event == "E"}


def _is_under_way(path: Path) -> bool:
    notes = journal.read(path)
    return sum(1 for note in notes if note.event == "E") >= _KILL_AFTER and bool(_open(notes))
