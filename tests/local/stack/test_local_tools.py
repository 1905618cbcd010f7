"""Logs, doctor and the small parts that the resources are made of."""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.local import binaries, identity, ports, secretfiles
from infra.local.doctor import check
from infra.local.errors import LocalError
from infra.local.image import source_image
from infra.local.logs import follow
from infra.local.paths import make_private, project_root, write_private
from infra.local.supervisor.logfile import LogFile
from infra.local.supervisor.spec import Health, Spec
from infra.settings import Settings, parse

Until = Callable[[Callable[[], object]], Any]


@pytest.fixture
def stack_dir(tmp_path: Path) -> Path:
    folder = tmp_path / ".slipway" / "local"
    for name in ("api", "worker"):
        make_private(folder / name)
    return folder


@pytest.fixture
def settings(free_port: int) -> Settings:
    return parse({"target": "local", "api": {"port": free_port}}, stack="local")


def test_a_log_is_set_aside_at_its_size(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "log", limit=100, keep=2)
    for number in range(40):
        log.write("web-0 1", f"line {number:02}".encode())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert all(path.stat().st_size <= 100 for path in tmp_path.iterdir())
    assert (tmp_path / "log").read_text().splitlines()[-1] == "[web-0 1] line 39"
    assert stat.S_IMODE((tmp_path / "log").stat().st_mode) == 0o600


def test_json_lines_stay_json(tmp_path: Path) -> None:
    LogFile(tmp_path / "log").write("web-0 1", b'{"event": "started"}')
    assert (tmp_path / "log").read_text() == '{"event": "started"}\n'


def test_the_last_lines_reach_back_over_a_rotation(stack_dir: Path) -> None:
    log = LogFile(stack_dir / "api" / "log", limit=60)
    for number in range(6):
        log.write("api-0 1", f"line {number}".encode())
    assert (stack_dir / "api" / "log.1").exists()
    lines = list(follow(stack_dir, "api", 5, False))
    assert lines == [f"[api-0 1] line {number}" for number in range(1, 6)]
    assert list(follow(stack_dir, "api", 0, False)) == []


def test_following_goes_on_across_rotations_and_misses_nothing(stack_dir: Path, until: Until) -> None:
    log = LogFile(stack_dir / "api" / "log", limit=200)
    log.write("api-0 1", b"first")
    got: list[str] = []

    def read() -> None:
        for line in follow(stack_dir, "api", 10, True):
            got.append(line)
            if line.endswith("line 99"):
                return

    reader = threading.Thread(target=read)
    reader.start()
    until(lambda: got)
    for number in range(100):
        log.write("api-0 1", f"line {number}".encode())
        until(lambda number=number: len(got) > number + 1 - 5)  # never more than a file ahead of the reader
    reader.join(timeout=10)
    assert got == ["[api-0 1] first", *(f"[api-0 1] line {number}" for number in range(100))]


def test_all_logs_together_carry_names(stack_dir: Path) -> None:
    for name in ("api", "worker"):
        LogFile(stack_dir / name / "log").write(f"{name}-0 1", b"hello")
    assert list(follow(stack_dir, None, 10, False)) == ["api    | [api-0 1] hello", "worker | [worker-0 1] hello"]


def test_an_unknown_service_is_named_with_those_there_are(stack_dir: Path) -> None:
    LogFile(stack_dir / "api" / "log").write("api-0 1", b"hello")
    with pytest.raises(LocalError, match=r"no logs of 'ap'. It has api\."):
        next(follow(stack_dir, "ap", 10, False))


def test_the_doctor_finds_nothing_on_a_sound_machine(stack_dir: Path, settings: Settings) -> None:
    assert {finding.level for finding in check(stack_dir, settings)} == {"ok"}


