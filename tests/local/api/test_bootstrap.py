"""The bootstrap on a real Postgres that asks for passwords, as a master user without superuser's rights, as on RDS."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from app import bootstrap as program
from app.bootstrap import Master, Plan, bootstrap, load, main
from app.db import locks
from app.db.roles import RolesError
from app.environment import SettingsError
from app.migrations.runner import migrate
from app.settings import Settings
from infra.local import binaries, identity

MASTER = {"username": "slipway_master", "password": "planted-master-password"}
_names = itertools.count()


@pytest.fixture(scope="module")
def server(server_folder: Path) -> Iterator[Path]:
    """Folder of the socket of a server with passwords; its superuser `rdsadmin` is nobody's but these tests'."""
    data = server_folder / "passwords"
    data.mkdir(mode=0o700)
    binary = binaries.postgres("postgres")
    who = identity.for_server(binary, data)
    if who.owner:
        os.chown(data, *who.owner)
    made = who.run(
        [str(binaries.postgres("initdb")), "-D", str(data), "-U", "rdsadmin", "-E", "UTF8", "-A", "trust", "-N"]
    )
    assert made.returncode == 0, made.stdout
    (data / "pg_hba.conf").write_text("local all rdsadmin trust\nlocal all all scram-sha-256\n")
    options = ["listen_addresses=", f"unix_socket_directories={data}", "fsync=off"]
    command = [*who.prefix, str(binary), "-D", str(data), *(word for option in options for word in ("-c", option))]
    log = server_folder / "passwords.log"
    with log.open("wb") as out:
        user = {"user": who.user[0], "group": who.user[1], "extra_groups": []} if who.user else {}
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, **user)
    try:
        deadline = time.monotonic() + 30
        while True:
            try:
                admin(data).close()
                break
            except psycopg.OperationalError:
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.02)
        with admin(data) as connection:
            connection.execute(
                f"CREATE ROLE {MASTER['username']} LOGIN CREATEROLE CREATEDB PASSWORD '{MASTER['password']}'"
            )
        yield data
    finally:
        process.terminate()
        process.wait(timeout=30)


def admin(folder: Path, database: str = "postgres") -> psycopg.Connection[Any]:
    return psycopg.connect(host=str(folder), user="rdsadmin", dbname=database, autocommit=True)


class World:
    """One database of the server, its roles named after it, and ways to look at it."""

    def __init__(self, server: Path) -> None:
        self.server, self.database = server, f"shop{next(_names)}"
        self.generation = {"a": 1, "b": 1}
        with self.enter(*MASTER.values(), database="postgres") as master:
            master.autocommit = True
            master.execute(f"CREATE DATABASE {self.database}")

    @property
    def plan(self) -> dict[str, Any]:
        name = self.database
        login = {key: {"user": f"{name}_{key}", "password": f"{name}-{key}-password"} for key in ("migrate", "backup")}
        slots = [
            {"user": f"{name}_{slot}", "password": f"{name}-{slot}-password-{self.generation[slot]}"} for slot in "ab"
        ]
        place = {"host": str(self.server), "port": 5432, "database": name, "sslmode": "disable", "owner": f"{name}_own"}
        return {**place, **login, "app": slots}

    def run(self, **changes: Any) -> Any:
        return bootstrap(Plan.model_validate({**self.plan, **changes}), Master.model_validate(MASTER))

    def enter(self, user: str, password: str, database: str | None = None) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.server), user=user, password=password, dbname=database or self.database, passfile=""
        )

    def login(self, which: str) -> psycopg.Connection[Any]:
        logins = {**self.plan, "a": self.plan["app"][0], "b": self.plan["app"][1]}
        return self.enter(*logins[which].values())

    def migrated(self) -> World:
        who = self.plan["migrate"]
        url = f"postgresql://{who['user']}:{who['password']}@/{self.database}?host={self.server}&sslmode=disable"
        environ = {"MODE": "migrate", "ENVIRONMENT": "test", "DATABASE_URL": url}
        migrate(Settings.load({**environ, "DATABASE_OWNER_ROLE": self.plan["owner"]}))
        return self

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with admin(self.server, self.database) as connection:
            return connection.execute(query).fetchall()

    def do(self, *statements: str) -> None:
        with admin(self.server, self.database) as connection:
            for statement in statements:
                connection.execute(statement)

    def roles(self) -> set[str]:
        return {name for (name,) in self.ask(f"SELECT rolname FROM pg_roles WHERE rolname LIKE '{self.database}%'")}

    def verifiers(self) -> dict[str, str]:
        return dict(self.ask(f"SELECT rolname, rolpassword FROM pg_authid WHERE rolname LIKE '{self.database}%'"))


@pytest.fixture
def world(server: Path) -> Iterator[World]:
    made = World(server)
    yield made
    with admin(server) as connection:
        connection.execute(f"DROP DATABASE {made.database} WITH (FORCE)")


def test_makes_everything_and_then_nothing(world: World) -> None:
    first = world.run()
    before = world.verifiers()
    second = world.run()

    name = world.database
    assert set(first.created) == {f"{name}_migrate", f"{name}_backup", f"{name}_a", f"{name}_b"}
    assert (second.created, second.renewed) == ((), ())
    assert world.verifiers() == before
    assert world.roles() == {*first.created, f"{name}_own", f"{name}_app", f"{name}_read"}
    assert all(text.startswith("SCRAM-SHA-256$") for role, text in before.items() if role in first.created)


def test_migrations_then_the_application_can_work(world: World) -> None:
    world.run()
    world.migrated()

    owners = world.ask("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
    assert owners == [(world.plan["owner"],)]
    for slot in "ab":
        with world.login(slot) as application:
            application.execute(
                "INSERT INTO users (id, email, password_hash) VALUES (gen_random_uuid(), %s, 'x')",
                [f"{slot}@example.org"],
            )
            application.execute("UPDATE users SET password_hash = 'y'")
            application.execute("DELETE FROM users WHERE email = %s", [f"{slot}@example.org"])
            assert application.execute("SELECT count(*) FROM jobs").fetchone() == (0,)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE more (id int)",
        "TRUNCATE users",
        "DROP TABLE users",
        "ALTER TABLE users ADD more int",
        "CREATE SCHEMA more",
        "CREATE TEMPORARY TABLE more (id int)",
        "CREATE ROLE more",
        "SET ROLE {owner}",
        "SET ROLE {database}_read",
    ],
)
def test_the_application_cannot_do_more(world: World, statement: str) -> None:
    world.run()
    world.migrated()
    with world.login("a") as application, pytest.raises((errors.InsufficientPrivilege, errors.InvalidSchemaName)):
        application.execute(statement.format(owner=world.plan["owner"], database=world.database))


def test_the_backup_login_dumps_and_changes_nothing(world: World, tmp_path: Path) -> None:
    world.run()
    world.migrated()
    who = world.plan["backup"]
    login = {"PGHOST": str(world.server), "PGDATABASE": world.database}
    login |= {"PGUSER": who["user"], "PGPASSWORD": who["password"]}

    dump = [str(binaries.postgres("pg_dump")), "--format=custom", "--file", str(tmp_path / "archive")]
    done = subprocess.run(dump, env=login, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    for statement in ("DELETE FROM users", "CREATE TABLE more (id int)"):
        with world.login("backup") as reader, pytest.raises(errors.ReadOnlySqlTransaction):
            reader.execute(statement)
    with world.login("backup") as reader:
        reader.execute("SET default_transaction_read_only = off")
        reader.commit()
        with pytest.raises(errors.InsufficientPrivilege):
            reader.execute("DELETE FROM users")


def test_nobody_else_can_connect(world: World) -> None:
    world.run()
    world.do(f"CREATE ROLE stranger_{world.database} LOGIN PASSWORD 'stranger-password'")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        world.enter(f"stranger_{world.database}", "stranger-password")


def test_a_rotation_touches_the_idle_slot_alone(world: World) -> None:
    world.run()
    before, active = world.verifiers(), world.login("b")
    world.generation["a"] = 2

    done = world.run()

    changed = {name for name, text in world.verifiers().items() if before[name] != text}
    assert (done.renewed, changed) == ((f"{world.database}_a",), {f"{world.database}_a"})
    assert (done.created, dict(done.in_use)) == ((), {})
    assert active.execute("SELECT 1").fetchone() == (1,)
    active.close()
    world.login("a").close()
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        world.enter(f"{world.database}_a", f"{world.database}-a-password-1")


def test_the_dumps_get_a_second_login_while_the_first_one_is_at_work(world: World) -> None:
    world.run()
    second = {"user": f"{world.database}_backup2", "password": f"{world.database}-backup2-password"}
    dumping = world.login("backup")

    # As the step asks for it: the new one is the one in use.
    done = world.run(backup=second, backup2=world.plan["backup"])

    assert (done.created, done.renewed) == ((second["user"],), ())
    assert dumping.execute("SELECT 1").fetchone() == (1,)
    dumping.close()
    for login in (second, world.plan["backup"]):
        with world.enter(*login.values()) as reader:
            assert reader.execute("SHOW default_transaction_read_only").fetchone() == ("on",)


def test_a_migration_under_way_goes_on_while_its_login_is_renewed(world: World) -> None:
    world.run()
    migrating = world.login("migrate")
    renewed = {"user": f"{world.database}_migrate", "password": f"{world.database}-migrate-password-2"}
    done = world.run(migrate=renewed)
    assert (done.renewed, dict(done.in_use)) == ((renewed["user"],), {renewed["user"]: 1})
    migrating.execute(f"SET ROLE {world.plan['owner']}")
    migrating.execute("CREATE TABLE half_way ()")
    migrating.commit()
    migrating.close()
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        world.login("migrate")


def test_a_master_password_that_is_not_there_yet_is_waited_for(
    world: World, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """RDS says that a changed one is set before it is."""
    late = {**MASTER, "password": "planted-master-password-2"}
    waited: list[float] = []

    def pause(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            world.do(f"ALTER ROLE {MASTER['username']} PASSWORD '{late['password']}'")

    monkeypatch.setattr(program.time, "sleep", pause)
    try:
        assert bootstrap(Plan.model_validate(world.plan), Master.model_validate(late)).created
    finally:
        world.do(f"ALTER ROLE {MASTER['username']} PASSWORD '{MASTER['password']}'")
    assert len(waited) == 2
    assert "planted" not in capsys.readouterr().out


def test_a_wrong_master_password_is_told_in_the_end(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program, "_MASTER_CHANGE", 0.0)
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        bootstrap(Plan.model_validate(world.plan), Master.model_validate({**MASTER, "password": "another-password"}))


def test_a_renewed_login_with_sessions_is_told(world: World) -> None:
    world.run()
    with world.login("a"):
        world.generation["a"] = 2
        assert dict(world.run().in_use) == {f"{world.database}_a": 1}


def test_two_at_once_both_succeed(world: World) -> None:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: world.run(), range(2)))
    assert sorted(len(result.created) for result in results) == [0, 4]


def test_tables_of_the_master_user_are_adopted(world: World) -> None:
    """As after a restore with pg_restore."""
    with world.enter(*MASTER.values()) as master:
        master.execute("CREATE TABLE orders (id bigserial PRIMARY KEY, n int)")
        master.execute("CREATE VIEW all_orders AS SELECT * FROM orders")
        master.execute("CREATE SEQUENCE numbers")
    world.run()
    owners = world.ask(
        "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'public'::regnamespace "
        "AND relkind IN ('r', 'v', 'S')"
    )
    assert owners == [(world.plan["owner"],)]
    with world.login("a") as application:
        application.execute("INSERT INTO orders (n) VALUES (1)")


def test_other_databases_of_the_master_user_stay_its_own(world: World) -> None:
    world.run()
    owners = dict(world.ask("SELECT datname, pg_get_userbyid(datdba) FROM pg_database"))
    assert owners[world.database] == world.plan["owner"]
    assert owners["postgres"] == "rdsadmin"


REFUSED: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("a login with power", ("CREATE ROLE {db}_a LOGIN CREATEROLE",), "has createrole, so it was made for something"),
    ("a superuser", ("CREATE ROLE {db}_a LOGIN SUPERUSER",), "has super"),
    ("an owner that logs in", ("CREATE ROLE {db}_own LOGIN",), "ALTER ROLE {db}_own NOLOGIN"),
    (
        "a login with more rights",
        ("CREATE ROLE {db}_own", "CREATE ROLE {db}_a LOGIN", "GRANT {db}_own TO {db}_a"),
        "REVOKE {db}_own FROM {db}_a",
    ),
    (
        "tables of others",
        ("CREATE ROLE {db}x", "GRANT CREATE ON SCHEMA public TO {db}x", "SET ROLE {db}x", "CREATE TABLE t (id int)"),
        "REASSIGN OWNED BY {db}x TO slipway_master",
    ),
    (
        "a schema of somebody else's",
        ("ALTER SCHEMA public OWNER TO rdsadmin", "REVOKE ALL ON SCHEMA public FROM PUBLIC"),
        "permission denied for schema public",
    ),
)


@pytest.mark.parametrize(("statements", "message"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_what_cannot_be_is_refused_and_leaves_nothing(
    world: World, statements: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    world.do(*(statement.format(db=world.database) for statement in statements))
    before = world.verifiers()

    assert main({"BOOTSTRAP_PLAN": json.dumps(world.plan), "BOOTSTRAP_MASTER": json.dumps(MASTER)}) == 1

    line = json.loads(capsys.readouterr().out)
    assert message.format(db=world.database) in line["reason"]
    assert line["event"] == "bootstrap failed, nothing was changed"
    assert world.verifiers() == before
    assert world.ask("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()") == [
        (MASTER["username"],)
    ]


def test_another_user_than_the_master_is_refused(world: World) -> None:
    world.run()
    login = {"username": world.plan["migrate"]["user"], "password": world.plan["migrate"]["password"]}
    other = {**world.plan, "migrate": {"user": "someone_else", "password": "someone-elses-password"}}
    with pytest.raises(RolesError, match="may not create roles"):
        bootstrap(Plan.model_validate(other), Master.model_validate(login))


def test_the_master_user_cannot_be_one_of_the_logins(world: World) -> None:
    with pytest.raises(RolesError, match="cannot be one of them"):
        world.run(owner=MASTER["username"])


def test_a_read_replica_is_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real one takes a second server; its answer to this one question is what counts."""
    from app.db import roles

    ask = roles._one
    monkeypatch.setattr(roles, "_one", lambda server, query, *v: "recovery" in query or ask(server, query, *v))
    with pytest.raises(RolesError, match="read replica"):
        world.run()


