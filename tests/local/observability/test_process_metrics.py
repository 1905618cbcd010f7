"""What Prometheus reads from the processes: the API of every replica, and every worker on a port of its own."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from prometheus_client.parser import text_string_to_metric_families
from redis.asyncio import Redis as AsyncRedis
from rq import Queue
from rq.registry import FailedJobRegistry, FinishedJobRegistry, ScheduledJobRegistry, StartedJobRegistry
from sqlalchemy import make_url

from app.queue.statistics import read_broker

QUEUE = "webhook-processor"


def samples(text: str) -> dict[str, float]:
    """Values by the name and labels of the series, as they stand in the text."""
    return {
        sample.name + "".join(f",{key}={value}" for key, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_a_worker_measures_its_jobs(
    processes: Any, receiver: Any, deliver: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    api, worker = processes.start("api"), processes.start("worker", QUEUE_CONCURRENCY="7")
    receiver.answers = [503, 200, 404]
    deliver(api, receiver.url)
    eventually(lambda: len(worker.events("job ended")) == 2)
    deliver(api, receiver.url)
    eventually(lambda: len(worker.events("job ended")) == 3)

    found = samples(worker.own_metrics())
    outcomes = {name: value for name, value in found.items() if name.startswith("slipway_jobs_ended_total")}
    assert outcomes == {
        f"slipway_jobs_ended_total,kind=delivery,outcome={outcome}": 1.0 for outcome in ("done", "retry", "dead")
    }
    for measured in ("duration", "wait"):
        assert found[f"slipway_job_{measured}_seconds_count,kind=delivery"] == 3
        assert 0 < found[f"slipway_job_{measured}_seconds_sum,kind=delivery"] < 20
    assert found["slipway_worker_jobs_running"] == 0
    assert found["slipway_worker_concurrency"] == 7
    assert found["slipway_worker_heartbeat_age_seconds"] < 5
    assert found["process_resident_memory_bytes"] > 0


def test_the_wait_is_counted_from_when_the_job_was_due(
    processes: Any, receiver: Any, deliver: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    deliver(processes.start("api"), receiver.url)
    with psycopg.connect(processes.environ["DATABASE_URL"]) as connection:
        connection.execute("UPDATE jobs SET run_at = now() - interval '200 s'")
    worker = processes.start("worker")
    eventually(lambda: worker.events("job ended"))
    found = samples(worker.own_metrics())
    assert found["slipway_job_wait_seconds_bucket,kind=delivery,le=60.0"] == 0
    assert found["slipway_job_wait_seconds_bucket,kind=delivery,le=300.0"] == 1
    assert found["slipway_job_duration_seconds_bucket,kind=delivery,le=60.0"] == 1


def test_a_job_under_way_shows_and_one_that_loses_its_lease_is_counted(
    processes: Any, receiver: Any, deliver: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    api, worker = processes.start("api"), processes.start("worker", DELIVERY_TIMEOUT="3000", SWEEP_INTERVAL="60000")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        deliver(api, f"http://127.0.0.1:{silent.getsockname()[1]}", max_attempts=1)
        eventually(lambda: samples(worker.own_metrics())["slipway_worker_jobs_running"] == 1)
        with psycopg.connect(processes.environ["DATABASE_URL"]) as connection:
            connection.execute("UPDATE jobs SET claimed_by = 'another'")
        lost = "slipway_jobs_ended_total,kind=delivery,outcome=lost"
        found = eventually(lambda: (now := samples(worker.own_metrics())).get(lost) and now)
    assert (found[lost], found["slipway_worker_jobs_running"]) == (1, 0)


def test_an_api_with_a_worker_beside_it_is_read_on_two_ports(processes: Any, eventually: Callable[..., Any]) -> None:
    both = processes.start("all")
    eventually(lambda: samples(both.metrics())[f"slipway_workers,queue={QUEUE}"] == 1)
    assert "slipway_worker_concurrency" in samples(both.own_metrics())
    assert "slipway_worker_concurrency" not in samples(both.metrics())
    assert "http_requests_in_flight" not in samples(both.own_metrics())
    assert both.stop() == 0


def test_a_worker_that_waits_for_redis_can_be_read(processes: Any, tmp_path: Path) -> None:
    processes.up["worker"] = ("waiting for Redis",)
    worker = processes.start("worker", REDIS_URL=f"unix://{tmp_path}/none.sock")
    assert samples(worker.own_metrics())["slipway_worker_heartbeat_age_seconds"] > 0
    assert worker.stop() == 0


@pytest.mark.flips("metrics_port")
def test_a_worker_serves_no_metrics_unless_told(processes: Any) -> None:
    worker = processes.start("worker", METRICS_PORT="0")
    assert worker.events("worker started")
    assert worker.stop() == 0


def test_a_port_that_is_taken_is_named(processes: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        worker = processes.start("worker", METRICS_PORT=str(port))
        assert worker.popen.wait(20) == 2
    (line,) = worker.events("cannot start")
    assert line["reason"].startswith(f"METRICS_PORT={port}: Address already in use; choose a free port")


def test_the_api_tells_of_the_workers(
    processes: Any, receiver: Any, deliver: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    api = processes.start("api")
    before = samples(api.metrics())
    assert before[f"slipway_workers,queue={QUEUE}"] == 0
    assert f"slipway_worker_last_seen_seconds,queue={QUEUE}" not in before
    worker = processes.start("worker")
    found = eventually(lambda: (now := samples(api.metrics()))[f"slipway_workers,queue={QUEUE}"] and now)
    assert 0 <= found[f"slipway_worker_last_seen_seconds,queue={QUEUE}"] < 20
    deliver(api, receiver.url)
    eventually(lambda: worker.events("job ended"))
    finished = f"slipway_rq_registry_jobs,queue={QUEUE},registry=finished"
    eventually(lambda: samples(api.metrics())[finished] == 1)
    assert worker.stop() == 0
    assert samples(api.metrics())[f"slipway_workers,queue={QUEUE}"] == 0


def test_figures_of_a_service_that_went_away_are_left_out(processes: Any) -> None:
    """Zeros would look like an empty queue, and the last figures like fresh ones."""
    api = processes.start("api")
    assert f"slipway_queue_length,queue={QUEUE}" in samples(api.metrics())
    url = processes.environ["DATABASE_URL"]
    name = make_url(url).database
    with psycopg.connect(url.replace(f"/{name}?", "/postgres?"), autocommit=True) as server:
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (name,))
        found = samples(api.metrics())
        server.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    assert found["slipway_service_up,service=database"] == 0
    assert found["slipway_service_up,service=redis"] == 1
    assert not [series for series in found if series.startswith(("slipway_jobs_", "slipway_outbox_"))]
    assert samples(api.metrics())["slipway_service_up,service=database"] == 1


@pytest.mark.anyio
async def test_the_broker_is_read_where_rq_writes(redis_url: str) -> None:
    """Our reader spells RQ's keys itself, because RQ's own readers clean up what they read."""
    with redis.Redis.from_url(redis_url) as client:
        queue = Queue("mail", connection=client)
        now = datetime.now(UTC)
        jobs = [queue.enqueue("app.jobs.execute.execute", str(uuid.uuid4())) for _ in range(3)]
        client.lmove(queue.key, queue.intermediate_queue_key)
        for registry, count in ((FinishedJobRegistry, 1), (FailedJobRegistry, 2), (StartedJobRegistry, 3)):
            key = registry(queue=queue).key
            client.zadd(key, {f"job-{n}": now.timestamp() + 60 for n in range(count)})
        scheduled = ScheduledJobRegistry(queue=queue)
        scheduled.schedule(jobs[0], now + timedelta(minutes=5))
        asynchronous = AsyncRedis.from_url(redis_url)
        found = (await read_broker(asynchronous, ["mail"]))["mail"]
        assert (found.queued, found.workers, found.heartbeat_age, found.overdue) == (2, 0, None, 0)
        assert found.registries == {"intermediate": 1, "finished": 1, "failed": 2, "started": 3, "scheduled": 1}
        client.zadd(scheduled.key, {jobs[0].id: now.timestamp() - 90})
        assert (await read_broker(asynchronous, ["mail"]))["mail"].overdue == pytest.approx(90, abs=5)
        await asynchronous.aclose()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
