"""The supervisor, with a small real server as its service."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.local import ports
from infra.local.supervisor import client
from infra.local.supervisor.spec import Health, Spec

Web = Callable[..., Spec]
Until = Callable[[Callable[[], object]], Any]


def get(port: int, path: str = "/") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def pids(directory: Path) -> list[int]:
    status = client.status(directory)
    assert status
    return [r["pid"] for r in status["replicas"]]


def states(directory: Path) -> list[str]:
    status = client.status(directory)
    assert status
    return [r["state"] for r in status["replicas"]]


def gone(pid: int) -> bool:
    """Whether the process has ended. Where nobody collects orphans (containers), it stays on as a zombie."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextmanager
def load(port: int) -> Iterator[Counter[str]]:
    """Requests over kept-alive and over new connections, without a pause, counted by what came of them."""
    seen: Counter[str] = Counter()
    ending = threading.Event()

    def new_connections() -> None:
        while not ending.is_set():
            try:
                seen[get(port).split()[0]] += 1
            except OSError as error:
                seen[f"failed: {error!r}"] += 1

    def kept_alive() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        while not ending.is_set():
            try:
                connection.request("GET", "/")
                answer = connection.getresponse()
                seen[answer.read().decode().split()[0]] += 1
            except (OSError, http.client.HTTPException) as error:
                seen[f"failed: {error!r}"] += 1
                connection.close()
        connection.close()

    threads = [threading.Thread(target=t) for t in (new_connections, kept_alive, kept_alive)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ending.set()
        for thread in threads:
            thread.join()


def test_replicas_share_one_port(directory: Path, web: Web) -> None:
    spec = web(replicas=2, env={"VERSION": "one"})
    assert client.apply(directory, spec)["ok"]
    assert spec.port
    served = {get(spec.port).split()[1] for _ in range(200)}
    assert served <= {str(p) for p in pids(directory)}
    assert states(directory) == ["healthy", "healthy"]


def test_the_same_spec_changes_nothing(directory: Path, web: Web) -> None:
    assert client.apply(directory, web())["changed"]
    before = pids(directory)
    assert client.apply(directory, web()) == {"ok": True, "changed": False, "reason": "", "error": "", "tail": []}
    assert pids(directory) == before


def test_a_changed_spec_rolls_under_load_without_a_failed_request(directory: Path, web: Web) -> None:
    old, new = web(replicas=2, env={"VERSION": "one"}), web(replicas=2, env={"VERSION": "two"})
    client.apply(directory, old)
    before = pids(directory)
    assert old.port
    with load(old.port) as seen:
        assert client.apply(directory, new)["ok"]
    assert not set(before) & set(pids(directory))
    assert set(seen) == {"one", "two"}
    assert get(old.port).startswith("two ")


def test_scaling_keeps_the_replicas_that_stay(directory: Path, web: Web) -> None:
    client.apply(directory, web(replicas=1))
    (first,) = pids(directory)
    client.apply(directory, web(replicas=3))
    assert pids(directory)[0] == first
    assert len(pids(directory)) == 3
    client.apply(directory, web(replicas=1))
    assert pids(directory) == [first]


@pytest.mark.parametrize(
    ("fault", "reason"),
    [({"BROKEN": "1"}, "exit code 1"), ({"SICK": "1"}, "not ready within 1 s: GET /ready answered HTTP/1.1 503")],
)
def test_a_failing_version_leaves_the_old_one_serving(
    directory: Path, web: Web, fault: dict[str, str], reason: str
) -> None:
    spec = web(replicas=2, env={"VERSION": "one"})
    client.apply(directory, spec)
    before = pids(directory)
    health = Health(kind="http", path="/", ready_path="/ready", startup=1)
    outcome = client.apply(directory, web(replicas=2, env={"VERSION": "two", **fault}, health=health))
    assert not outcome["ok"]
    assert reason in outcome["reason"]
    assert "version two" in outcome["tail"]
    assert pids(directory) == before
    assert client.status(directory)["revision"] == spec.revision  # type: ignore[index]


def test_a_first_start_that_fails_leaves_nothing(directory: Path, web: Web) -> None:
    outcome = client.apply(directory, web(replicas=2, env={"BROKEN": "1"}))
    assert "cannot start: the flux is broken" in outcome["tail"]
    assert pids(directory) == []


def test_a_crashed_replica_is_started_again(directory: Path, web: Web, until: Until) -> None:
    spec = web()
    client.apply(directory, spec)
    (before,) = pids(directory)
    os.kill(before, signal.SIGKILL)
    until(lambda: pids(directory) not in ([before], [None]) and states(directory) == ["healthy"])
    status = client.status(directory)
    assert status
    assert status["replicas"][0]["restarts"] == 1
    assert "ended with SIGKILL" in (directory / "log").read_text()


def test_a_crash_loop_is_reported_and_ends_when_its_cause_is_gone(
    directory: Path, web: Web, until: Until, tmp_path: Path
) -> None:
    spec = web()
    client.apply(directory, spec)
    script = tmp_path / "server.py"
    source = script.read_text()
    script.write_text("raise SystemExit('no flux')")
    os.kill(pids(directory)[0], signal.SIGKILL)
    until(lambda: states(directory) == ["waiting"])
    outcome = client.apply(directory, spec)
    assert not outcome["ok"]
    assert outcome["tail"] == ["no flux"]
    script.write_text(source)
    until(lambda: states(directory) == ["healthy"])
    assert client.apply(directory, spec)["ok"]


def test_a_hung_replica_is_replaced(directory: Path, web: Web, until: Until) -> None:
    health = Health(kind="http", path="/", interval=0.1, timeout=0.2, retries=2)
    client.apply(directory, web(health=health, stop_timeout=0.5))
    (before,) = pids(directory)
    os.kill(before, signal.SIGSTOP)
    until(lambda: pids(directory) not in ([before], [None]) and states(directory) == ["healthy"])


def test_a_stubborn_replica_is_killed_after_the_stop_timeout(directory: Path, web: Web) -> None:
    client.apply(directory, web(env={"STUBBORN": "1"}, stop_timeout=0.3))
    (pid,) = pids(directory)
    client.stop(directory)
    assert gone(pid)


def test_nothing_lives_after_the_supervisor_was_killed(directory: Path, web: Web, until: Until) -> None:
    spec = web(replicas=2)
    client.apply(directory, spec)
    status = client.status(directory)
    assert status
    before = pids(directory)
    os.kill(status["pid"], signal.SIGKILL)
    until(lambda: all(map(gone, before)))
    assert client.status(directory) is None
    assert client.apply(directory, spec)["ok"]  # Over a stale lock file, socket and record of replicas.
    assert not set(before) & set(pids(directory))


def test_a_supervisor_that_hangs_is_replaced(directory: Path, web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    client.apply(directory, web())
    status = client.status(directory)
    assert status
    os.kill(status["pid"], signal.SIGSTOP)
    monkeypatch.setattr(client, "_ANSWER_STATUS", 0.3)
    assert client.apply(directory, web())["ok"]
    assert gone(status["pid"])


def test_a_recorded_pid_that_is_another_process_now_is_left_alone(directory: Path, web: Web) -> None:
    directory.mkdir()
    (directory / "replicas.json").write_text(json.dumps([[os.getpid(), "12345"]]))
    assert client.apply(directory, web())["ok"]


def test_sigterm_stops_the_service(directory: Path, web: Web, until: Until) -> None:
    client.apply(directory, web())
    status = client.status(directory)
    assert status
    (replica,) = pids(directory)
    os.kill(status["pid"], signal.SIGTERM)
    until(lambda: not client.running(directory))
    assert gone(replica)


def test_a_supervisor_that_lost_a_task_of_its_own_ends() -> None:
    """It went on, and nothing started the replica again that the task had watched."""
    program = """
import asyncio
from infra.local.supervisor import fail_fast

async def lost():
    raise RuntimeError("unforeseen")

async def main():
    fail_fast.watch(asyncio.create_task(lost()))
    await asyncio.sleep(30)

asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    # As told to stop from outside, which the supervisor does in order.
    assert ended.returncode == -signal.SIGTERM
    assert "a task ended unexpectedly" in ended.stderr
    assert "unforeseen" in ended.stderr


def test_a_service_ends_with_its_folder(directory: Path, web: Web, until: Until) -> None:
    """After `rm -r` of a checkout nothing could stop its services any more, and they kept the API's port."""
    client.apply(directory, web())
    status = client.status(directory)
    assert status
    everyone = [status["pid"], *pids(directory)]
    directory.rename(directory.with_name("moved"))
    # A successor at the same place, before the first has seen it, keeps its socket and its records.
    assert client.apply(directory, web(port=ports.free()))["ok"]
    assert until(lambda: all(gone(pid) for pid in everyone))
    (successor,) = pids(directory)
    assert [row[0] for row in json.loads((directory / "replicas.json").read_text())] == [successor]


def test_a_busy_port_changes_nothing(directory: Path, web: Web) -> None:
    spec = web()
    client.apply(directory, spec)
    before = pids(directory)
    with socket.create_server(("127.0.0.1", 0)) as other:
        outcome = client.apply(directory, web(port=other.getsockname()[1]))
    assert outcome["error"] == "port-busy"
    assert pids(directory) == before


def test_a_changed_port_moves_the_service(directory: Path, web: Web) -> None:
    spec = web()
    client.apply(directory, spec)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    assert client.apply(directory, web(port=port))["ok"]
    assert get(port)
    with pytest.raises(OSError, match="refused"):
        get(spec.port or 0)


def test_a_long_path_gets_its_control_socket_elsewhere(tmp_path: Path, web: Web) -> None:
    directory = tmp_path / ("d" * 120)
    try:
        assert client.apply(directory, web())["ok"]
    finally:
        client.stop(directory)
    assert not client.running(directory)


def test_two_callers_at_once_get_one_service(directory: Path, web: Web) -> None:
    outcomes: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: outcomes.append(client.apply(directory, web()))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(o["changed"] for o in outcomes) == [False, False, True]
    assert len(pids(directory)) == 1


def test_a_replica_gets_nothing_of_the_callers_environment(
    directory: Path, web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PULUMI_CONFIG_PASSPHRASE", "word")
    client.apply(directory, web(env={"VERSION": "one"}))
    status = client.status(directory)
    assert status
    for pid in [status["pid"], *pids(directory)]:
        assert "PULUMI_CONFIG_PASSPHRASE" not in psutil.Process(pid).environ()