def test_the_doctor_names_a_busy_port_and_its_owner(stack_dir: Path, settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", settings.api.port)):
        (finding,) = [f for f in check(stack_dir, settings) if f.level != "ok"]
    assert finding.level == "error"
    assert f"port {settings.api.port} (api.port) is in use" in finding.title
    assert f"process {os.getpid()} " in finding.detail
    assert "slipway config set api.port" in finding.remedy


def test_the_doctor_minds_an_open_folder(stack_dir: Path, settings: Settings) -> None:
    stack_dir.chmod(0o755)
    (finding,) = [f for f in check(stack_dir, settings) if f.level != "ok"]
    assert finding.remedy == f"chmod 700 {stack_dir}"


def test_the_doctor_reports_a_service_that_should_run(stack_dir: Path, settings: Settings) -> None:
    spec = Spec(name="api", command=("true",), health=Health(kind="tcp", port=1))
    (stack_dir / "api" / "deployed.json").write_text(json.dumps(spec.to_json()))
    (finding,) = [f for f in check(stack_dir, settings) if f.level != "ok"]
    assert finding.title == "api is stopped"
    assert "slipway up starts it again" in finding.remedy


def test_the_doctor_finds_the_lock_of_a_killed_run(stack_dir: Path, settings: Settings) -> None:
    with subprocess.Popen(["true"]) as ended:
        pass
    lock = stack_dir.parent / ".pulumi" / "locks" / "organization" / "slipway" / "local" / "1.json"
    lock.parent.mkdir(parents=True)
    holder = {
        "pid": ended.pid,
        "username": "ada",
        "hostname": socket.gethostname(),
        "timestamp": "2026-11-01T00:00:00Z",
    }
    lock.write_text(json.dumps(holder))
    (finding,) = [f for f in check(stack_dir, settings) if f.level != "ok"]
    assert f"locked by process {ended.pid}, which has ended" in finding.title
    lock.write_text(json.dumps({**holder, "pid": os.getpid()}))
    assert {f.level for f in check(stack_dir, settings)} == {"ok"}


def test_the_doctor_misses_a_wheel(stack_dir: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    findings = [f for f in check(stack_dir, settings) if f.level == "error"]
    assert {"no Postgres server", "no Valkey server"} <= {f.title for f in findings}


def test_a_missing_wheel_names_the_platform_and_the_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    with pytest.raises(LocalError, match=r"for Linux riscv64 .*slipway config set redis.provider external"):
        binaries.valkey()


def test_a_user_that_reaches_nothing_is_told_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(identity, "_works", lambda *_: False)
    with pytest.raises(LocalError, match=r"does not run as root.*ordinary user.*CAP_DAC_OVERRIDE.*external"):
        identity.for_server(tmp_path / "postgres", tmp_path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can lay out a folder of root's that others cannot pass")
def test_root_runs_postgres_below_a_closed_folder(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    found = identity.for_server(binaries.postgres("postgres"), closed)
    assert found.owner
    assert found.owner[0] != 0
    assert found.run(["id", "-u"]).stdout.strip() == str(found.owner[0])
    assert found.run(["ls", str(closed)]).returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can lay out a folder of root's that others cannot pass")
def test_root_runs_postgres_from_below_a_closed_folder(tmp_path: Path) -> None:
    """`make up` in a clone below /root failed: initdb asks access(2), which leaves the granted capability out."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    (closed / "pg").symlink_to(binaries.postgres("postgres").parents[1])
    found = identity.for_server(closed / "pg" / "bin" / "postgres", closed)
    shown = found.run([str(closed / "pg" / "bin" / "initdb"), "--show", "--pgdata", str(closed / "data")])
    assert shown.returncode == 0, shown.stdout


def test_each_secret_has_a_private_file_under_a_name_that_tells_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "secrets"
    first = secretfiles.store(folder, {"KEY": "one", "URL": "two"})
    assert Path(first["KEY_FILE"]).read_text() == "one"
    assert stat.S_IMODE(Path(first["KEY_FILE"]).stat().st_mode) == 0o600
    assert secretfiles.find(folder, {"KEY": "one", "URL": "two"}) == first
    assert secretfiles.find(folder, {"KEY": "other", "URL": "two"}) is None

    second = secretfiles.store(folder, {"KEY": "other", "URL": "two"})
    assert second["URL_FILE"] == first["URL_FILE"]
    assert Path(first["KEY_FILE"]).exists()  # an old replica may still be started with it
    secretfiles.prune(folder, second.values())
    assert sorted(map(str, folder.iterdir())) == sorted(second.values())


def test_a_private_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("old")
    file.chmod(0o644)
    write_private(file, "new")
    assert (file.read_text(), stat.S_IMODE(file.stat().st_mode)) == ("new", 0o600)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_kept_port_stays_and_a_wanted_one_wins(tmp_path: Path) -> None:
    port = ports.kept(tmp_path, None)
    assert ports.kept(tmp_path, None) == port
    assert ports.kept(tmp_path, 5499) == 5499
    assert ports.kept(tmp_path, None) == port


def test_the_fingerprint_follows_content_names_and_packages(tmp_path: Path) -> None:
    app, lock = tmp_path / "app", tmp_path / "lock.txt"
    app.mkdir()
    (app / "a.py").write_text("one")
    first = source_image(app, lock=lock)
    (app / "__pycache__").mkdir()
    (app / "__pycache__" / "a.pyc").write_text("compiled")
    assert source_image(app, lock=lock) == first
    (app / "a.py").rename(app / "b.py")
    renamed = source_image(app, lock=lock)
    (app / "b.py").write_text("two")
    edited = source_image(app, lock=lock)
    lock.write_text("starlette==1.10")
    upgraded = source_image(app, lock=lock)
    assert len({image.reference for image in (first, renamed, edited, upgraded)}) == 4


def test_the_project_is_found_from_below_and_missed_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Pulumi.yaml").write_text("name: x")
    (tmp_path / "stacks").mkdir()
    monkeypatch.chdir(tmp_path / "stacks")
    assert project_root() == tmp_path
    monkeypatch.chdir("/")
    with pytest.raises(LocalError, match=r"no Pulumi\.yaml"):
        project_root()


def test_a_revision_covers_everything_but_the_count() -> None:
    spec = Spec(name="api", command=("run",), health=Health(kind="tcp", port=1), environment={"A": "1"}, replicas=1)
    again = Spec.from_json({**spec.to_json(), "replicas": 5})
    assert again.revision == spec.revision
    assert Spec.from_json({**spec.to_json(), "environment": {"A": "2"}}).revision != spec.revision
    with pytest.raises(TypeError, match="colour"):
        Spec.from_json({**spec.to_json(), "colour": "red"})
