"""An image, or this checkout's application, against docs/contract.md."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from infra.aws import queue_metrics
from infra.contracts import HttpHealth
from infra.workload import Workload

pytestmark = [pytest.mark.local, pytest.mark.timeout(180)]

Run = Callable[..., Any]


def get(port: int, path: str) -> tuple[int, Mapping[str, str]]:
    """Status and headers; 0 while nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}
    except (OSError, http.client.HTTPException):
        return 0, {}
    finally:
        connection.close()


def eventually(condition: Callable[[], object], *, within: float = 60) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not within {within:g} s"
        time.sleep(0.05)


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def migrated(run: Run, workload: Workload) -> None:
    assert run(workload.migrate).popen.wait(workload.migrate.timeout) == 0


def test_an_api_without_a_database_lives_and_gets_no_requests(run: Run, workload: Workload, port: int) -> None:
    api = run(workload.api, PORT=str(port), DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert isinstance(workload.api.health, HttpHealth)
    live, readiness = workload.api.health.path, workload.api.readiness
    eventually(lambda: get(port, live)[0] == 200)
    assert readiness is not None
    assert get(port, readiness.path)[0] == 503
    assert api.stop(workload.api.stop_timeout) == 0


def test_the_migration_ends_well_and_can_be_repeated(
    run: Run, workload: Workload, migrated: None, values: Mapping[str, str]
) -> None:
    def version() -> Any:
        with psycopg.connect(values["DATABASE_URL"]) as connection:
            return connection.execute("SELECT version_num FROM alembic_version").fetchall()

    before = version()
    assert before
    with psycopg.connect(values["DATABASE_URL"]) as connection:
        owners = connection.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert owners == [(workload.migrate.environment["DATABASE_OWNER_ROLE"],)]
    assert run(workload.migrate).popen.wait(60) == 0
    assert version() == before


def test_a_migration_that_fails_says_so(run: Run, workload: Workload) -> None:
    failed = run(workload.migrate, DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert failed.popen.wait(60) not in (0, None)
    assert any(line["level"] == "error" for line in failed.lines())


def test_the_api_serves_and_goes_in_steps(run: Run, workload: Workload, migrated: None, port: int) -> None:
    spec = workload.api
    api = run(spec, PORT=str(port), SHUTDOWN_DRAIN="3000")
    assert spec.readiness is not None
    ready = spec.readiness.path
    eventually(lambda: get(port, ready)[0] == 200)
    assert api.run(spec.health_command).returncode == 0
    api.popen.terminate()
    eventually(lambda: get(port, ready)[0] == 503, within=2)
    status, headers = get(port, "/health/live")
    assert (status, headers["connection"]) == (200, "close")
    assert api.popen.wait(spec.stop_timeout) == 0
    assert all({"level", "event"} <= line.keys() for line in api.lines() if "_aws" not in line)


def test_a_worker_shows_its_health_and_ends_when_asked(run: Run, workload: Workload, migrated: None) -> None:
    (spec,) = workload.workers
    worker = run(spec)
    eventually(lambda: worker.run(spec.health_command).returncode == 0)
    assert worker.stop(spec.stop_timeout) == 0
    assert all({"level", "event"} <= line.keys() for line in worker.lines())


def test_a_health_command_fails_where_nothing_runs(run: Run, workload: Workload, migrated: None, port: int) -> None:
    """Asked in a worker's container with the variables of an API that is not there."""
    (spec,) = workload.workers
    worker = run(spec, PORT=str(port))
    words = ["sh", "-c", f"MODE=api exec {' '.join(workload.api.health_command)}"]
    if worker.container is None:
        worker.environment = {**worker.environment, "MODE": "api"}
        words = list(workload.api.health_command)
    failed = worker.run(words)
    assert failed.returncode != 0
    assert len(failed.stderr.strip().splitlines()) == 1
    worker.stop(spec.stop_timeout)


def test_an_environment_that_cannot_be_used_is_refused_without_a_secret(
    run: Run, workload: Workload, values: Mapping[str, str]
) -> None:
    refused = run(workload.api, PORT="no port", DATABASE_URL=None)
    assert refused.popen.wait(60) not in (0, None)
    said = refused.log.read_text()
    assert "PORT" in said
    assert "DATABASE_URL" in said
    assert json.loads(values["JWT_KEYS"])["keys"]["g1"] not in said


def test_a_secret_may_come_from_a_file(
    run: Run, workload: Workload, migrated: None, values: Mapping[str, str], tmp_path: Path
) -> None:
    if run(workload.migrate).container:
        pytest.skip("only the local target gives secrets in files, and it runs no image")
    file = tmp_path / "url"
    file.write_text(values["DATABASE_URL"] + "\n")
    assert run(workload.migrate, DATABASE_URL=None, DATABASE_URL_FILE=str(file)).popen.wait(60) == 0
    assert run(workload.migrate, DATABASE_URL_FILE=str(file)).popen.wait(60) != 0


def test_the_api_writes_every_figure_of_each_queue(run: Run, workload: Workload, migrated: None, port: int) -> None:
    spec = workload.api
    api = run(spec, PORT=str(port), EMF_INTERVAL="1000", EMF_QUEUES="other")
    names = {spec.environment["QUEUE_NAME"], "other"}

    def lines() -> dict[str, Any]:
        return {line["Queue"]: line for line in api.lines() if "_aws" in line}

    eventually(lambda: lines().keys() == names)
    for line in lines().values():
        (directive,) = line["_aws"]["CloudWatchMetrics"]
        assert directive["Namespace"] == queue_metrics.NAMESPACE
        assert directive["Dimensions"] == [["Stack", "Queue"]]
        assert line["Stack"] == spec.environment["STACK_NAME"]
        assert {metric["Name"] for metric in directive["Metrics"]} == set(queue_metrics.FIGURES) <= line.keys()
    assert api.stop(spec.stop_timeout) == 0
