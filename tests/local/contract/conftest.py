"""What is held against the contract: the application of this checkout, or the image that CONTRACT_IMAGE names."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

# A module of its own that only these tests need; folders of tests are no packages.
sys.path.insert(0, str(Path(__file__).parent))

from infra.aws.task_definition import USER
from infra.contracts import ServiceSpec, TaskSpec
from infra.settings import parse
from infra.workload import Workload

ROOT = Path(__file__).parents[3]
OWNER = "contract_owner"
IMAGE = os.environ.get("CONTRACT_IMAGE")


@dataclass
class Process:
    """One container, or one process in its place."""

    popen: subprocess.Popen[bytes]
    log: Path
    environment: Mapping[str, str]
    container: str | None
    """Its name; None for a process of this checkout."""

    def lines(self) -> list[dict[str, Any]]:
        """The JSON objects that it wrote so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Another command beside it, as a health check is run."""
        words = ["docker", "exec", self.container, *command] if self.container else _here(command)
        environment = {**self.environment, "PATH": os.environ["PATH"]}
        return subprocess.run(words, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=30)

    def stop(self, within: float) -> int:
        """SIGTERM; its exit code. Fails when it is not gone `within` seconds."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(within)


Run = Callable[..., Process]


@pytest.fixture(scope="module")
def workload() -> Workload:
    """What a stack runs."""
    tree = {"target": "docker", "features": {"emf": True}, "postgres": {"owner_role": OWNER}}
    return Workload.of(parse(tree, stack="contract"))


@pytest.fixture(scope="module")
def database(postgres_server: str) -> Iterator[str]:
    """URL of a database that is empty at first, with the role that is to own its tables."""
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {OWNER}")
        connection.execute(f"CREATE DATABASE contract OWNER {OWNER}")
    yield postgres_server.replace("/postgres?", "/contract?")
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute("DROP DATABASE contract WITH (FORCE)")
        connection.execute(f"DROP ROLE {OWNER}")


@pytest.fixture(scope="module")
def values(database: str, valkey_socket: Path) -> Mapping[str, str]:
    """The secrets, by variable."""
    ring = {"active": "g1", "keys": {"g1": secrets.token_urlsafe(64)}}
    return {"DATABASE_URL": database, "REDIS_URL": f"unix://{valkey_socket}", "JWT_KEYS": json.dumps(ring)}


@pytest.fixture(scope="module")
def run(values: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Start a service or task as the workload describes it, with these variables changed, None to leave one out."""
    folder = tmp_path_factory.mktemp("contract")
    with ExitStack() as ends:

        def start(spec: ServiceSpec | TaskSpec, **changes: str | None) -> Process:
            name = f"contract-{spec.name}-{time.monotonic_ns()}"
            secret = {variable: values[variable] for variable in spec.secrets}
            # Containers have a /tmp each.
            own = {} if IMAGE or "HEALTH_FILE" not in spec.environment else {"HEALTH_FILE": str(folder / name)}
            given = {**spec.environment, **secret, **own, **changes}
            environment = {variable: value for variable, value in given.items() if value is not None}
            log = folder / f"{name}.log"
            with log.open("wb") as output:
                popen = subprocess.Popen(
                    _container(name, spec.command, environment, values) if IMAGE else _here(spec.command),
                    env={**environment, "PATH": os.environ["PATH"]},
                    cwd=ROOT,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                )
            ends.callback(_end, popen)
            return Process(popen, log, environment, name if IMAGE else None)

        yield start


def _here(command: Sequence[str]) -> list[str]:
    return [sys.executable if command[0] == "python" else command[0], *command[1:]]


def _container(
    name: str, command: Sequence[str], environment: Mapping[str, str], values: Mapping[str, str]
) -> list[str]:
    """As on AWS, in this machine's network. The servers' sockets have the paths that they have here."""
    socket = values["REDIS_URL"].removeprefix("unix://")
    Path(socket).chmod(0o777)
    sockets = (values["DATABASE_URL"].partition("host=")[2] + "/.s.PGSQL.5432", socket)
    return [
        *("docker", "run", "--rm", "--init", "--name", name, "--network", "host", "--user", USER),
        *("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
        *(word for path in sockets for word in ("--volume", f"{path}:{path}")),
        # Without values: docker takes them from its own environment.
        *(word for variable in environment for word in ("--env", variable)),
        *(str(IMAGE), *command),
    ]


def _end(popen: subprocess.Popen[bytes]) -> None:
    if popen.poll() is None:
        popen.terminate()
        try:
            popen.wait(30)
        except subprocess.TimeoutExpired:
            popen.kill()
    popen.wait(10)
