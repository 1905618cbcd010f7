"""The Postgres and Valkey resources against the real servers."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from infra.local.errors import LocalError
from infra.local.providers.postgres import PostgresServer
from infra.local.providers.roles import DatabaseRoles
from infra.local.providers.valkey import ADMIN, ValkeyServer
from infra.local.status import collect
from infra.local.supervisor import client

Outputs = dict[str, Any]


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Path]:
    """The folder of a stack; its servers are ended after the test."""
    folder = tmp_path / "stack"
    yield folder
    for service in ("postgres", "redis"):
        client.stop(folder / service)


def wanted_postgres(stack: Path, **values: Any) -> Outputs:
    return {"folder": str(stack / "postgres"), "password": "first-" + "p" * 26, **values}


def wanted_valkey(stack: Path, **values: Any) -> Outputs:
    users = {"app_a": "a" * 32, "app_b": "b" * 32}
    return {"folder": str(stack / "redis"), "admin_password": "first-" + "r" * 26, "users": users, **values}


def wanted_roles(server: Outputs, **values: Any) -> Outputs:
    return {
        "folder": server["folder"],
        "host": server["host"],
        "port": server["port"],
        "admin_password": server["password"],
        "database": "shop",
        "owner": "shop_owner",
        "application": "shop_app",
        "migrators": {"shop_migrate": "m" * 32},
        "logins": {"shop_a": "a" * 32, "shop_b": "b" * 32},
        **values,
    }


def connect(server: Outputs, user: str, password: str, database: str = "shop") -> psycopg.Connection[Any]:
    return psycopg.connect(
        host=server["host"], port=server["port"], user=user, password=password, dbname=database, autocommit=True
    )


def as_valkey(server: Outputs, user: str) -> redis.Redis:
    password = server["admin_password"] if user == ADMIN else server["users"][user]
    return redis.Redis(port=server["port"], username=user, password=password, decode_responses=True)


def run(provider: Any, props: Outputs) -> Outputs:
    """Create, and see that it then is as wanted."""
    outputs: Outputs = provider.create(props).outs
    assert not provider.diff("id", outputs, props).changes
    return outputs


def test_data_outlives_the_state_that_held_the_password(stack: Path) -> None:
    server = run(PostgresServer(), wanted_postgres(stack))
    with connect(server, "postgres", server["password"], "postgres") as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        assert connection.execute("SHOW data_checksums").fetchone() == ("on",)
    PostgresServer().delete("id", server)
    assert collect(stack) == []

    again = run(PostgresServer(), wanted_postgres(stack, password="other-" + "p" * 26))
    assert again["port"] == server["port"]
    with connect(again, "postgres", again["password"], "postgres") as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    with pytest.raises(psycopg.OperationalError):
        connect(again, "postgres", server["password"], "postgres")


def test_a_dead_postgres_is_a_change_and_the_update_repairs_it(stack: Path) -> None:
    provider, props = PostgresServer(), wanted_postgres(stack)
    server = run(provider, props)
    status = client.status(stack / "postgres")
    assert status
    # The worst end: supervisor and server at once, which leaves lock files and a stale postmaster.pid.
    for pid in (status["pid"], status["replicas"][0]["pid"]):
        psutil.Process(pid).kill()
    assert provider.diff("id", server, props).changes
    server = provider.update("id", server, props).outs or {}
    assert not provider.diff("id", server, props).changes


def test_a_valkey_that_still_reads_its_data_is_waited_for(stack: Path) -> None:
    """It listens before it has its data, and `up` after a crash called that a login that failed."""
    provider, props = ValkeyServer(), wanted_valkey(stack)
    server = run(provider, props)
    with as_valkey(server, ADMIN) as admin:
        # Some 0.3 s to read: a script that fills the memory is one short line over the wire.
        admin.eval("for i = 1, 200000 do redis.call('SET', 'key' .. i, i) end return 1", 0)
    status = client.status(stack / "redis")
    assert status
    for pid in (status["pid"], status["replicas"][0]["pid"]):
        psutil.Process(pid).kill()
    server = provider.update("id", server, props).outs or {}
    assert not provider.diff("id", server, props).changes
    with as_valkey(server, ADMIN) as admin:
        assert admin.dbsize() == 200000
    status = client.status(stack / "redis")
    assert status
    psutil.Process(status["replicas"][0]["pid"]).kill()
    run(provider, props)


def test_a_pid_file_that_names_a_living_stranger_is_no_obstacle(stack: Path) -> None:
    provider, props = PostgresServer(), wanted_postgres(stack)
    server = run(provider, props)
    provider.delete("id", server)
    # After a restart of the machine that number may be anybody's.
    (stack / "postgres" / "data" / "postmaster.pid").write_text(f"{os.getpid()}\n")
    run(provider, props)


def test_an_interrupted_initialisation_is_begun_again(stack: Path) -> None:
    unfinished = stack / "postgres" / "data.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    run(PostgresServer(), wanted_postgres(stack))
    assert not unfinished.exists()
    assert sorted(stack.glob("postgres/*password*")) == []


def test_data_of_another_version_is_left_alone(stack: Path) -> None:
    data = stack / "postgres" / "data"
    data.mkdir(parents=True)
    (data / "PG_VERSION").write_text("12\n")
    with pytest.raises(LocalError, match="was written by Postgres 12, and the installed server is 1"):
        PostgresServer().create(wanted_postgres(stack))
    assert [path.name for path in data.iterdir()] == ["PG_VERSION"]
    assert not client.running(stack / "postgres")


def test_a_busy_port_names_its_owner(stack: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        message = rf"postgres: port {port} is in use by process {os.getpid()} .*slipway config set postgres.port \d+"
        with pytest.raises(LocalError, match=message):
            PostgresServer().create(wanted_postgres(stack, port=port))


def test_moving_to_a_busy_port_leaves_the_server_where_it_is(stack: Path) -> None:
    provider = ValkeyServer()
    server = run(provider, wanted_valkey(stack))
    status = client.status(stack / "redis")
    with socket.create_server(("127.0.0.1", 0)) as other:
        props = wanted_valkey(stack, port=other.getsockname()[1])
        with pytest.raises(LocalError, match="is in use by process"):
            provider.update("id", server, props)
    assert client.status(stack / "redis") == status
    assert run(provider, props)["port"] == props["port"]
    assert as_valkey({**server, **props}, "app_a").ping()


def test_deletion_takes_the_data_only_when_told(stack: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = run(ValkeyServer(), wanted_valkey(stack))
    ValkeyServer().delete("id", server)
    assert (stack / "redis" / "data").exists()
    monkeypatch.setenv("SLIPWAY_DELETE_DATA", "1")
    ValkeyServer().delete("id", server)
    assert not (stack / "redis").exists()


def test_roles_have_what_they_need_and_no_more(stack: Path) -> None:
    server = run(PostgresServer(), wanted_postgres(stack))
    run(DatabaseRoles(), wanted_roles(server))
    with connect(server, "shop_migrate", "m" * 32) as migrate:
        migrate.execute("SET ROLE shop_owner")
        migrate.execute("CREATE TABLE item (id bigint GENERATED ALWAYS AS IDENTITY, name text)")
    with connect(server, "shop_a", "a" * 32) as application:
        application.execute("INSERT INTO item (name) VALUES ('one')")
        for forbidden in ("CREATE TABLE mine ()", "DROP TABLE item", "SET ROLE shop_owner"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                application.execute(forbidden)


def test_rotating_one_login_leaves_the_other_and_its_sessions(stack: Path) -> None:
    server = run(PostgresServer(), wanted_postgres(stack))
    provider, props = DatabaseRoles(), wanted_roles(server)
    before = run(provider, props)
    with connect(server, "shop_a", "a" * 32) as serving:
        props = wanted_roles(server, logins={"shop_a": "a" * 32, "shop_b": "new" * 10})
        assert provider.diff("id", before, props).changes
        provider.update("id", before, props)
        assert serving.execute("SELECT 1").fetchone() == (1,)
    connect(server, "shop_b", "new" * 10).close()
    with pytest.raises(psycopg.OperationalError):
        connect(server, "shop_b", "b" * 32)


def test_a_password_changed_by_hand_is_put_right(stack: Path) -> None:
    server = run(PostgresServer(), wanted_postgres(stack))
    provider, props = DatabaseRoles(), wanted_roles(server)
    outputs = run(provider, props)
    with connect(server, "postgres", server["password"]) as connection:
        connection.execute("ALTER ROLE shop_a PASSWORD 'by hand'")
    assert provider.diff("id", outputs, props).changes
    run(provider, props)


def test_no_password_is_in_a_log_or_on_a_command_line(stack: Path) -> None:
    server = run(PostgresServer(), wanted_postgres(stack))
    run(DatabaseRoles(), wanted_roles(server))
    valkey = run(ValkeyServer(), wanted_valkey(stack))
    seen = "".join(path.read_text(errors="replace") for path in stack.glob("*/log"))
    for process in psutil.process_iter(["cmdline"]):
        seen += " ".join(process.info["cmdline"] or [])
    for password in (server["password"], valkey["admin_password"], "a" * 32, "m" * 32):
        assert password not in seen


def test_valkey_keeps_everything_and_evicts_nothing(stack: Path) -> None:
    server = run(ValkeyServer(), wanted_valkey(stack))
    with as_valkey(server, ADMIN) as admin:
        assert admin.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
    with as_valkey(server, "app_a") as application:
        application.set("kept", "42")
        with pytest.raises(redis.exceptions.NoPermissionError):
            application.config_set("maxmemory-policy", "allkeys-lru")
    with (
        redis.Redis(port=server["port"], retry=Retry(NoBackoff(), 0)) as stranger,
        pytest.raises(redis.AuthenticationError),
    ):
        stranger.ping()
    ValkeyServer().delete("id", server)
    again = run(ValkeyServer(), wanted_valkey(stack, admin_password="other-" + "r" * 26))
    with as_valkey(again, "app_a") as application:
        assert application.get("kept") == "42"


def test_rotating_a_valkey_user_leaves_the_other_and_its_connections(stack: Path) -> None:
    provider, props = ValkeyServer(), wanted_valkey(stack)
    server = run(provider, props)
    status = client.status(stack / "redis")
    with as_valkey(server, "app_a") as serving:
        assert serving.client_setname("serving")
        identity = serving.client_id()
        props = wanted_valkey(stack, users={"app_a": "a" * 32, "app_b": "new" * 10})
        assert provider.diff("id", server, props).changes
        outputs = provider.update("id", server, props).outs or {}
        assert serving.client_id() == identity
    assert as_valkey(outputs, "app_b").ping()
    assert client.status(stack / "redis") == status
    assert "new" not in (stack / "redis" / "users.acl").read_text()


def test_a_new_password_of_the_administrator_disturbs_no_connection(stack: Path) -> None:
    provider, props = ValkeyServer(), wanted_valkey(stack)
    server = run(provider, props)
    status = client.status(stack / "redis")
    with as_valkey(server, "app_a") as serving:
        identity = serving.client_id()
        outputs = provider.update("id", server, wanted_valkey(stack, admin_password="other-" + "r" * 26)).outs or {}
        assert serving.client_id() == identity
    assert client.status(stack / "redis") == status
    assert as_valkey(outputs, ADMIN).ping()
    with pytest.raises(redis.AuthenticationError):
        as_valkey(server, ADMIN).ping()
    # And it is the one after a restart.
    client.stop(stack / "redis")
    provider.update("id", outputs, wanted_valkey(stack, admin_password="other-" + "r" * 26))
    assert as_valkey(outputs, ADMIN).ping()


def test_a_new_password_of_the_superuser_disturbs_no_connection(stack: Path) -> None:
    provider, props = PostgresServer(), wanted_postgres(stack)
    server = run(provider, props)
    run(DatabaseRoles(), wanted_roles(server))
    status = client.status(stack / "postgres")
    with connect(server, "shop_a", "a" * 32) as serving:
        outputs = provider.update("id", server, wanted_postgres(stack, password="other-" + "p" * 26)).outs or {}
        assert serving.execute("SELECT 1").fetchone() == (1,)
    assert client.status(stack / "postgres") == status
    connect(outputs, "postgres", outputs["password"]).close()
    with pytest.raises(psycopg.OperationalError):
        connect(server, "postgres", server["password"])


def test_stopped_servers_show_in_the_status(stack: Path) -> None:
    run(ValkeyServer(), wanted_valkey(stack))
    (service,) = collect(stack)
    assert (service.name, service.kind, service.state) == ("redis", "redis", "healthy")
    status = client.status(stack / "redis")
    assert status
    os.kill(status["pid"], signal.SIGKILL)
    (service,) = collect(stack)
    assert service.state == "stopped"
