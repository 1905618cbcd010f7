"""The whole local stack by the `slipway` command, from nothing to traffic and back."""

from __future__ import annotations

import contextlib
import http.client
import http.server
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[3]
PASSWORD = "correct horse battery staple"
pytestmark = pytest.mark.local


class Stack:
    """A project of its own, and the command that runs it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.settled = False
        """Whether the last `up` worked and nothing was touched since."""
        for name in ("stacks", "app"):
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", ".venv"))
        for name in ("Pulumi.yaml", "Pulumi.local.yaml"):
            shutil.copy(ROOT / name, folder / name)
        self.configure("api.port", port)
        # No load balancer to wait for, and more requests from one address than a client would send.
        self.configure("api.drain_timeout", "300ms")
        self.configure("features.rate_limit", False)

    def start(self, *words: str) -> subprocess.Popen[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PULUMI_", "SLIPWAY_"))}
        return subprocess.Popen(
            [sys.executable, "-m", "infra.cli", *words],
            cwd=self.folder,
            env={**environment, "SLIPWAY_ENGINE": "inprocess", "CI": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, *words: str, code: int = 0) -> str:
        with self.start(*words) as process:
            output, _ = process.communicate(timeout=120)
        assert process.returncode == code, output
        return output

    def up(self, *, code: int = 0) -> str:
        self.settled = False
        output = self.run("up", "--yes", code=code)
        self.settled = code == 0
        return output

    def configure(self, key: str, value: object) -> None:
        """Write one setting into the stack file, faster than ``slipway config set`` would."""
        self.settled = False
        yaml, path = YAML(), self.folder / "Pulumi.local.yaml"
        tree = yaml.load(path)
        group, name = key.split(".")
        tree["config"].setdefault(f"slipway:{group}", {})[name] = value
        yaml.dump(tree, path)

    def pids(self, service: str) -> list[int]:
        rows = json.loads((self.folder / ".slipway" / "local" / service / "replicas.json").read_text())
        return [pid for pid, _ in rows]

    def supervisor(self, service: str) -> int:
        return int(json.loads((self.folder / ".slipway" / "local" / service / "lock").read_text())["pid"])

    def processes(self) -> list[psutil.Process]:
        """Every living process of this stack."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                text = " ".join([*process.cmdline(), process.cwd()])
                if str(self.folder) in text and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    @contextmanager
    def edited(self, file: str, line: str) -> Iterator[None]:
        """The file with one more line; afterwards as it was."""
        path = self.folder / file
        text = path.read_text()
        path.write_text(f"{text}\n{line}\n")
        try:
            yield
        finally:
            path.write_text(text)
            self.settled = False

    def call(self, method: str, path: str, body: object = None, *, token: str = "") -> Any:
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json", **({"Authorization": f"Bearer {token}"} if token else {})},
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.load(answer)

    def login(self) -> str:
        account = {"email": "ada@example.com", "password": PASSWORD}
        with contextlib.suppress(urllib.error.HTTPError):  # the account is there after the first time
            self.call("POST", "/v1/auth/register", account)
        return str(self.call("POST", "/v1/auth/login", account)["access_token"])


