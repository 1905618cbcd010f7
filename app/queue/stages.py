"""Threads that hand work on to each other: a stage works on batches, a crew on one item a thread.

None of them outlives an error that its work does not handle: see app.fail_fast.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Stage(Generic[T]):
    """One thread that works on whatever has gathered since its last batch: the busier, the larger the batches."""

    def __init__(self, name: str, work: Callable[[Sequence[T]], None], *, most: int, linger: float = 0.0) -> None:
        """`most` items in a batch, gathered for at least `linger` seconds. `work` handles its own errors: what escapes
        it ends the thread."""
        self._work, self._most, self._linger = work, most, linger
        self._gathered: queue.SimpleQueue[Sequence[T]] = queue.SimpleQueue()
        self.busy_since: float | None = None
        """When (monotonic) the batch at hand began; None while there is nothing to do."""
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def put(self, items: Iterable[T]) -> None:
        if batch := list(items):
            self._gathered.put(batch)

    def _run(self) -> None:
        while True:
            batch = list(self._gathered.get())
            self.busy_since = time.monotonic()
            if self._linger:
                time.sleep(self._linger)
            try:
                while len(batch) < self._most:
                    batch += self._gathered.get_nowait()
            except queue.Empty:
                pass
            self._work(batch)
            self.busy_since = None


class Crew(Generic[T]):
    """So many threads, each of which works on one item at a time."""

    def __init__(self, name: str, work: Callable[[T], None], *, size: int) -> None:
        """As for a stage. Threads that are idle end with the process, and so do those that are not."""
        self._work = work
        self.failed: list[T] = []
        """The items whose thread ended over them."""
        self._waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
        for number in range(size):
            threading.Thread(target=self._run, name=f"{name}-{number}", daemon=True).start()

    def put(self, items: Iterable[T]) -> None:
        for item in items:
            self._waiting.put(item)

    def take_back(self) -> list[T]:
        """The items that no thread has begun, the longest waiting first."""
        items: list[T] = []
        try:
            while True:
                items.append(self._waiting.get_nowait())
        except queue.Empty:
            return items

    def _run(self) -> None:
        while True:
            item = self._waiting.get()
            try:
                self._work(item)
            except BaseException:
                self.failed.append(item)
                raise
