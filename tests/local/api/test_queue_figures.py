"""The queues' figures as log lines, read from a real Postgres and a real Valkey."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import psycopg
import pytest
import redis as sync_redis
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.db.engine import async_engine
from app.queue.emf import UNITS, Emitter, line
from app.settings import Settings
from infra.aws import queue_metrics

pytestmark = pytest.mark.anyio

QUEUE, OTHER = "webhook-processor", "mail"
Make = Callable[..., Emitter]


@pytest.fixture
async def emitter(environ: dict[str, str]) -> AsyncIterator[Make]:
    made: list[tuple[AsyncEngine, Redis]] = []

    def make(out: io.StringIO, **changes: str) -> Emitter:
        settings = Settings.load({**environ, "STACK_NAME": "prod", "EMF_QUEUES": OTHER, **changes})
        engine, redis = async_engine(settings), Redis.from_url(settings.redis_url.get_secret_value())
        made.append((engine, redis))
        whole = Emitter.of(settings, engine=engine, redis=redis)
        whole._out = out
        return whole

    yield make
    for engine, redis in made:
        await engine.dispose()
        await redis.aclose()


def add_job(url: str, *, queue: str = QUEUE, state: str = "pending", **columns: str) -> None:
    """Columns are SQL expressions."""
    given = {"id": f"'{uuid.uuid4()}'", "subject_id": f"'{uuid.uuid4()}'", "kind": "'delivery'", "max_attempts": "3"}
    values = {**given, "queue": f"'{queue}'", "state": f"'{state}'", **columns}
    with psycopg.connect(url) as connection:
        connection.execute(f"INSERT INTO jobs ({', '.join(values)}) VALUES ({', '.join(values.values())})")


async def figures(emitter: Emitter, out: io.StringIO) -> dict[str, dict[str, Any]]:
    """One round's lines by queue."""
    out.seek(0)
    out.truncate()
    await emitter.emit()
    lines = [json.loads(text) for text in out.getvalue().splitlines()]
    return {found["Queue"]: found for found in lines}


async def test_an_empty_queue_is_told_as_zeros(emitter: Make) -> None:
    found = await figures(emitter(out := io.StringIO()), out)
    assert set(found) == {QUEUE, OTHER}
    assert {name: found[OTHER][name] for name in UNITS} == dict.fromkeys(UNITS, 0)


async def test_what_each_figure_counts(emitter: Make, migrated_url: str, redis_url: str) -> None:
    add_job(migrated_url, run_at="now() - interval '90 s'", enqueued_at="now()")
    add_job(migrated_url, run_at="now() - interval '30 s'")
    add_job(migrated_url, run_at="now() + interval '1 hour'")  # a retry that is not due yet waits for nobody
    add_job(migrated_url, state="running", lease_until="now()")
    add_job(migrated_url, state="dead", finished_at="now() - interval '4 min'")
    add_job(migrated_url, state="dead", finished_at="now() - interval '6 min'")
    add_job(migrated_url, state="done", finished_at="now()")
    add_job(migrated_url, queue=OTHER)
    add_job(migrated_url, queue="of another stack")
    with sync_redis.Redis.from_url(redis_url) as client:
        client.sadd(f"rq:workers:{QUEUE}", "rq:worker:alive", "rq:worker:killed")
        client.hset("rq:worker:alive", "state", "busy")

    found = await figures(emitter(out := io.StringIO()), out)

    main = found[QUEUE]
    assert (main["QueueDepth"], main["RunningJobs"], main["FailedJobs"], main["OutboxUnsent"]) == (2, 1, 1, 1)
    assert main["OldestJobWaitSeconds"] == pytest.approx(90, abs=5)
    assert main["OutboxOldestSeconds"] == pytest.approx(30, abs=5)
    assert main["Workers"] == 1
    assert (found[OTHER]["QueueDepth"], found[OTHER]["Workers"]) == (1, 0)
    assert set(found) == {QUEUE, OTHER}


