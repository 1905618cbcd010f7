from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from app.queue.gate import _LONGEST_PAUSE, DatabaseGate
from app.queue.worker.health import HeartbeatFile
from app.queue.worker.signals import Shutdown


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Monotonic time, to be set."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


class Database:
    """An engine that can be away."""

    def __init__(self) -> None:
        self.away = False
        self.probes = 0

    def connect(self) -> Any:
        self.probes += 1
        if self.away:
            raise OperationalError("SELECT 1", {}, Exception("refused"))
        return self

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute(self, _: Any) -> None:
        pass


def test_the_gate_opens_at_the_first_probe_and_then_asks_no_more(clock: list[float]) -> None:
    server = Database()
    gate = DatabaseGate(server)  # type: ignore[arg-type]
    assert not gate.was_open

    assert all(gate.is_open() for _ in range(5))

    assert server.probes == 1
    assert gate.was_open


def test_the_gate_backs_off_while_the_database_is_away(clock: list[float]) -> None:
    server = Database()
    server.away = True
    gate = DatabaseGate(server)  # type: ignore[arg-type]

    for _ in range(600):
        assert not gate.is_open()
        clock[0] += 0.1
    assert 10 <= server.probes <= 20
    assert not gate.was_open
    server.away = False
    clock[0] += _LONGEST_PAUSE

    assert gate.is_open()


def test_a_gate_that_is_closed_again_and_again_slows_the_worker_down(clock: list[float]) -> None:
    """What a job needs may fail while the probe succeeds: without a pause the worker would spin."""
    gate = DatabaseGate(Database())  # type: ignore[arg-type]
    openings = 0
    for _ in range(600):
        if gate.is_open():
            openings += 1
            gate.close()
        clock[0] += 0.1

    assert openings <= 20


def test_the_first_signal_requests_and_a_later_one_forces(clock: list[float]) -> None:
    previous = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    shutdown = Shutdown()
    shutdown.install()
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        assert shutdown.requested.is_set()
        clock[0] += 0.9
        os.kill(os.getpid(), signal.SIGINT)
        assert not shutdown.forced.is_set()
        clock[0] += 0.2
        os.kill(os.getpid(), signal.SIGTERM)
        assert shutdown.forced.is_set()
    finally:
        signal.signal(signal.SIGTERM, previous[0])
        signal.signal(signal.SIGINT, previous[1])


def test_the_heartbeat_file(tmp_path: Path, clock: list[float]) -> None:
    path = tmp_path / "beat"
    file = HeartbeatFile(str(path))
    file.beat()
    os.utime(path, (1, 1))
    file.beat()
    assert path.stat().st_mtime == 1
    clock[0] += 1.1
    file.beat()
    assert path.stat().st_mtime > 1

    file.remove()
    file.remove()

    assert not path.exists()


def test_a_heartbeat_file_that_cannot_be_written_stops_nothing(
    tmp_path: Path, clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    file = HeartbeatFile(str(tmp_path / "missing" / "beat"))
    for _ in range(3):
        file.beat()
        clock[0] += 2

    assert capsys.readouterr().out.count("cannot write the health file") == 1
    HeartbeatFile(None).beat()
    HeartbeatFile(None).remove()
