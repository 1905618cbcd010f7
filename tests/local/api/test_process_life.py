"""The API as a process: start, refusal to start, draining under load, both ways of stopping."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import threading
import time
from collections import Counter

import pytest


class Load:
    """Threads that ask over kept connections, as a load balancer does: a new one only when told to close."""

    def __init__(self, port: int, threads: int = 6) -> None:
        self.outcomes: Counter[str] = Counter()
        self._port, self._stop = port, threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(20)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        while not self._stop.is_set():
            try:
                connection.request("GET", "/v1/auth/me")
                response = connection.getresponse()
                response.read()
                self.outcomes[str(response.status)] += 1
            except (OSError, http.client.HTTPException) as error:
                self.outcomes[repr(error)] += 1
                connection.close()
        connection.close()


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def test_one_of_two_replicas_goes_and_no_request_fails(spawn, listener, asking, until):
    port = port_of(listener)
    private = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    replicas = [spawn(listeners=[listener, own], ENABLE_RATE_LIMIT="false") for own in private]
    for own in private:
        until(lambda own=own: asking(port_of(own))[0] == 200)
    private_port = port_of(private[0])
    for own in private:
        own.close()

    with Load(port) as load:
        until(lambda: load.outcomes["401"] > 100)
        replicas[0].popen.send_signal(signal.SIGTERM)
        until(lambda: asking(private_port)[0] == 503)
        assert replicas[0].popen.wait(20) == 0
        count = load.outcomes["401"]
        until(lambda: load.outcomes["401"] > count + 100)

    assert set(load.outcomes) == {"401"}, load.outcomes
    assert replicas[1].stop() == 0


def test_replacing_the_only_replica_fails_no_request(spawn, listener, until):
    """Between the two the connections wait in the backlog of the socket, which the supervisor (here: we) holds."""
    old = spawn(listeners=[listener], ENABLE_RATE_LIMIT="false")
    with Load(port_of(listener), threads=3) as load:
        until(lambda: load.outcomes["401"] > 20)
        assert old.stop() == 0
        spawn(listeners=[listener], ENABLE_RATE_LIMIT="false")
        count = load.outcomes["401"]
        until(lambda: load.outcomes["401"] > count + 20)
    assert set(load.outcomes) == {"401"}, load.outcomes


def test_a_request_under_way_is_answered(spawn, listener, until, asking):
    replica = spawn(listeners=[listener], SHUTDOWN_DRAIN="0")
    until(lambda: asking(port_of(listener))[0] == 200)
    body = json.dumps({"email": "a@example.org", "password": "x" * 12}).encode()
    with socket.create_connection(listener.getsockname(), timeout=10) as slow:
        head = (
            f"POST /v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        )
        slow.sendall(f"{head}\r\n\r\n".encode() + body[:10])
        until(lambda: asking(port_of(listener))[0] == 200)
        replica.popen.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        slow.sendall(body[10:])
        answer = slow.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 401")
    assert b"connection: close" in answer
    assert replica.popen.wait(10) == 0


@pytest.mark.flips("shutdown_timeout")
def test_a_request_that_never_ends_is_cut_after_the_timeout(spawn, listener, until, asking):
    replica = spawn(listeners=[listener], SHUTDOWN_DRAIN="0", SHUTDOWN_TIMEOUT="1000")
    until(lambda: asking(port_of(listener))[0] == 200)
    with socket.create_connection(listener.getsockname(), timeout=10) as slow:
        slow.sendall(
            b"POST /v1/auth/login HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n"
        )
        until(lambda: asking(port_of(listener))[0] == 200)
        begin = time.monotonic()
        assert replica.stop() == 0
    assert 0.9 < time.monotonic() - begin < 5


def test_a_second_signal_ends_it_at_once(spawn, listener, until, asking):
    replica = spawn(listeners=[listener], SHUTDOWN_DRAIN="60000")
    until(lambda: asking(port_of(listener))[0] == 200)
    replica.popen.send_signal(signal.SIGTERM)
    until(lambda: asking(port_of(listener))[0] == 503)
    begin = time.monotonic()
    replica.popen.send_signal(signal.SIGTERM)
    assert replica.popen.wait(10) == 130
    assert time.monotonic() - begin < 3


def test_wrong_settings_are_one_line_with_all_reasons(spawn):
    refused = spawn(PORT="x", LOG_LEVEL="loud", REDIS_URL="http://x", JWT_SECRET="top secret value")
    assert refused.popen.wait(20) == 2
    (line,) = refused.lines()
    assert [problem.split("=")[0].split(":")[0] for problem in line["problems"]] == [
        "LOG_LEVEL",
        "PORT",
        "REDIS_URL",
        "JWT_SECRET",
    ]
    assert "top secret value" not in refused.log.read_text()


def test_a_busy_port_is_named(spawn, listener):
    refused = spawn(HOST="127.0.0.1", PORT=str(port_of(listener)))
    assert refused.popen.wait(20) == 1
    assert f"port {port_of(listener)} on 127.0.0.1 is in use" in refused.lines()[0]["reason"]


def test_a_descriptor_that_is_no_listener_is_named(spawn):
    left, right = socket.socketpair()
    with left, right:
        refused = spawn(listeners=[left])
        assert refused.popen.wait(20) == 1
    assert "descriptor 3 is not a listening socket" in refused.lines()[0]["reason"]


def test_it_starts_without_database_and_redis(spawn, listener, until, asking, tmp_path):
    nothing = f"unix://{tmp_path}/none.sock"
    replica = spawn(listeners=[listener], DATABASE_URL="postgresql://x@127.0.0.1:1/x", REDIS_URL=nothing)
    until(lambda: asking(port_of(listener))[0] == 503)
    assert asking(port_of(listener), "/health/live")[0] == 200
    assert replica.stop() == 0


def test_logs_are_one_json_line_an_event_with_the_correlation_id(spawn, listener, until, asking):
    replica = spawn(listeners=[listener])
    until(lambda: asking(port_of(listener))[0] == 200)
    connection = http.client.HTTPConnection(*listener.getsockname(), timeout=5)
    secret = "Bearer some.secret.token"
    connection.request("GET", "/v1/auth/me?token=abc", headers={"X-Request-ID": "r-1", "Authorization": secret})
    assert connection.getresponse().getheader("X-Request-ID") == "r-1"
    connection.close()
    replica.stop()
    text = replica.log.read_text()
    assert all(line.startswith("{") for line in text.splitlines())
    (request,) = [line for line in replica.lines() if line.get("correlation_id") == "r-1"]
    assert (request["event"], request["status"], request["path"]) == ("request", 401, "/v1/auth/me")
    assert "some.secret" not in text
    assert "token=abc" not in text


@pytest.mark.flips("mode")
def test_api_and_worker_together(spawn, listener, until, asking):
    both = spawn(listeners=[listener], MODE="all")
    until(lambda: any(line["event"] == "worker started" for line in both.lines()))
    until(lambda: asking(port_of(listener))[0] == 200)
    assert both.stop() == 0
    assert {"worker stopped", "stopped"} <= {line["event"] for line in both.lines()}


def test_together_one_end_is_the_other_ones_end(spawn, listener, until, asking):
    both = spawn(listeners=[listener], MODE="all")
    until(lambda: any(line["event"] == "worker started" for line in both.lines()))
    import psutil

    (worker,) = [
        child for child in psutil.Process(both.popen.pid).children() if "spawn_main" in " ".join(child.cmdline())
    ]
    worker.kill()
    assert both.popen.wait(20) == 1
    assert any(line["event"] == "the worker ended by itself" for line in both.lines())


def test_together_a_killed_api_takes_the_worker_along(spawn, listener, until):
    both = spawn(listeners=[listener], MODE="all")
    until(lambda: any(line["event"] == "worker started" for line in both.lines()))
    import psutil

    children = psutil.Process(both.popen.pid).children()
    both.popen.kill()
    assert psutil.wait_procs(children, timeout=20)[1] == []


@pytest.mark.parametrize("mode", ["migrate"])
def test_a_migration_ends(spawn, mode):
    done = spawn(MODE=mode)
    assert done.popen.wait(20) == 0
    assert done.lines()[-1]["event"] == "schema is up to date"
