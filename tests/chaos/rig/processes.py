"""The application as processes of its own: `python -m app` in each mode, as many as a test wants."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from app.settings import Settings
from rig.servers import free_port
from rig.waiting import A_WHILE, wait_for

FAULTS = Path(__file__).parent / "faults"
"""Put before everything on a process's path, it makes the application misbehave as its environment says."""

SHORT_LEASE = {"DELIVERY_TIMEOUT": "4000", "QUEUE_JOB_TIMEOUT": "5000", "QUEUE_LEASE": "6000"}
"""For tests in which a lease has to end. The others give a slow machine time enough not to repeat a call."""


@dataclass
class App:
    """One process. `expected_end` is set by what a test does to it: any other end fails the test."""

    process: subprocess.Popen[bytes]
    mode: str
    settings: dict[str, str]
    """Those that it was started with beside everybody's."""
    port: int
    log_path: Path
    expected_end: bool = False

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def log(self) -> list[dict[str, Any]]:
        lines = self.log_path.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def log_has(self, event: str) -> bool:
        return any(line["event"] == event for line in self.log())

    def kill(self) -> None:
        self.expected_end = True
        self.process.kill()
        self.process.wait(timeout=A_WHILE)

    def terminate(self) -> None:
        self.expected_end = True
        self.process.send_signal(signal.SIGTERM)

    def wait(self, timeout: float = A_WHILE) -> int:
        self.expected_end = True
        return self.process.wait(timeout=timeout)

    def job_processes(self) -> list[psutil.Process]:
        """Those that run one job each: children of the worker's fork server."""
        family = psutil.Process(self.process.pid).children(recursive=True)
        return [one for one in family if one.ppid() != self.process.pid]

    def answers(self, path: str) -> int | None:
        """Status of a GET; None when no answer came."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code
        except OSError:
            return None


@dataclass
class Apps:
    """Starts processes with `environ`; the settings in it make a fault's test short."""

    environ: dict[str, str]
    folder: Path
    started: list[App] = field(default_factory=list)

    def api(self, **settings: str) -> App:
        """Returns once it answers; what is behind it may be away."""
        app = self._start("api", settings, PORT=str(free_port()), HOST="127.0.0.1")
        wait_for(lambda: app.answers("/health/live") == 200 or not app.running, what="the API's start")
        return self._well(app)

    def worker(self, *, lives: bool = True, **settings: str) -> App:
        """Returns once it reached Redis and Postgres; at once when it is not to live."""
        health = self.folder / f"{len(self.started)}.health"
        app = self._start("worker", settings, HEALTH_FILE=str(health))
        if not lives:
            return app
        wait_for(lambda: health.exists() or not app.running, what=lambda: f"the worker's start, {app.log_path}")
        return self._well(app)

    def again(self, ended: App) -> App:
        """A new process in the place of one that ended, as an orchestrator starts it."""
        return (self.api if ended.mode == "api" else self.worker)(**ended.settings)

    def running(self, mode: str) -> list[App]:
        return [app for app in self.started if app.running and app.mode == mode]

    def died(self) -> Iterator[App]:
        """Those that ended although nothing was done to them."""
        return (app for app in self.started if not app.running and not app.expected_end)

    def end(self) -> None:
        for app in self.started:
            if app.running:
                app.kill()

    def _start(self, mode: str, settings: dict[str, str], **own: str) -> App:
        environ = {**self.environ, "MODE": mode, **own, **settings}
        log_path = self.folder / f"{len(self.started)}-{mode}.log"
        with log_path.open("wb") as log:
            process = subprocess.Popen([sys.executable, "-m", "app"], env=environ, stdout=log, stderr=log)
        app = App(process, mode, settings, int(environ.get("PORT", 0)), log_path)
        self.started.append(app)
        return app

    def _well(self, app: App) -> App:
        assert app.running, f"{app.log_path}\n{app.log_path.read_text()[-3000:]}"
        return app


def environment(*, database_url: str, redis_url: str) -> dict[str, str]:
    """Settings of every process: real ones, with times that keep a test short."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(FAULTS),
        "ENVIRONMENT": "test",
        "DATABASE_URL": database_url,
        "REDIS_URL": redis_url,
        "JWT_SECRET": "chaos" * 13,
        "RATE_LIMIT_MAX": "100000",
        "ENABLE_METRICS": "true",
        "SHUTDOWN_DRAIN": "300",
        "DELIVERY_ALLOW_HTTP": "true",
        "DELIVERY_ALLOW_PRIVATE_NETWORKS": "true",
        "DELIVERY_TIMEOUT": "15000",
        "DELIVERY_BACKOFF": "100",
        "DELIVERY_BACKOFF_MAX": "1000",
        "DELIVERY_MAX_ATTEMPTS": "10",
        "QUEUE_JOB_TIMEOUT": "16000",
        "QUEUE_LEASE": "30000",
        "SWEEP_INTERVAL": "1000",
    }


def needs_setting(name: str) -> pytest.MarkDecorator:
    """For the test of a feature that this version of the application may not have."""
    missing = name not in Settings.model_fields
    return pytest.mark.skipif(missing, reason=f"the application has no setting {name.upper()}")