def test_refuses_a_server_that_takes_no_writes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.db import roles

    ask = roles._one

    def demoted(server: Any, query: str, *values: str) -> Any:
        return "on" if "transaction_read_only" in query else ask(server, query, *values)

    monkeypatch.setattr(roles, "_one", demoted)
    with pytest.raises(RolesError, match="takes no writes"):
        world.run()


def test_waits_only_so_long_for_another_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from app.db import roles

    monkeypatch.setattr(roles, "_LOCK_TIMEOUT", "50ms")
    with world.enter(*MASTER.values()) as other:
        other.execute("SELECT pg_advisory_lock(%s)", [locks.BOOTSTRAP])
        with pytest.raises(RolesError, match="did not end within 50ms"):
            world.run()


def test_a_login_that_was_switched_off_works_again(world: World) -> None:
    world.run()
    world.do(f"ALTER ROLE {world.database}_a NOLOGIN")
    assert world.run().renewed == (f"{world.database}_a",)
    world.login("a").close()


def test_as_a_program(world: World, tmp_path: Path) -> None:
    """With the secrets in files; and no password in what it writes."""
    (tmp_path / "plan").write_text(json.dumps(world.plan))
    (tmp_path / "master").write_text(json.dumps({**MASTER, "engine": "postgres"}))
    environ = {"BOOTSTRAP_PLAN_FILE": str(tmp_path / "plan"), "BOOTSTRAP_MASTER_FILE": str(tmp_path / "master")}

    runs = [
        subprocess.run(
            [sys.executable, "-m", "app.bootstrap"],
            env={**environ, "PATH": os.environ["PATH"]},
            cwd=Path(program.__file__).parents[1],
            capture_output=True,
            text=True,
            timeout=60,
        )
        for _ in range(2)
    ]
    assert [run.returncode for run in runs] == [0, 0], runs[0].stdout + runs[0].stderr
    first, second = (json.loads(run.stdout) for run in runs)
    assert (len(first["created"]), len(second["unchanged"])) == (4, 4)
    assert "password" not in runs[0].stdout + runs[0].stderr


