"""The rig for tests that break things on purpose, and a summary of what each fault cost."""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

# The rig is a package of its own that only these tests need; folders of tests are no packages.
sys.path.insert(0, str(Path(__file__).parent))

from rig.chaos import Chaos
from rig.client import Client
from rig.processes import Apps, environment
from rig.receiver import Receiver
from rig.servers import Postgres, Valkey, copy_cluster, make_cluster
from rig.waiting import PATIENCE

from app.migrations.runner import migrate
from app.settings import Settings

_PROPERTY = "chaos"


@pytest.fixture(scope="session")
def cluster() -> Iterator[Path]:
    """A stopped Postgres cluster that holds the application's tables: copying it is quicker than making one."""
    folder = Path(tempfile.mkdtemp(prefix="slipway-chaos-"))
    folder.chmod(0o755)
    data = folder / "template"
    make_cluster(data)
    server = Postgres(folder, data)
    server.start()
    with psycopg.connect(server.url_of("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {Postgres.DATABASE}")
    migrate(Settings.load({"MODE": "migrate", "ENVIRONMENT": "test", "DATABASE_URL": server.url}))
    server.shut_down()
    yield data
    shutil.rmtree(folder)


@pytest.fixture
def postgres(cluster: Path) -> Iterator[Postgres]:
    # Not below pytest's folder: Postgres runs as another user under root, who must reach its data.
    folder = Path(tempfile.mkdtemp(prefix="slipway-chaos-"))
    folder.chmod(0o755)
    copy_cluster(cluster, folder / "postgres")
    server = Postgres(folder, folder / "postgres")
    server.start()
    yield server
    server.crash()
    shutil.rmtree(folder)


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[Valkey]:
    """Keeps its data over a restart; `flushall` is there for what does not."""
    server = Valkey(tmp_path, keep=True)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def seed(record_property: Callable[[str, object], None]) -> int:
    """Of the test's random choices: CHAOS_SEED from the environment repeats them."""
    number = int(os.environ.get("CHAOS_SEED") or random.randrange(1_000_000))
    print(f"CHAOS_SEED={number}")
    record_property(_PROPERTY, f"     CHAOS_SEED={number}")
    return number


@pytest.fixture
def chaos(
    postgres: Postgres,
    valkey: Valkey,
    receiver: Receiver,
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> Iterator[Chaos]:
    """Nothing of the application runs yet."""
    apps = Apps(environment(database_url=postgres.url, redis_url=valkey.url), tmp_path)
    client = Client(lambda: [app.port for app in apps.running("api")])
    yield Chaos(postgres, valkey, apps, receiver, client, lambda text: record_property(_PROPERTY, text))
    client.close()
    apps.end()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each test has a bound of its own, which is what is to fail; this one is for a test that hangs."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(300 * PATIENCE))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = [
        str(text)
        for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed"))
        for name, text in report.user_properties
        if name == _PROPERTY and report.when == "call"
    ]
    if lines:
        terminalreporter.section("what each fault cost, and its bound")
        for line in lines:
            terminalreporter.line(line)
