"""How connections to Postgres are kept: plans on the server unless a pooler is between, a question before old ones."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import OperationalError

from app.db import engine as engines
from app.db.engine import async_engine, sync_engine
from app.settings import Settings

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]

ENOUGH = 8
"""Executions until a statement is kept."""


def settings(url: str) -> Settings:
    return Settings.load({"MODE": "migrate", "ENVIRONMENT": "test", "DATABASE_URL": url, "DATABASE_POOL_SIZE": "1"})


def kept_plans(engine: Engine) -> int:
    for _ in range(ENOUGH):
        with engine.begin() as connection:
            assert connection.execute(text("SELECT :n + 1"), {"n": 1}).scalar() == 2
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar() or 0)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    made = sync_engine(settings(database_url))
    yield made
    made.dispose()


def test_the_server_keeps_plans_on_a_direct_connection(engine: Engine) -> None:
    assert kept_plans(engine) > 0


def test_so_it_does_for_the_api(database_url: str) -> None:
    async def ask() -> int:
        engine = async_engine(settings(database_url))
        for _ in range(ENOUGH):
            async with engine.begin() as connection:
                await connection.execute(text("SELECT :n + 1"), {"n": 1})
        async with engine.connect() as connection:
            found = await connection.execute(text("SELECT count(*) FROM pg_prepared_statements"))
        await engine.dispose()
        return int(found.scalar() or 0)

    assert asyncio.run(ask()) > 0


def test_a_server_process_of_another_number_means_a_pooler(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", property(lambda _: 1))
    assert kept_plans(engine) == 0


def test_nothing_is_kept_behind_a_real_pooler(database_url: str, server_folder: Path, eventually: Any) -> None:
    command = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
    if command is None:
        pytest.skip("pgbouncer is not installed")
    url = make_url(database_url)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = server_folder / "pooler"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "users").write_text('"postgres" ""\n')
    (folder / "ini").write_text(
        f"[databases]\n* = host={url.query['host']}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"auth_type = trust\nauth_file = {folder}/users\npool_mode = transaction\nunix_socket_dir =\n"
        f"logfile = {folder}/log\n"
    )
    # It refuses to run as root.
    pooler = subprocess.Popen([command, "-q", "-u", "nobody", str(folder / "ini")], stderr=subprocess.DEVNULL)
    through = f"postgresql://postgres@127.0.0.1:{port}/{url.database}"
    try:
        eventually(lambda: answers(through))
        engine = sync_engine(settings(through))
        assert kept_plans(engine) == 0
        engine.dispose()
    finally:
        pooler.terminate()
        pooler.wait(20)


def answers(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def end_sessions(url: str, engine: Engine) -> None:
    pid = engine.raw_connection().driver_connection.info.backend_pid  # type: ignore[union-attr]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_a_connection_that_was_idle_is_asked_before_it_is_used(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_TRUSTED_SECONDS", 0.0)
    end_sessions(database_url, engine)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1


def test_one_that_was_just_used_is_not_and_breaks_once(
    engine: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_TRUSTED_SECONDS", 60.0)
    end_sessions(database_url, engine)
    with pytest.raises(OperationalError), engine.begin() as connection:
        connection.execute(text("SELECT 1"))
    with engine.begin() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
