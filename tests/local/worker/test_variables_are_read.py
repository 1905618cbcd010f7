"""Every variable that the workload sets for a role is read by that role, and every one that it reads is set.

`SHUTDOWN_TIMEOUT` was set for workers, described, checked and read by nobody. So each role really runs here, and its
reads of the fields of its settings are recorded. A role that is missing at a field of `infra/settings` shows here too.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app import bootstrap
from app.environment import SettingsError
from app.features import FEATURES
from app.settings import Settings as AppSettings
from infra.aws.postgres_logins import bootstrap_task
from infra.contracts import ServiceSpec, TaskSpec
from infra.settings import parse
from infra.workload import Workload

pytestmark = [pytest.mark.local, pytest.mark.timeout(120)]

_RECORDED = """
import os, sys
from app.settings import Settings

file = os.open(os.environ["READ_FIELDS"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
plain, seen = Settings.__getattribute__, set()

def read(self, name):
    if name in FIELDS and name not in seen:
        seen.add(name)
        os.write(file, (name + "\\n").encode())
    return plain(self, name)

FIELDS = frozenset(Settings.model_fields)
Settings.__getattribute__ = read
from app.__main__ import main
sys.exit(main())
"""
NOT_AS_A_FIELD = {
    "ENVIRONMENT": "the checks of other settings look at it while they are loaded",
    "api/DELIVERY_TIMEOUT": "held against QUEUE_JOB_TIMEOUT, which travels with each job: without it, 10 s would be",
    "worker/QUEUE_ISOLATED_MEMORY": "the process of an isolated job reads it, as test_isolated.py shows",
    "api/QUEUE_LEASE": "the same: with a longer QUEUE_JOB_TIMEOUT alone the API would refuse to start",
}
"""Variables, or those of one role, that are used in another way, with the way."""
READ_BUT_NOT_SET = {
    "api/JWT_SECRET": "given in place of JWT_KEYS with secrets.jwt",
    "worker/HEALTH_FILE": "the local supervisor gives each replica a file of its own",
}
"""Variables of a role that this workload has no reason to set, with the reason."""

GONE = () if "predictions" in FEATURES else ("prediction_", "replicate_", "openai_", "webhook_")
"""How the settings of a deleted feature begin: they may stay, and nothing reads them then."""


@pytest.fixture
def role(migrated_url: str, redis_url: str, tmp_path: Path) -> Any:
    """Starts a role as the workload describes it; what was read is in the file it returns beside the process."""
    started: list[subprocess.Popen[bytes]] = []

    def start(spec: ServiceSpec | TaskSpec, **changes: str) -> tuple[subprocess.Popen[bytes], Callable[[], set[str]]]:
        record = tmp_path / f"{spec.name}.read"
        values = {"DATABASE_URL": migrated_url, "REDIS_URL": redis_url, **SECRETS}
        environ = {**spec.environment, **{name: values[name] for name in spec.secrets}, **changes}
        with (tmp_path / f"{spec.name}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", _RECORDED],
                env={"PATH": os.environ["PATH"], "READ_FIELDS": str(record), **environ},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        started.append(process)
        return process, lambda: set(record.read_text().upper().split()) if record.exists() else set()

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(10)


SECRETS = {
    "JWT_KEYS": json.dumps({"active": "g1", "keys": {"g1": secrets.token_urlsafe(64)}}),
    "REPLICATE_API_KEY": "r8_0c9f1b7ae2",
    "OPENAI_API_KEY": "sk-0c9f1b7ae2",
    "WEBHOOK_SECRET_REPLICATE": "whsec_MDEyMzQ1Njc4OWFiY2RlZg==",
    "WEBHOOK_SECRET_OPENAI": "whsec_ZmVkY2JhOTg3NjU0MzIxMA==",
}


def workload() -> Workload:
    """With everything switched on that some code asks for only then."""
    given = {name.lower(): value for name, value in SECRETS.items() if name != "JWT_KEYS"}
    tree = {
        "target": "local",
        "features": {"swagger": True, "metrics": True, "emf": True},
        "observability": {"otlp_endpoint": "http://127.0.0.1:9"},
        "predictions": {"webhook_base_url": "https://api.example.com"},
        "secrets": given,
    }
    return Workload.of(parse(tree, stack="test"))


def unread(spec: ServiceSpec | TaskSpec, read: set[str]) -> set[str]:
    unread = {*spec.environment, *spec.secrets} - read
    unread -= {name for name in unread if {name, f"{spec.name}/{name}"} & set(NOT_AS_A_FIELD)}
    return {name for name in unread if not name.lower().startswith(GONE)}


def not_set(spec: ServiceSpec | TaskSpec, read: set[str]) -> set[str]:
    """What a role reads and is not given, so that it would have the default whatever the stack file says."""
    unset = read - {*spec.environment, *spec.secrets}
    return {name for name in unset if f"{spec.name}/{name}" not in READ_BUT_NOT_SET}


def finally_read(spec: ServiceSpec | TaskSpec, read: Callable[[], set[str]], process: Any) -> set[str]:
    """What stays unread; waits a while, since some is asked for when the first of something happens."""
    deadline = time.monotonic() + 20
    while unread(spec, read()) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    return unread(spec, read())


def test_of_the_api(role: Any) -> None:
    spec = workload().api
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process, read = role(spec, PORT=str(port))
    account = {"email": "ada@example.com", "password": "correct horse battery"}
    _ask(port, "GET", "/health", wait=True)
    _ask(port, "POST", "/v1/auth/register", account)
    token = _ask(port, "POST", "/v1/auth/login", account)["access_token"]
    _ask(port, "POST", "/v1/auth/login", {**account, "password": "wrong horse battery"})
    bearer = {"Authorization": f"Bearer {token}"}
    _ask(port, "POST", "/v1/deliveries", {"url": "http://127.0.0.1:9/", "payload": {}}, bearer)
    _ask(port, "POST", "/v1/predictions", {"provider": "openai", "model": "m", "input": {"input": "a"}}, bearer)
    _ask(port, "POST", "/v1/webhooks/openai", {})
    left = finally_read(spec, read, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert unread(spec, read()) == set(), f"before its stop also {left}"
    assert not_set(spec, read()) == set()


def test_of_a_worker(role: Any, world: Any) -> None:
    (spec,) = workload().workers
    process, read = role(spec)
    world.add("http://127.0.0.1:9/", max_attempts=1)
    left = finally_read(spec, read, process)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0
    assert unread(spec, read()) == set(), f"before its stop also {left}"
    assert not_set(spec, read()) == set()


def test_of_the_migration(role: Any, database_url: str) -> None:
    spec = workload().migrate
    process, read = role(spec, DATABASE_URL=database_url)
    assert process.wait(60) is not None
    assert unread(spec, read()) == set()
    assert not_set(spec, read()) == set()


def test_of_the_backup() -> None:
    """pg_dump reads what libpq reads."""
    spec = workload().backup
    known = {(option.envvar or b"").decode() for option in psycopg.pq.Conninfo.get_defaults()}
    assert {*spec.environment, *spec.secrets} - known == set()


def test_of_the_bootstrap() -> None:
    asked: set[str] = set()

    class Environ(dict[str, str]):
        def get(self, name: str, default: Any = None) -> Any:
            asked.add(name)
            return default

    spec = bootstrap_task(workload().migrate)
    with pytest.raises(SettingsError):
        bootstrap.load(Environ())
    assert {name for name in asked if not name.endswith("_FILE")} == {*spec.environment, *spec.secrets}


def test_the_record_sees_what_nobody_reads(role: Any) -> None:
    (spec,) = workload().workers
    process, read = role(spec)
    finally_read(spec, read, process)
    assert "JWT_ISSUER" not in read(), "a worker signs nothing"
    assert {name.rpartition("/")[2] for name in NOT_AS_A_FIELD} <= {name.upper() for name in AppSettings.model_fields}


def _ask(
    port: int, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None, *, wait: bool = False
) -> Any:
    deadline = time.monotonic() + 30
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json", **(headers or {})})
            return json.loads(connection.getresponse().read() or b"null")
        except OSError:
            if not wait or time.monotonic() > deadline:
                raise
            time.sleep(0.05)
        finally:
            connection.close()
