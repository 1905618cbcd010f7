"""The worker's wish to be spared, told to a fake ECS agent over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from app.queue.worker.protection import MOST_MINUTES, PATH, SETTLE, TaskProtection

ON, OFF = {"ProtectionEnabled": True, "ExpiresInMinutes": 4}, {"ProtectionEnabled": False}
DONE = {"protection": {"ProtectionEnabled": True, "TaskArn": "arn:aws:ecs:r:1:task/c/t"}}


@dataclass
class Agent:
    """Answers every wish with `answer`; keeps the wishes."""

    wishes: list[Any] = field(default_factory=list)
    answer: tuple[int, Any] = (200, DONE)
    uri: str = ""


@pytest.fixture
def agent() -> Iterator[Agent]:
    state = Agent()

    class Handler(BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            assert self.path == f"/v4/task{PATH}"
            assert self.headers["Content-Type"] == "application/json"
            state.wishes.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            status, body = state.answer
            data = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    state.uri = f"http://127.0.0.1:{server.server_port}/v4/task"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@dataclass
class Worker:
    """A worker that is as busy as the test says, in the test's own time."""

    protection: TaskProtection
    busy: bool = False
    now: float = 1000.0

    def look(self, *, busy: bool, after: float = 0.0) -> None:
        self.busy, self.now = busy, self.now + after
        self.protection.look()


@pytest.fixture
def worker(agent: Agent) -> Worker:
    made = Worker(None)  # type: ignore[arg-type]
    made.protection = TaskProtection(
        agent.uri, busy=lambda: made.busy, longest_job=100, stop=threading.Event(), clock=lambda: made.now
    )
    return made


def test_on_while_busy_and_off_when_idle(agent: Agent, worker: Worker) -> None:
    worker.look(busy=False)
    assert agent.wishes == []
    worker.look(busy=True)
    worker.look(busy=True, after=1)
    assert agent.wishes == [ON]
    worker.look(busy=False, after=1)
    assert agent.wishes == [ON], "it may have the next job in a moment"
    worker.look(busy=False, after=SETTLE)
    worker.look(busy=False, after=60)
    assert agent.wishes == [ON, OFF]


def test_jobs_one_after_the_other_are_one_busy_spell(agent: Agent, worker: Worker) -> None:
    for _ in range(20):
        worker.look(busy=True, after=1)
        worker.look(busy=False, after=SETTLE - 1)
    assert agent.wishes == [ON]


def test_a_worker_that_is_never_idle_does_not_hold_a_deployment_up(agent: Agent, worker: Worker) -> None:
    for _ in range(100):
        worker.look(busy=True, after=10)
    assert agent.wishes == [ON], "renewed, it would be protected for ever"
    worker.look(busy=False)
    worker.look(busy=False, after=SETTLE)
    assert agent.wishes == [ON], "it has ended by itself"
    worker.look(busy=True)
    assert agent.wishes == [ON, ON]


@pytest.mark.parametrize(
    ("longest_job", "minutes"), [(1, 1), (30, 1), (31, 2), (100, 4), (3600, 120), (10_000_000, MOST_MINUTES)]
)
def test_it_lasts_for_two_jobs(agent: Agent, longest_job: float, minutes: int) -> None:
    TaskProtection(agent.uri, busy=lambda: True, longest_job=longest_job, stop=threading.Event()).look()
    assert agent.wishes == [{"ProtectionEnabled": True, "ExpiresInMinutes": minutes}]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ((200, {"failure": {"Arn": "a", "Reason": "TASK_NOT_VALID"}}), "TASK_NOT_VALID"),
        ((400, {"error": {"Code": "AccessDeniedException", "Message": "not allowed"}}), "status 400: not allowed"),
        ((500, b"<html>"), "status 500: <html>"),
        ((200, b"no json"), "Expecting value"),
    ],
)
def test_a_refusal_is_told_once_and_tried_again(
    agent: Agent, worker: Worker, capsys: pytest.CaptureFixture[str], answer: tuple[int, Any], reason: str
) -> None:
    agent.answer = answer
    worker.look(busy=True)
    worker.look(busy=True, after=1)
    assert len(agent.wishes) == 1, "not at every look"
    worker.look(busy=True, after=20)
    assert len(agent.wishes) == 2
    told = capsys.readouterr().out
    assert told.count("does not take the wish") == 1
    assert reason in told
    agent.answer = (200, DONE)
    worker.look(busy=True, after=20)
    worker.look(busy=True, after=20)
    assert len(agent.wishes) == 3
    assert "again" in capsys.readouterr().out


def test_an_agent_that_is_away_stops_no_worker(worker: Worker) -> None:
    gone = TaskProtection("http://127.0.0.1:1/v4/task", busy=lambda: True, longest_job=1, stop=threading.Event())
    gone.look()


def test_only_on_ecs() -> None:
    arguments: dict[str, Any] = {"busy": lambda: True, "longest_job": 1.0, "stop": threading.Event()}
    assert TaskProtection.of({}, **arguments) is None
    assert TaskProtection.of({"ECS_AGENT_URI": "http://169.254.170.2/api/t"}, **arguments) is not None


def test_no_proxy_comes_between(agent: Agent, worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    worker.look(busy=True)
    assert agent.wishes == [ON]