@pytest.fixture
def make_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Stack]]:
    made: list[Stack] = []

    def make() -> Stack:
        with socket.create_server(("127.0.0.1", 0)) as sock:
            port = sock.getsockname()[1]
        made.append(Stack(tmp_path_factory.mktemp("project"), port))
        return made[-1]

    yield make
    for stack in made:
        take_down(stack)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """One stack for the tests that leave it as they found it; each begins with it up."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    stack = Stack(tmp_path_factory.mktemp("project"), port)
    yield stack
    take_down(stack)


@pytest.fixture
def up(shared: Stack) -> Stack:
    if not shared.settled:
        shared.up()
    return shared


def take_down(stack: Stack) -> None:
    if not stack.processes():
        return
    try:
        stack.run("destroy", "--yes")
    finally:
        for process in stack.processes():
            process.kill()


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[bytes]]]:
    """A webhook receiver: its URL and the bodies that it got."""
    got: list[bytes] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/hook", got
        server.shutdown()
        thread.join()


def delivered(stack: Stack, url: str) -> dict[str, Any]:
    """Post a delivery and wait until the worker is done with it."""
    token = stack.login()
    accepted = stack.call("POST", "/v1/deliveries", {"url": url, "payload": {"n": 1}}, token=token)
    deadline = time.monotonic() + 15
    while True:
        found: dict[str, Any] = stack.call("GET", f"/v1/deliveries/{accepted['id']}", token=token)
        if found["status"] not in ("pending", "delivering"):
            return found
        assert time.monotonic() < deadline, found
        time.sleep(0.02)


@contextmanager
def load(stack: Stack, token: str) -> Iterator[Counter[object]]:
    """Requests with a token over kept-alive and over new connections, counted by status or failure."""
    seen: Counter[object] = Counter()
    ending = threading.Event()
    headers = {"Authorization": f"Bearer {token}"}

    def ask(*, keep: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=10)
        while not ending.is_set():
            try:
                connection.request("GET", "/v1/auth/me", headers=headers)
                answer = connection.getresponse()
                answer.read()
                seen[answer.status] += 1
            except (OSError, http.client.HTTPException) as error:
                seen[repr(error)] += 1
                connection.close()
            if not keep:
                connection.close()
            time.sleep(0.02)
        connection.close()

    threads = [threading.Thread(target=ask, kwargs={"keep": keep}) for keep in (True, True, False)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        ending.set()
        for thread in threads:
            thread.join()


def test_from_nothing_to_a_delivered_webhook(up: Stack, receiver: tuple[str, list[bytes]]) -> None:
    url, got = receiver
    delivery = delivered(up, url)
    assert delivery["status"] == "delivered"
    assert [attempt["status_code"] for attempt in delivery["attempts"]] == [204]
    assert len(got) == 1


def test_up_again_changes_nothing(up: Stack) -> None:
    before = {service: up.pids(service) for service in ("postgres", "redis", "api", "worker")}
    started = time.monotonic()
    output = up.up()
    assert time.monotonic() - started < 10
    assert "unchanged" in output
    assert {service: up.pids(service) for service in before} == before


def test_secrets_are_private_and_show_nowhere(up: Stack) -> None:
    folder = up.folder / ".slipway" / "local"
    values = [path.read_text() for path in folder.glob("*/secrets/*")]
    assert any("postgresql://" in value for value in values)
    assert {oct(path.stat().st_mode & 0o077) for path in folder.rglob("*") if not path.is_symlink()} == {"0o0"}
    texts = [up.run("up", "--yes"), up.run("outputs"), up.run("plan", "--format", "json"), up.run("status")]
    texts += [path.read_text(errors="replace") for path in folder.glob("*/log*")]
    texts += [" ".join(process.cmdline() + list(process.environ().values())) for process in up.processes()]
    passwords = [value.split("@")[0].split(":")[-1] for value in values if "://" in value]
    keys = [key for value in values if value.startswith("{") for key in json.loads(value)["keys"].values()]
    for secret in (*passwords, *keys):
        assert not [text for text in texts if secret in text]


def test_rotations_and_new_code_roll_with_no_failed_request(up: Stack, receiver: tuple[str, list[bytes]]) -> None:
    token = up.login()
    before = {service: up.pids(service) for service in ("postgres", "redis", "api", "worker")}
    with load(up, token) as seen:
        for key in ("jwt", "db", "redis", "migrate", "master"):
            up.configure(f"rotation.{key}", 2)
        with up.edited("app/__init__.py", "# edited"):
            up.up()
        up.configure("api.replicas", 3)
        up.up()
    up.configure("api.replicas", 2)
    up.up()
    assert set(seen) == {200}
    assert sum(seen.values()) > 100
    assert up.pids("postgres") == before["postgres"]
    assert up.pids("redis") == before["redis"]
    assert not set(up.pids("api")) & set(before["api"])
    assert not set(up.pids("worker")) & set(before["worker"])
    assert delivered(up, receiver[0])["status"] == "delivered"


def test_a_second_step_of_the_signing_key_is_refused_while_tokens_live(make_stack: Callable[[], Stack]) -> None:
    stack = make_stack()
    stack.up()
    token = stack.login()
    stack.configure("rotation.jwt", 2)
    stack.up()
    before = stack.pids("api")

    stack.configure("rotation.jwt", 3)
    output = " ".join(stack.up(code=1).split())
    assert "drops key g1, whose tokens may live until" in output
    assert "set rotation.jwt_min to 2" in output
    assert stack.pids("api") == before
    assert stack.call("GET", "/v1/auth/me", token=token)["email"] == "ada@example.com"

    stack.configure("rotation.jwt_min", 2)
    assert "whoever holds such a token is logged out" in " ".join(stack.up().split())
    with pytest.raises(urllib.error.HTTPError) as refused:
        stack.call("GET", "/v1/auth/me", token=token)
    with refused.value as answer:
        assert answer.code == 401


def test_a_version_that_does_not_start_leaves_the_old_one_serving(up: Stack) -> None:
    token = up.login()
    before = up.pids("api")
    with load(up, token) as seen, up.edited("app/web/server.py", 'raise SystemExit("the flux is broken")'):
        output = up.up(code=1)
    assert "the flux is broken" in output
    assert "ended with exit code 1 before it was ready" in output
    assert up.pids("api") == before
    assert set(seen) == {200}


def test_a_failing_migration_changes_nothing_that_serves(up: Stack) -> None:
    before = {service: up.pids(service) for service in ("api", "worker")}
    with up.edited("app/migrations/runner.py", 'raise SystemExit("cannot migrate")'):
        output = up.up(code=1)
    assert "The migration failed with exit code 1" in output
    assert "cannot migrate" in output
    assert {service: up.pids(service) for service in before} == before


def test_the_next_up_repairs_what_died(up: Stack, receiver: tuple[str, list[bytes]]) -> None:
    untouched = up.pids("worker")
    for service in ("postgres", "api"):
        os.kill(up.supervisor(service), signal.SIGKILL)
    up.run("status", code=1)
    up.up()
    assert delivered(up, receiver[0])["status"] == "delivered"
    assert up.pids("worker") == untouched


def test_two_at_once_exclude_each_other(up: Stack) -> None:
    up.configure("api.pool_size", 6)
    runs = [up.start("up", "--yes") for _ in range(2)]
    outputs = [run.communicate(timeout=60)[0] for run in runs]
    assert sorted(run.returncode for run in runs) == [0, 1], outputs
    assert "lock" in "".join(outputs)
    assert up.call("GET", "/health")["status"] == "healthy"


def test_logs_of_all_services_carry_their_names(up: Stack) -> None:
    lines = up.run("logs", "--tail", "3").splitlines()
    assert {line.split("|")[0].strip() for line in lines} >= {"api", "worker", "postgres", "redis"}
    assert "no logs of 'nobody'" in up.run("logs", "nobody", code=1)


def test_destroy_leaves_no_process_and_keeps_the_data(up: Stack) -> None:
    token = up.login()
    up.run("destroy", "--yes")
    assert up.processes() == []
    assert list((up.folder / ".slipway" / "local").glob("*/secrets/*")) == []
    up.up()
    with pytest.raises(urllib.error.HTTPError, match="401"):  # signed with a key that is gone
        up.call("GET", "/v1/auth/me", token=token)
    account = {"email": "ada@example.com", "password": PASSWORD}
    assert up.call("POST", "/v1/auth/login", account)["access_token"]


def test_runs_that_failed_or_were_killed_are_taken_up_by_the_next(make_stack: Callable[[], Stack]) -> None:
    stack = make_stack()
    for waited in ("postgres/data.unfinished-*", "redis/lock", "migrate/log"):
        with stack.start("up", "--yes") as process:
            deadline = time.monotonic() + 30
            while not list((stack.folder / ".slipway" / "local").glob(waited)) and process.poll() is None:
                assert time.monotonic() < deadline
                time.sleep(0.002)
            process.kill()
    with socket.create_server(("127.0.0.1", 0)) as other:
        busy = other.getsockname()[1]
        stack.configure("api.port", busy)
        output = stack.up(code=1)
    assert f"port {busy} is in use by process {os.getpid()}" in output
    assert "slipway config set api.port" in output
    stack.configure("api.port", stack.port)
    stack.up()
    assert stack.call("GET", "/health")["status"] == "healthy"
    stack.run("destroy", "--yes", "--delete-data")
    assert stack.processes() == []
    assert not list((stack.folder / ".slipway" / "local").glob("*/data"))


@pytest.mark.cli
@pytest.mark.skipif(not shutil.which("pulumi"), reason="the Pulumi CLI is not on PATH")
def test_the_pulumi_cli_takes_the_stack_over_and_hands_it_back(
    up: Stack, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (up.folder / ".venv").symlink_to(sys.prefix)
    (up.folder / "stacks" / ".venv").symlink_to("../.venv")
    before = {service: up.pids(service) for service in ("postgres", "redis", "api", "worker")}
    environment = {
        **os.environ,
        "PULUMI_BACKEND_URL": f"file://{up.folder}/.slipway",
        "PULUMI_CONFIG_PASSPHRASE": "local",
        "PULUMI_HOME": str(tmp_path_factory.mktemp("pulumi-home")),
        "PULUMI_SKIP_UPDATE_CHECK": "1",
    }

    def pulumi(*words: str) -> str:
        command = ["pulumi", *words, "--stack", "local", "--non-interactive"]
        done = subprocess.run(
            command, cwd=up.folder, env=environment, capture_output=True, text=True, check=False, timeout=150
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pulumi("preview", "--expect-no-changes")
    assert {service: up.pids(service) for service in before} == before
    up.configure("api.replicas", 1)
    pulumi("up", "--yes", "--skip-preview")
    assert len(up.pids("api")) == 1
    now = {service: up.pids(service) for service in before}
    assert "1 updated" not in up.up()
    assert {service: up.pids(service) for service in before} == now
