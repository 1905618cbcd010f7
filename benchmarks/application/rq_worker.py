"""RQ's own workers, as RQ ships them: `python -m benchmarks.application.rq_worker worker|simple|pool`.

The job's module is imported before the first fork, which RQ's documentation advises.
"""

from __future__ import annotations

import os
import sys

from redis import Redis
from rq import Queue, SimpleWorker, Worker
from rq.serializers import JSONSerializer
from rq.worker_pool import WorkerPool

from benchmarks.application import jobs

QUEUE = "jobs"


def main() -> None:
    connection = Redis.from_url(os.environ["REDIS_URL"])
    assert jobs.FUNCTION
    if sys.argv[1] == "pool":
        pool = WorkerPool([QUEUE], connection, num_workers=int(os.environ["CONCURRENCY"]), serializer=JSONSerializer)
        pool.start(burst=False, logging_level="WARNING")
        return
    kind = {"worker": Worker, "simple": SimpleWorker}[sys.argv[1]]
    worker = kind(
        [Queue(QUEUE, connection=connection, serializer=JSONSerializer)],
        connection=connection,
        serializer=JSONSerializer,
        log_job_description=False,
        worker_ttl=int(os.environ.get("WORKER_TTL", "420")),
        maintenance_interval=int(os.environ.get("MAINTENANCE_INTERVAL", "600")),
        job_monitoring_interval=int(os.environ.get("JOB_MONITORING_INTERVAL", "30")),
    )
    worker.work(logging_level="WARNING")


if __name__ == "__main__":
    main()
