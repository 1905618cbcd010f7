"""The workers that are compared: how each is started and how jobs get onto its queue."""

from __future__ import annotations

import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

from redis import Redis
from rq import Queue, Retry
from rq.serializers import JSONSerializer

from benchmarks.application import jobs
from benchmarks.application.processes import ROOT, BenchmarkError, Running
from benchmarks.application.servers import PEER, Servers

CONCURRENCY = 10
QUEUE = "jobs"
_BATCH = 1000


class Contestant(ABC):
    """`name` as reported; `concurrency` jobs at once; `expected` no-op jobs a second, for the pilot run's size only.

    `warm_up`: seconds of jobs that are run first and not measured; more for a contestant that starts in parts.
    """

    def __init__(self, name: str, *, concurrency: int, expected: float, warm_up: float = 0.5) -> None:
        self.name, self.concurrency, self.expected, self.warm_up = name, concurrency, expected, warm_up

    @abstractmethod
    def enqueue(self, servers: Servers, prefix: str, count: int, milliseconds: int) -> None:
        """Put jobs `{prefix}-0` … on the queue."""

    @abstractmethod
    def command(self, servers: Servers) -> list[str]: ...

    def environment(self, servers: Servers, database_url: str) -> Mapping[str, str]:  # noqa: ARG002
        return {"REDIS_URL": servers.redis_url, "CONCURRENCY": str(self.concurrency)}

    def start(
        self, servers: Servers, *, database_url: str, journal: Path, settings: Mapping[str, str] | None = None
    ) -> Running:
        """`settings`: further environment variables."""
        environment = {**self.environment(servers, database_url), jobs.LOG: str(journal), **(settings or {})}
        return Running(self.command(servers), environment=environment, log=servers.file("worker.log"))


class RqJobs(Contestant):
    """RQ's wire format; `kind` is a worker of RQ."""

    def __init__(self, name: str, *, kind: str, concurrency: int, expected: float, warm_up: float = 0.5) -> None:
        super().__init__(name, concurrency=concurrency, expected=expected, warm_up=warm_up)
        self._kind = kind

    def enqueue(self, servers: Servers, prefix: str, count: int, milliseconds: int) -> None:
        with servers.client() as client:
            enqueue_rq(client, prefix, count, milliseconds)

    def command(self, servers: Servers) -> list[str]:  # noqa: ARG002
        return [sys.executable, "-m", "benchmarks.application.rq_worker", self._kind]


class Ours(RqJobs):
    """`python -m app` as it is deployed, running plain RQ jobs."""

    def __init__(self) -> None:
        super().__init__("Slipway", kind="", concurrency=CONCURRENCY, expected=500)

    def command(self, servers: Servers) -> list[str]:  # noqa: ARG002
        return [sys.executable, "-m", "app"]

    def environment(self, servers: Servers, database_url: str) -> Mapping[str, str]:
        return {
            "MODE": "worker",
            "ENVIRONMENT": "test",
            "LOG_LEVEL": "warning",
            "DATABASE_URL": database_url,
            "REDIS_URL": servers.redis_url,
            "QUEUE_NAME": QUEUE,
            "QUEUE_CONCURRENCY": str(self.concurrency),
        }


class Dramatiq(Contestant):
    def enqueue(self, servers: Servers, prefix: str, count: int, milliseconds: int) -> None:
        code = (
            "import sys; from benchmarks.application.dramatiq_jobs import work\n"
            "prefix, count, ms = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])\n"
            "for n in range(count): work.send(f'{prefix}-{n}', ms)"
        )
        command = [sys.executable, "-c", code, prefix, str(count), str(milliseconds)]
        _run(command, environment={"REDIS_URL": servers.redis_url, "PYTHONPATH": str(ROOT)})

    def command(self, servers: Servers) -> list[str]:  # noqa: ARG002
        program = str(Path(sys.executable).with_name("dramatiq"))
        return [
            *(program, "benchmarks.application.dramatiq_jobs", "--processes", "1"),
            *("--threads", str(self.concurrency), "--skip-logging"),
        ]


class BullMq(Contestant):
    def enqueue(self, servers: Servers, prefix: str, count: int, milliseconds: int) -> None:
        command = [servers.node, str(PEER / "jobs.js"), "add", prefix, str(count), str(milliseconds)]
        _run(command, environment={"REDIS_URL": servers.redis_url})

    def command(self, servers: Servers) -> list[str]:
        return [servers.node, str(PEER / "jobs.js"), "work"]


def enqueue_rq(client: Redis, prefix: str, count: int, milliseconds: int) -> None:
    """In batches, each visible at once. With retries, without which RQ gives a job up whose worker died."""
    queue = Queue(QUEUE, connection=client, serializer=JSONSerializer)
    for first in range(0, count, _BATCH):
        queue.enqueue_many(
            Queue.prepare_data(
                jobs.FUNCTION,
                args=[f"{prefix}-{number}", milliseconds],
                job_id=f"{prefix}-{number}",
                timeout=60,
                result_ttl=500,
                failure_ttl=3600,
                description="",
                retry=Retry(max=3),
            )
            for number in range(first, min(first + _BATCH, count))
        )


def _run(command: list[str], *, environment: Mapping[str, str]) -> None:
    done = subprocess.run(command, cwd=ROOT, env=dict(environment), capture_output=True, text=True)
    if done.returncode:
        raise BenchmarkError(f"{' '.join(command)} failed:\n{done.stdout}{done.stderr}")


def all_of_them() -> list[Contestant]:
    # The pool's ten processes come up one after the other; all must be there when the measuring begins.
    return [
        Ours(),
        RqJobs("RQ Worker", kind="worker", concurrency=1, expected=50),
        RqJobs("RQ SimpleWorker", kind="simple", concurrency=1, expected=400),
        RqJobs("RQ WorkerPool of 10", kind="pool", concurrency=CONCURRENCY, expected=70, warm_up=3.0),
        Dramatiq("dramatiq, 10 threads", concurrency=CONCURRENCY, expected=1500),
        BullMq("BullMQ, concurrency 1", concurrency=1, expected=2500),
        BullMq("BullMQ, concurrency 10", concurrency=CONCURRENCY, expected=8000),
    ]
