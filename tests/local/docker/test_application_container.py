"""What the image promises, seen in containers of it."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from typing import Any

import psycopg
import pytest

from app.__main__ import EXIT_TERMINATED
from app.db import locks

pytestmark = [pytest.mark.docker, pytest.mark.local, pytest.mark.timeout(1200)]

MEGABYTE = 1_000_000
MOST = 200 * MEGABYTE
ACCOUNT = {"email": "someone@example.org", "password": "correct horse battery"}


def ask(port: str, method: str, path: str, body: Any = None, token: str | None = None) -> tuple[int, Any]:
    """Status and JSON; 0 while nobody listens."""
    headers = {"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})}
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    except (OSError, http.client.HTTPException):
        return 0, None
    finally:
        connection.close()


def inspected(image: str) -> dict[str, Any]:
    found = subprocess.run(["docker", "image", "inspect", image], capture_output=True, check=True)
    return dict(json.loads(found.stdout)[0])


def test_it_is_small_and_says_what_it_is(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = inspected(image)
    with capsys.disabled():
        print(f"\nimage: {found['Size'] / MEGABYTE:.0f} MB ({found['Architecture']})")
    assert found["Size"] <= MOST
    labels = found["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == "1.2.3"
    assert labels["org.opencontainers.image.revision"] == "0123456789abcdef"
    assert found["Config"]["StopSignal"] == "SIGTERM"


def test_nobody_in_it_is_root_and_nothing_in_it_builds(containers: Any) -> None:
    shell = containers.start("sleep", "60")
    assert shell.run("id", "--user").stdout == "10001\n"
    for name in ("gcc", "cc", "g++", "ld", "make", "pip", "pip3"):
        assert shell.run("sh", "-c", f"command -v {name}").returncode != 0, name
    for interpreter in ("/venv/bin/python", "/usr/local/bin/python"):
        assert "No module named pip" in shell.run(interpreter, "-m", "pip").stderr
        assert "No module named ensurepip" in shell.run(interpreter, "-m", "ensurepip").stderr
    assert shell.run("find", "/", "-xdev", "-perm", "/6000", "-type", "f").stdout == ""
    assert shell.run("find", "/srv", "/venv", "-writable", "-not", "-type", "l").stdout == ""
    assert "Read-only file system" in shell.run("touch", "/srv/file").stderr


def test_a_request_and_a_job_are_served_and_sigterm_ends_both(
    empty_database: Any, receiver: Any, until: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    containers = empty_database
    url, deliveries = receiver
    port = containers.environment["PORT"]

    assert containers.start(MODE="migrate").wait() == 0
    api = containers.start(MODE="api")
    until(lambda: ask(port, "GET", "/health")[0] == 200)
    healthy = time.time()
    assert api.run("python", "-m", "app.healthcheck").returncode == 0

    assert ask(port, "POST", "/v1/auth/register", ACCOUNT)[0] == 201
    token = ask(port, "POST", "/v1/auth/login", ACCOUNT)[1]["access_token"]
    accepted, delivery = ask(port, "POST", "/v1/deliveries", {"url": url, "payload": {"n": 1}}, token)
    assert accepted == 202, delivery
    worker = containers.start(MODE="worker")
    until(lambda: deliveries)
    until(lambda: ask(port, "GET", f"/v1/deliveries/{delivery['id']}", token=token)[1]["status"] == "delivered")
    assert worker.run("python", "-m", "app.healthcheck").returncode == 0
    figures = {
        "api to its first healthy answer": healthy - api.running_since,
        "worker to its first job": deliveries[0] - worker.running_since,
    }
    with capsys.disabled():
        print("", *(f"container of the {what}: {seconds:.2f} s" for what, seconds in figures.items()), sep="\n")

    assert worker.stop() == 0, worker.log()
    assert api.stop() == 0, api.log()
    assert worker.events("worker stopped")
    assert api.events("stopped")


def test_api_and_worker_in_one_container_end_together(empty_database: Any, receiver: Any, until: Any) -> None:
    containers = empty_database
    port = containers.environment["PORT"]
    assert containers.start(MODE="migrate").wait() == 0
    both = containers.start(MODE="all")
    until(lambda: both.run("python", "-m", "app.healthcheck").returncode == 0)
    assert both.stop() == 0, both.log()
    assert ask(port, "GET", "/health/live")[0] == 0


def test_a_migration_that_waits_for_a_lock_ends_at_a_stop(empty_database: Any, database_url: str, until: Any) -> None:
    """The kernel keeps a signal from a container's first process unless that has a handler for it."""
    with psycopg.connect(database_url) as holder:
        holder.execute("SELECT pg_advisory_lock(%s)", [locks.MIGRATION])
        migration = empty_database.start(MODE="migrate")
        waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        until(lambda: holder.execute(waiting).fetchone() == (1,))
        assert migration.stop() == EXIT_TERMINATED, migration.log()


def test_no_module_is_compiled_when_it_starts(empty_database: Any, receiver: Any, until: Any) -> None:
    """What the interpreter compiles it can keep nowhere, and would compile again at each start."""
    containers = empty_database
    containers.environment["PYTHONVERBOSE"] = "1"
    port = containers.environment["PORT"]
    migration = containers.start(MODE="migrate")
    assert migration.wait() == 0
    api, worker = containers.start(MODE="api", ENABLE_SWAGGER="true"), containers.start(MODE="worker")
    until(lambda: ask(port, "GET", "/health")[0] == 200)
    ask(port, "POST", "/v1/auth/register", ACCOUNT)
    token = ask(port, "POST", "/v1/auth/login", ACCOUNT)[1]["access_token"]
    ask(port, "POST", "/v1/deliveries", {"url": receiver[0], "payload": {}}, token)
    assert ask(port, "GET", "/openapi.json")[0] == 200
    until(lambda: receiver[1])
    for container in (migration, api, worker):
        lines = container.log().splitlines()
        assert any(line.startswith("# code object from '/venv/") for line in lines)
        assert [line for line in lines if line.startswith("# code object from /")] == []


def test_the_dump_runs_from_it(empty_database: Any) -> None:
    """As the workload describes it, by libpq's variables, into a file whose contents can be read."""
    containers = empty_database
    assert containers.start(MODE="migrate").wait() == 0
    database = containers.environment["DATABASE_URL"].rpartition("/test_")[2].partition("?")[0]
    libpq = {"PGHOST": "/servers", "PGUSER": "postgres", "PGDATABASE": f"test_{database}"}
    script = "pg_dump --format=custom --no-owner --file=/tmp/archive && pg_restore --list /tmp/archive"
    dump = containers.start("sh", "-c", script, **libpq)
    assert dump.wait() == 0, dump.log()
    assert dump.log().count("TABLE DATA public") >= 5


def test_an_inventory_can_be_had_of_it(containers: Any) -> None:
    inventory = containers.start("cat", "/sbom.cdx.json")
    assert inventory.wait() == 0, inventory.log()
    document = json.loads(inventory.log())
    packages = {component["purl"].partition("@")[0] for component in document["components"]}
    assert {"pkg:pypi/starlette", "pkg:pypi/rq", "pkg:generic/python", "pkg:deb/debian/libssl3"} <= packages
    assert not {"pkg:pypi/cyclonedx-bom", "pkg:pypi/pip"} & packages
