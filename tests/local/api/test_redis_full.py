"""Redis that is full, read-only, slow or gone: what the API has accepted is in Postgres, and it goes on accepting."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from infra.local import binaries

pytestmark = pytest.mark.anyio

DELIVERY = {"url": "https://receiver.example.org/hook", "payload": {"order": 7}}


class Server:
    """A Valkey of its own, that a test may fill, stop and start again."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "own.sock"
        self._command = [str(binaries.valkey()), "--port", "0", "--unixsocket", str(self.socket), "--dir", str(folder)]
        self._command += ["--save", "", "--appendonly", "no", "--maxmemory-policy", "noeviction"]
        self._log = folder / "own.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as out:
            self.process = subprocess.Popen(self._command, stdout=out, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 20
        with self.client() as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert time.monotonic() < deadline, self._log.read_text()
                    time.sleep(0.02)

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.wait(20)

    def client(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=str(self.socket), retry=None)


@pytest.fixture
def own_redis(server_folder: Path, tmp_path: Path) -> Iterator[Server]:
    # Below the short folder of the servers: a socket's path may have 107 bytes.
    folder = server_folder / f"own-{time.monotonic_ns()}"
    folder.mkdir()
    server = Server(folder)
    server.start()
    yield server
    server.stop()


def jobs(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM jobs WHERE state = 'pending'").fetchone()
    assert row
    return int(row[0])


def fill(server: Server) -> None:
    with server.client() as client:
        client.config_set("maxmemory", "1")
        with pytest.raises(redis.ResponseError, match="maxmemory"):
            client.set("one", "more")


def demote(server: Server) -> None:
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(redis.ReadOnlyError):
            client.set("one", "more")


def stall(server: Server) -> None:
    assert server.process
    server.process.send_signal(signal.SIGSTOP)


@pytest.mark.parametrize("fault", [fill, demote, stall, Server.stop])
async def test_everything_is_accepted_whatever_befalls_redis(
    start, own_redis: Server, migrated_url: str, fault: Callable[[Server], None]
) -> None:
    """Rate limit, login guard and the nudge all lean on Redis; none may cost an answer, nor much time."""
    async with start(REDIS_URL=f"unix://{own_redis.socket}", ENABLE_METRICS="true") as caller:
        user = await caller.as_user()
        before = await caller.http.post("/v1/deliveries", json=DELIVERY, headers=user)
        fault(own_redis)
        begin = time.monotonic()
        answers = [await caller.http.post("/v1/deliveries", json=DELIVERY, headers=user) for _ in range(20)]
        seconds = time.monotonic() - begin
        again = {"email": "again@example.org", "password": "correct horse battery"}
        registered = await caller.http.post("/v1/auth/register", json=again)
        logged_in = await caller.http.post("/v1/auth/login", json=again)
        metrics = (await caller.http.get("/metrics")).text
        if own_redis.process and fault is stall:
            own_redis.process.send_signal(signal.SIGCONT)
    assert {a.status_code for a in [before, *answers]} == {202}
    assert (registered.status_code, logged_in.status_code) == (201, 200)
    assert jobs(migrated_url) == 21
    assert seconds < 10
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if not line.startswith("#"))
    assert float(values['slipway_outbox_unsent{queue="webhook-processor"}']) >= 20
    assert float(values["slipway_rate_limit_skipped_total"]) >= 20
    assert float(values["slipway_login_guard_skipped_total"]) >= 1