def test_a_server_that_is_not_there(capsys: pytest.CaptureFixture[str], world: World) -> None:
    plan = {**world.plan, "host": "127.0.0.1", "port": 1}
    assert main({"BOOTSTRAP_PLAN": json.dumps(plan), "BOOTSTRAP_MASTER": json.dumps(MASTER)}) == 1
    assert "refused" in capsys.readouterr().out


PLAN = {
    "host": "db",
    "database": "shop",
    "owner": "shop_owner",
    "migrate": {"user": "shop_migrate", "password": "planted-password-1"},
    "backup": {"user": "shop_backup", "password": "planted-password-2"},
    "app": [
        {"user": "shop_a", "password": "planted-password-3"},
        {"user": "shop_b", "password": "planted-password-4"},
    ],
}
WRONG: tuple[tuple[str, Callable[[], dict[str, str]], str], ...] = (
    ("nothing", dict, "BOOTSTRAP_PLAN is not set"),
    ("no JSON", lambda: {"BOOTSTRAP_PLAN": "planted {"}, "BOOTSTRAP_PLAN: is not JSON"),
    ("both", lambda: {"BOOTSTRAP_PLAN": "x", "BOOTSTRAP_PLAN_FILE": "y"}, "are both set"),
    ("no file", lambda: {"BOOTSTRAP_PLAN_FILE": "/nowhere"}, "cannot be read: No such file"),
    ("short", lambda: plan_with(backup={"user": "x", "password": "planted"}), "BOOTSTRAP_PLAN.backup.password"),
    ("same password", lambda: plan_with(backup={"user": "x", "password": "planted-password-1"}), "same password"),
    ("same name", lambda: plan_with(owner="shop_a"), "two roles have the same name"),
    ("a group's name", lambda: plan_with(owner="shop_app"), "two roles have the same name"),
    ("one slot", lambda: plan_with(app=PLAN["app"][:1]), "BOOTSTRAP_PLAN.app"),
    ("no identifier", lambda: plan_with(database="Shop; --"), "BOOTSTRAP_PLAN.database"),
    ("reserved", lambda: plan_with(owner="pg_read_all_data"), "BOOTSTRAP_PLAN.owner"),
    ("unknown key", lambda: plan_with(passwort="planted"), "BOOTSTRAP_PLAN.passwort"),
)


def plan_with(**changes: Any) -> dict[str, str]:
    return {"BOOTSTRAP_PLAN": json.dumps({**PLAN, **changes}), "BOOTSTRAP_MASTER": json.dumps(MASTER)}


@pytest.mark.parametrize(("environ", "message"), [case[1:] for case in WRONG], ids=[case[0] for case in WRONG])
def test_wrong_variables_are_told_without_their_values(
    environ: Callable[[], dict[str, str]], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SettingsError) as raised:
        load(environ())
    assert any(message in problem for problem in raised.value.problems), raised.value.problems
    assert "planted" not in str(raised.value)
    assert main(environ()) == program.EXIT_SETTINGS
    assert "planted" not in capsys.readouterr().out


def test_secrets_do_not_show_in_the_objects() -> None:
    plan, master = load(plan_with())
    assert "planted" not in repr(plan) + repr(master) + repr(plan.roles)
