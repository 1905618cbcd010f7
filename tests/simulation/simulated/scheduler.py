"""Runs the threads of several simulated processes one at a time, in an order that a seed decides, on a virtual clock.

Each thread is a greenlet. Whenever it would wait (a lock, a sleep, an answer from a server) it switches to the
scheduler, which picks one of those that can go on. Nothing else runs meanwhile, so that the same seed gives the same
order. When nobody can go on, the clock moves to the next timer.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from typing import Any

import greenlet

EPOCH = 1_800_000_000.0
"""What `time.time()` is at virtual second 0."""


class Killed(greenlet.GreenletExit):
    """Raised in the threads of a process that is gone: nothing that they still do has an effect."""


class Hang(AssertionError):
    """The simulation came to no end: its clock or its steps ran out."""


class Process:
    """A group of threads that end together."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.exit_code: int | None = None
        """None while it runs, and when it was killed."""
        self.paused_until = 0.0
        self.tasks: list[Task] = []
        self.excepthook: Callable[[Any], None] | None = None
        self.at_end: list[Callable[[], None]] = []
        """Called once when it ends: its connections are closed by the kernel."""


class Task:
    """A thread."""

    __slots__ = ("_glet", "done", "name", "process", "timer", "value", "waiting")

    def __init__(self, name: str, process: Process) -> None:
        self.name, self.process = name, process
        self.waiting = self.done = False
        self.value: Any = None
        self.timer: Timer | None = None
        self._glet: greenlet.greenlet | None = None

    @property
    def label(self) -> str:
        return f"{self.process.name}/{self.name}"


class Timer:
    __slots__ = ("at", "call", "number")

    def __init__(self, at: float, number: int, call: Callable[[], None] | None) -> None:
        self.at, self.number, self.call = at, number, call

    def __lt__(self, other: Timer) -> bool:
        return (self.at, self.number) < (other.at, other.number)

    def cancel(self) -> None:
        self.call = None


class Scheduler:
    def __init__(self, seed: int, *, most_steps: int = 2_000_000) -> None:
        self.rng = random.Random(seed)
        self.now = 1000.0
        self.trace: list[tuple[float, str, str]] = []
        self.current: Task | None = None
        self.steps = 0
        self._most_steps = most_steps
        self._ready: list[Task] = []
        self._timers: list[Timer] = []
        self._numbers = 0
        self._home = greenlet.getcurrent()
        self.preempt = 0.2
        """How often a thread is interrupted where it could go on."""

    # -- for threads

    def spawn(self, process: Process, name: str, work: Callable[[], None]) -> Task:
        task = Task(name, process)

        def run() -> None:
            try:
                work()
            except (greenlet.GreenletExit, SystemExit):
                pass
            finally:
                task.done = True

        task._glet = greenlet.greenlet(run, parent=self._home)
        process.tasks.append(task)
        self._ready.append(task)
        return task

    def alive(self) -> Task:
        """The thread that asks. Raises Killed in one whose process is gone."""
        task = self.current
        assert task is not None, "only threads of the simulation may wait"
        if task.process.dead:
            raise Killed
        return task

    def point(self) -> None:
        """Where another thread may go first."""
        task = self.alive()
        if self.rng.random() < self.preempt:
            self._ready.append(task)
            self._switch(task)

    def sleep(self, seconds: float) -> None:
        self.wait(max(0.0, seconds))

    def wait(self, timeout: float | None = None) -> bool:
        """Until `wake` is called with this thread, or the time is over; whether it was woken."""
        task = self.alive()
        task.waiting, task.value = True, None
        if timeout is not None:
            task.timer = self.call_later(timeout, lambda: self._wake(task, woken=False))
        self._switch(task)
        return task.value is True

    def wake(self, task: Task) -> None:
        self._wake(task, woken=True)

    def _wake(self, task: Task, *, woken: bool) -> None:
        if task.waiting and not task.done:
            task.waiting, task.value = False, woken
            if task.timer is not None:
                task.timer.cancel()
                task.timer = None
            self._ready.append(task)

    def _switch(self, task: Task) -> None:
        self._home.switch()
        if task.process.dead:
            raise Killed

    # -- for everybody

    def call_later(self, seconds: float, call: Callable[[], None]) -> Timer:
        """Called in the scheduler: it must not wait."""
        self._numbers += 1
        timer = Timer(self.now + seconds, self._numbers, call)
        heapq.heappush(self._timers, timer)
        return timer

    def note(self, what: str) -> None:
        """A line of the trace."""
        task = self.current
        self.trace.append((self.now, task.label if task else "-", what))

    def kill(self, process: Process, exit_code: int | None = None) -> None:
        """All its threads vanish at this instant."""
        if process.dead:
            return
        process.dead, process.exit_code = True, exit_code
        for call in process.at_end:
            call()
        self.call_later(0.0, lambda: self._bury(process))

    def _bury(self, process: Process) -> None:
        """Unwinds the threads of a process that is gone, so that nothing holds on to them."""
        for task in process.tasks:
            if not task.done and task._glet is not None:
                if task in self._ready:
                    self._ready.remove(task)
                if task.timer is not None:
                    task.timer.cancel()
                task.waiting = False
                self.current = task
                if task._glet:
                    task._glet.throw(Killed)
                task.done = True
                self.current = None

    # -- the loop

    def run(self, until: Callable[[], bool], *, bound: float) -> None:
        """Until the condition holds, which is looked at whenever the clock moves. Raises Hang at virtual second
        `bound`."""
        while True:
            while self._ready:
                self._step()
            if until():
                return
            while self._timers and self._timers[0].call is None:
                heapq.heappop(self._timers)
            if not self._timers:
                raise Hang("every thread waits for something that nobody does")
            self.now = max(self.now, self._timers[0].at)
            if self.now > bound:
                raise Hang(f"not at its end after {bound:.0f} virtual seconds")
            while self._timers and self._timers[0].at <= self.now:
                call = heapq.heappop(self._timers).call
                if call is not None:
                    call()

    def close(self) -> None:
        """Unwinds whatever still runs."""
        for process in {id(task.process): task.process for task in self._ready}.values():
            process.dead = True
        self._ready.clear()
        self._timers.clear()

    def _step(self) -> None:
        self.steps += 1
        if self.steps > self._most_steps:
            raise Hang(f"not at its end after {self._most_steps} steps")
        ready = self._ready
        index = int(self.rng.random() * len(ready)) if len(ready) > 1 else 0
        task = ready[index]
        ready[index] = ready[-1]
        ready.pop()
        if task.done or task.process.dead:
            return
        if task.process.paused_until > self.now:
            self.call_later(task.process.paused_until - self.now, lambda: ready.append(task))
            return
        self.current = task
        try:
            assert task._glet is not None
            task._glet.switch()
        finally:
            self.current = None
