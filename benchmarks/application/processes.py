"""Start, pin, weigh and end the processes that are measured, with all of their children."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from types import TracebackType

import psutil

ROOT = Path(__file__).resolve().parents[2]
_STOP_SECONDS = 20.0


class BenchmarkError(Exception):
    """Something that was to be measured did not run; the message says what, and shows its last output."""


@cache
def cores() -> list[int]:
    """The cores that this benchmark may use, in order; empty where the system cannot pin a process."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def server_core() -> int | None:
    """The core of the API that is measured, whichever it is."""
    return cores()[0] if cores() else None


def load_core() -> int | None:
    """The core of the load generator and of the receiver: another one, if there is another."""
    return cores()[-1] if cores() else None


@contextmanager
def pinned(core: int | None) -> Iterator[None]:
    """What this thread starts in the block runs on that core from its first moment on; None pins nothing."""
    if core is None:
        yield
        return
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores())


class Running:
    """A process in a group of its own. `core` pins it and its children."""

    def __init__(
        self, command: Sequence[str], *, environment: Mapping[str, str], log: Path, core: int | None = None
    ) -> None:
        self.log = log
        self._name = " ".join(command)
        with log.open("ab") as out, pinned(core):
            self.started = time.time()
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(ROOT), **environment},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def __enter__(self) -> Running:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, done: Callable[[], bool], *, seconds: float, what: str, interval: float = 0.02) -> None:
        """Until `done`; raises BenchmarkError when the process ends or the time is over first."""
        deadline = time.monotonic() + seconds
        while not done():
            if self._process.poll() is not None:
                raise BenchmarkError(f"{self._name} ended ({self._process.returncode}) before {what}\n{self._tail()}")
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self._name}: no {what} within {seconds:.0f} s\n{self._tail()}")
            time.sleep(interval)

    def stop(self) -> None:
        """As an orchestrator would: SIGTERM, and SIGKILL to the whole tree when that does not help."""
        tree = _tree(self.pid)
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        _kill(tree)
        self._process.wait()

    def kill(self) -> None:
        """SIGKILL to the process and all of its children at once."""
        _kill(_tree(self.pid))
        self._process.wait()

    def processor_seconds(self) -> float:
        """Used by the process and its living children so far: what a busy machine changes least."""
        times = [process.cpu_times() for process in _tree(self.pid)]
        return sum(used.user + used.system for used in times)

    def _tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _kill(tree: Sequence[psutil.Process]) -> None:
    for process in tree:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(list(tree), timeout=_STOP_SECONDS)


def tree_memory(pid: int) -> int:
    """Proportional set size of the tree in bytes: a page that several processes share counts once. Where the system
    does not tell it, the resident set size, which counts it once a process."""
    total = 0
    for process in _tree(pid):
        with suppress(psutil.Error, OSError):
            total += _proportional(process.pid) or process.memory_info().rss
    return total


def _proportional(pid: int) -> int | None:
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:")), None)


class PeakMemory:
    """Looks at a process tree a few times a second, for as long as the block lasts; `peak` in bytes."""

    def __init__(self, *pids: int, interval: float = 0.25) -> None:
        self.peak = 0
        self._pids, self._interval = pids, interval
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory", daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.peak = max(self.peak, sum(tree_memory(pid) for pid in self._pids))
            if self._end.wait(self._interval):
                return
