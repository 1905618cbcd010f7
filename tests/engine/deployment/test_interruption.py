"""kill -9 and Ctrl-C in the middle of an `up`, on real processes."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.engine.state.snapshot import Snapshot

PROGRAM = """
import time
from pathlib import Path
from pulumi.dynamic import CreateResult, Resource, ResourceProvider

class Provider(ResourceProvider):
    def create(self, props):
        here = Path(props["folder"])
        with (here / "created").open("a") as log:
            log.write(props["name"] + "\\n")
        if props["name"] == "slow":
            (here / "reached").touch()
            deadline = time.monotonic() + 20
            while not (here / "go").exists() and time.monotonic() < deadline:
                time.sleep(0.01)
        return CreateResult("id-" + props["name"], props)

class It(Resource):
    def __init__(self, name, opts=None):
        super().__init__(Provider(), name, {"folder": "{folder}", "name": name}, opts)

first = It("first")
slow = It("slow", Opts(depends_on=[first]))
It("last", Opts(depends_on=[slow]))
"""

RUNNER = """
import os, pickle, sys
from pathlib import Path
from infra.engine.deployment import Deployment
from infra.engine.display import PlainDisplay
from infra.engine.project.project import ProgramConfig, Project
from infra.engine.state.snapshot import Snapshot

root = Path(sys.argv[1])
file = root / "state"

def save(snapshot):
    temporary = root / "state.tmp"
    temporary.write_bytes(pickle.dumps(snapshot))
    temporary.rename(file)

snapshot = pickle.loads(file.read_bytes()) if file.exists() else Snapshot(stack="dev", project="proj")
project = Project(root=root, name="proj", main=root / "stacks", schema={}, stack_files=root)
result = Deployment(
    project=project, stack="dev", config=ProgramConfig({}, frozenset()), snapshot=snapshot, save=save,
    sink=PlainDisplay(sys.stdout),
).up()
sys.exit(0 if result.succeeded else 130 if result.interrupted else 1)
"""


class Process:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.popen: subprocess.Popen[str] | None = None

    def start(self) -> Process:
        self.popen = subprocess.Popen(
            [sys.executable, "-W", "error", self.root / "runner.py", self.root],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        )
        return self

    def wait_for(self, there: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 20
        while not there():
            assert time.monotonic() < deadline, "it did not get there"
            assert self.popen is not None
            assert self.popen.poll() is None, self.popen.communicate()[0]
            time.sleep(0.01)

    def send(self, number: signal.Signals) -> None:
        assert self.popen is not None
        self.popen.send_signal(number)

    def finish(self) -> tuple[int, str]:
        assert self.popen is not None
        output, _ = self.popen.communicate(timeout=30)
        return self.popen.returncode, output

    @property
    def state(self) -> Snapshot:
        snapshot: Snapshot = pickle.loads((self.root / "state").read_bytes())
        return snapshot

    def names(self) -> list[str]:
        return [r.urn.rpartition("::")[2] for r in self.state.resources if "dynamic:Resource" in r.type]


@pytest.fixture
def process(tmp_path: Path, stack: Any) -> Iterator[Process]:
    root = stack.main.parent
    stack.program(PROGRAM.replace("{folder}", str(root)))
    (root / "runner.py").write_text(RUNNER)
    process = Process(root).start()
    process.wait_for((root / "reached").exists)
    yield process
    if process.popen is not None and process.popen.poll() is None:
        process.popen.kill()
        process.popen.communicate()


def test_after_a_kill_the_next_up_creates_again_what_was_under_way(process: Process) -> None:
    process.send(signal.SIGKILL)
    code, _ = process.finish()
    assert code == -signal.SIGKILL
    assert process.names() == ["first"]
    assert [(p.kind, p.resource.urn.rpartition("::")[2]) for p in process.state.pending] == [("creating", "slow")]
    (process.root / "go").touch()
    code, output = process.start().finish()
    assert code == 0, output
    assert "the last run was cut short while creating slow: it is taken up again" in output
    assert process.names() == ["first", "slow", "last"]
    assert process.state.pending == []
    assert (process.root / "created").read_text().split() == ["first", "slow", "slow", "last"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_finishes_what_is_under_way(process: Process, number: signal.Signals) -> None:
    process.send(number)
    assert process.popen is not None
    assert process.popen.stdout is not None
    lines = []
    while not lines or "interrupted: waiting" not in lines[-1]:
        lines.append(process.popen.stdout.readline())
        assert lines[-1], lines
    (process.root / "go").touch()
    code, output = process.finish()
    assert code == 130, output
    assert "Traceback" not in output
    assert "run the command again to go on" in output
    assert process.names() == ["first", "slow"]
    assert process.state.pending == []
    code, output = process.start().finish()
    assert code == 0, output
    assert process.names() == ["first", "slow", "last"]


def test_the_second_interrupt_ends_at_once(process: Process) -> None:
    process.send(signal.SIGINT)
    assert process.popen is not None
    assert process.popen.stdout is not None
    while "interrupted: waiting" not in (line := process.popen.stdout.readline()):
        assert line
    process.send(signal.SIGINT)
    code, output = process.finish()
    assert code == 130
    assert "stopped at once" in output
    assert "Traceback" not in output
    assert [p.kind for p in process.state.pending] == ["creating"]
    assert process.names() == ["first"]
