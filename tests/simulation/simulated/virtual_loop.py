"""An asyncio loop that is one thread of the simulation: its clock is virtual, and it waits for the scheduler."""

from __future__ import annotations

import asyncio
from asyncio import base_events, events
from collections.abc import Callable
from typing import Any

from simulated.scheduler import Scheduler, Task


class _Selector:
    """Waits for timers and for what other threads ask of the loop; there are no sockets."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        self._loop.wait(timeout)
        return []

    def get_map(self) -> dict[int, Any]:
        return {}

    def close(self) -> None:
        pass


class VirtualLoop(base_events.BaseEventLoop):
    def __init__(self, scheduler: Scheduler, *, turn: float) -> None:
        """`turn`: seconds that a turn takes, at most."""
        super().__init__()
        self.turn = turn
        self._scheduler = scheduler
        self._selector = _Selector(self)
        self._asked = False
        self._task: Task | None = None
        self.set_exception_handler(lambda _, context: scheduler.note(f"loop: {context.get('message')}"))

    def __del__(self) -> None:
        """A process that was killed closes nothing."""

    def time(self) -> float:
        return self._scheduler.now

    def wait(self, timeout: float | None) -> None:
        scheduler = self._scheduler
        # Others have loops in the same thread of the operating system.
        events._set_running_loop(None)
        try:
            if (timeout is not None and timeout <= 0) or self._asked:
                # Time passes in a turn: what comes from outside may come between two.
                scheduler.sleep(scheduler.rng.random() * self.turn)
            else:
                self._task = scheduler.alive()
                scheduler.wait(timeout)
                self._task = None
            self._asked = False
        finally:
            events._set_running_loop(self)

    def tell(self, call: Callable[[], object]) -> None:
        """Have it called in the loop; from the scheduler or another thread."""
        self.call_soon(call)
        self._write_to_self()

    def _write_to_self(self) -> None:
        self._asked = True
        if self._task is not None:
            self._scheduler.wake(self._task)

    def _process_events(self, event_list: Any) -> None:
        pass

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109
        pass


def run(loop: VirtualLoop, main: Callable[[], Any]) -> None:
    """In a thread of the simulation, until the coroutine ends."""
    serving = main()
    try:
        loop.run_until_complete(serving)
    finally:
        serving.close()
        events._set_running_loop(None)
        _forget(loop)


def _forget(loop: VirtualLoop) -> None:
    """Tasks of a process that is gone: nothing of them may run, not even their last words at the interpreter's end."""
    for task in asyncio.all_tasks(loop):
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    loop._ready.clear()  # type: ignore[attr-defined]
    loop._scheduled.clear()  # type: ignore[attr-defined]
