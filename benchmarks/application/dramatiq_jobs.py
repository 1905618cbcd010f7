"""The same job as a dramatiq actor: `dramatiq benchmarks.application.dramatiq_jobs`."""

from __future__ import annotations

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from benchmarks.application import jobs

broker = RedisBroker(  # type: ignore[no-untyped-call]
    url=os.environ["REDIS_URL"],
    heartbeat_timeout=int(os.environ.get("HEARTBEAT_TIMEOUT", "60000")),
    maintenance_chance=int(os.environ.get("MAINTENANCE_CHANCE", "1000")),
)
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name="jobs", max_retries=3)
def work(job_id: str, milliseconds: int) -> None:
    jobs.work(job_id, milliseconds)
