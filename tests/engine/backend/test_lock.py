from __future__ import annotations

import json
import os
import random
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from infra.engine.errors import LockedError
from infra.engine.state.backend import FileBackend


@pytest.fixture
def folder(backend: FileBackend) -> Path:
    path = backend.root / ".pulumi/locks/organization/demo/dev"
    path.mkdir(parents=True)
    return path


def write(folder: Path, **changes: Any) -> Path:
    owner = {
        "pid": os.getpid(),
        "username": "ada",
        "hostname": socket.gethostname(),
        "timestamp": "2099-01-01T00:00:00Z",
    }
    path = folder / "0b0f7a52-0000-0000-0000-000000000000.json"
    path.write_text(json.dumps(owner | changes))
    return path


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_lock_file_is_the_clis(backend: FileBackend) -> None:
    folder = backend.root / ".pulumi/locks/organization/demo/dev"
    with backend.lock("demo", "dev"):
        (path,) = folder.glob("*.json")
        owner = json.loads(path.read_text())
        assert sorted(owner) == ["hostname", "pid", "timestamp", "username"]
        assert owner["pid"] == os.getpid()
        assert path.stat().st_mode & 0o777 == 0o600
    assert list(folder.iterdir()) == []


def test_it_is_released_after_an_error(backend: FileBackend) -> None:
    with pytest.raises(RuntimeError), backend.lock("demo", "dev"):
        raise RuntimeError
    with backend.lock("demo", "dev"):
        pass


def test_two_exclude_each_other_and_the_first_goes_on(backend: FileBackend) -> None:
    with backend.lock("demo", "dev"):
        with pytest.raises(LockedError) as caught, backend.lock("demo", "dev"):
            pass
        assert len(list((backend.root / ".pulumi/locks/organization/demo/dev").glob("*.json"))) == 1
    assert f"process {os.getpid()}" in str(caught.value)


def test_other_stacks_are_free(backend: FileBackend) -> None:
    with backend.lock("demo", "dev"), backend.lock("demo", "prod"), backend.lock("other", "dev"):
        pass


def test_who_holds_it_and_what_to_do_is_told(backend: FileBackend, folder: Path) -> None:
    path = write(folder, hostname="elsewhere", pid=4711)
    with pytest.raises(LockedError) as caught, backend.lock("demo", "dev"):
        pass
    told = str(caught.value)
    assert "ada@elsewhere, process 4711, since 2099-01-01T00:00:00Z" in told
    assert f"rm {path}" in told
    assert path.exists()


def test_a_dead_owners_lock_is_reported_and_taken_over(backend: FileBackend, folder: Path, dead_pid: int) -> None:
    path = write(folder, pid=dead_pid)
    told: list[str] = []
    with backend.lock("demo", "dev", report=told.append):
        assert not path.exists()
    assert len(told) == 1
    assert f"process {dead_pid}" in told[0]


def test_a_killed_owner_that_nobody_collected_is_dead(backend: FileBackend, folder: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as zombie:
        path = write(folder, pid=zombie.pid)
        zombie.kill()
        os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
        with backend.lock("demo", "dev"):
            assert not path.exists()


def test_a_pid_that_was_given_anew_does_not_keep_the_lock(backend: FileBackend, folder: Path) -> None:
    # This very process runs, but it started long after the lock was written.
    write(folder, timestamp="2001-01-01T00:00:00.123456789Z")
    with backend.lock("demo", "dev"):
        pass


def test_a_dead_pid_on_another_host_keeps_it(backend: FileBackend, folder: Path, dead_pid: int) -> None:
    write(folder, pid=dead_pid, hostname="elsewhere")
    with pytest.raises(LockedError), backend.lock("demo", "dev"):
        pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": "x"}'])
def test_an_unreadable_lock_keeps_it(backend: FileBackend, folder: Path, text: str) -> None:
    path = folder / "x.json"
    path.write_text(text)
    with pytest.raises(LockedError, match="unreadable"), backend.lock("demo", "dev"):
        pass
    assert path.exists()


def test_of_many_at_once_at_most_one_is_in(backend: FileBackend) -> None:
    inside, most, done = 0, 0, 0
    guard = threading.Lock()

    def enter() -> None:
        nonlocal inside, most, done
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            try:
                with backend.lock("demo", "dev"):
                    with guard:
                        inside += 1
                        most = max(most, inside)
                    time.sleep(0.005)
                    with guard:
                        inside -= 1
                        done += 1
                return
            except LockedError:
                time.sleep(random.uniform(0.001, 0.02))

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (1, 8)