async def test_a_service_that_is_away_is_silence_and_no_zero(emitter: Make) -> None:
    nowhere = emitter(out := io.StringIO(), DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    found = await figures(nowhere, out)
    assert {name for name in UNITS if name in found[QUEUE]} == {"Workers"}

    deaf = emitter(out := io.StringIO(), REDIS_URL="unix:///nowhere.sock")
    found = await figures(deaf, out)
    assert {name for name in UNITS if name in found[QUEUE]} == UNITS.keys() - {"Workers"}

    both = {"DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "unix:///nowhere.sock"}
    neither = emitter(out := io.StringIO(), **both)
    assert not await figures(neither, out)


async def test_a_line_is_what_cloudwatch_reads() -> None:
    text = line(stack="prod", queue=QUEUE, values={"RunningJobs": 2, "QueueDepth": 3}, now=1_700_000_000.5)
    assert "\n" not in text
    assert json.loads(text) == {
        "_aws": {
            "Timestamp": 1_700_000_000_500,
            "CloudWatchMetrics": [
                {
                    "Namespace": "Slipway",
                    "Dimensions": [["Stack", "Queue"]],
                    "Metrics": [{"Name": "QueueDepth", "Unit": "Count"}, {"Name": "RunningJobs", "Unit": "Count"}],
                }
            ],
        },
        "Stack": "prod",
        "Queue": QUEUE,
        "QueueDepth": 3,
        "RunningJobs": 2,
    }


async def test_the_names_are_those_that_alarms_and_scaling_use() -> None:
    assert set(UNITS) == set(queue_metrics.FIGURES)
    described = json.loads(line(stack="prod", queue="q", values=dict.fromkeys(UNITS, 0), now=0))
    directive = described["_aws"]["CloudWatchMetrics"][0]
    assert directive["Namespace"] == queue_metrics.NAMESPACE
    wanted = queue_metrics.dimensions(stack="prod", queue="q")
    assert {name: described[name] for name in directive["Dimensions"][0]} == wanted


async def test_it_writes_at_every_interval(emitter: Make) -> None:
    quick = emitter(out := io.StringIO(), EMF_INTERVAL="1000")
    quick._interval = 0.05
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(quick.run(), timeout=1)
    stamps = [json.loads(text)["_aws"]["Timestamp"] for text in out.getvalue().splitlines()]
    assert len(stamps) >= 6
    assert stamps == sorted(stamps)


@pytest.mark.flips("emf_interval")
async def test_how_often_it_writes(emitter: Make) -> None:
    often = emitter(quick := io.StringIO(), EMF_INTERVAL="1000", EMF_QUEUES="")
    rarely = emitter(slow := io.StringIO(), EMF_INTERVAL="60000", EMF_QUEUES="")
    running = [asyncio.create_task(told.run()) for told in (often, rarely)]
    for _ in range(1000):
        if quick.getvalue().count("\n") >= 3 and slow.getvalue():
            break
        await asyncio.sleep(0.02)
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    assert quick.getvalue().count("\n") >= 3
    assert slow.getvalue().count("\n") == 1


@pytest.mark.flips("emf_queues", "stack_name")
@pytest.mark.parametrize(("stack", "queues"), [("prod", ""), ("staging", "mail, slow")])
async def test_which_queues_of_which_stack_are_told(emitter: Make, stack: str, queues: str) -> None:
    told = emitter(out := io.StringIO(), STACK_NAME=stack, EMF_QUEUES=queues)
    found = await figures(told, out)
    assert set(found) == {QUEUE, *filter(None, queues.split(", "))}
    assert {line["Stack"] for line in found.values()} == {stack}


async def test_a_round_that_fails_is_not_the_last(emitter: Make, capsys: pytest.CaptureFixture[str]) -> None:
    class Full(io.StringIO):
        """A pipe that takes nothing at first."""

        refused = 0

        def write(self, text: str) -> int:
            if self.refused < 2:
                self.refused += 1
                raise OSError("no space left")
            return super().write(text)

    quick = emitter(out := Full())
    quick._interval = 0.05
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(quick.run(), timeout=1)
    assert '"_aws"' in out.getvalue()
    assert capsys.readouterr().out.count("queue figures incomplete") == 1


@pytest.mark.flips("enable_emf")
@pytest.mark.parametrize("enabled", [True, False])
async def test_the_api_writes_only_when_told(start: Any, capsys: pytest.CaptureFixture[str], enabled: bool) -> None:
    async with start(ENABLE_EMF=str(enabled).lower(), STACK_NAME="prod") as caller:
        await caller.http.get("/health/live")
        written = ""
        deadline = time.monotonic() + (10 if enabled else 0.3)
        while '"_aws"' not in written and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
            written += capsys.readouterr().out
    assert ('"Stack":"prod"' in written) == enabled
