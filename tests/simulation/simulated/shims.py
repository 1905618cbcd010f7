"""What the program finds in place of `threading`, `time`, `random` and `queue` while it is simulated."""

from __future__ import annotations

import queue as real_queue
import random as real_random
import threading as real_threading
import time as real_time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from greenlet import GreenletExit

from simulated.scheduler import EPOCH, Scheduler, Task

_scheduler: Scheduler | None = None


def use(scheduler: Scheduler | None) -> None:
    """The scheduler of the simulation that runs now."""
    global _scheduler
    _scheduler = scheduler


def current() -> Scheduler:
    assert _scheduler is not None
    return _scheduler


class Lock:
    def __init__(self) -> None:
        self._owner: Task | None = None
        self._waiters: deque[Task] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        scheduler = current()
        scheduler.point()
        task = scheduler.alive()
        end = None if timeout is None or timeout < 0 else scheduler.now + timeout
        while self._owner is not None:
            if not blocking or (end is not None and scheduler.now >= end):
                return False
            self._waiters.append(task)
            scheduler.wait(None if end is None else end - scheduler.now)
            if task in self._waiters:
                self._waiters.remove(task)
        self._owner = task
        return True

    def release(self) -> None:
        self._owner = None
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.process.dead:
                current().wake(waiter)
                break

    def locked(self) -> bool:
        return self._owner is not None

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class RLock(Lock):
    def __init__(self) -> None:
        super().__init__()
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if self._owner is not None and self._owner is current().current:
            self._count += 1
            return True
        if super().acquire(blocking, timeout):
            self._count = 1
            return True
        return False

    def release(self) -> None:
        self._count -= 1
        if self._count <= 0:
            super().release()


class Condition:
    def __init__(self, lock: Any = None) -> None:
        self._lock = lock or RLock()
        self._waiters: deque[Task] = deque()

    def __enter__(self) -> bool:
        return bool(self._lock.acquire())

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def acquire(self, *args: Any) -> bool:
        return bool(self._lock.acquire(*args))

    def release(self) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        scheduler = current()
        task = scheduler.alive()
        self._waiters.append(task)
        self._lock.release()
        woken = scheduler.wait(timeout)
        if task in self._waiters:
            self._waiters.remove(task)
        self._lock.acquire()
        return woken

    def wait_for(self, predicate: Callable[[], Any], timeout: float | None = None) -> Any:
        end = None if timeout is None else current().now + timeout
        while not (result := predicate()):
            left = None if end is None else end - current().now
            if left is not None and left <= 0:
                break
            self.wait(left)
        return result

    def notify(self, n: int = 1) -> None:
        for _ in range(n):
            if not self._waiters:
                return
            current().wake(self._waiters.popleft())

    def notify_all(self) -> None:
        self.notify(len(self._waiters))


class Event:
    def __init__(self) -> None:
        self._set = False
        self._waiters: list[Task] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        waiters, self._waiters = self._waiters, []
        for task in waiters:
            current().wake(task)

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        scheduler = current()
        scheduler.point()
        if not self._set and (timeout is None or timeout > 0):
            task = scheduler.alive()
            self._waiters.append(task)
            scheduler.wait(timeout)
            if task in self._waiters:
                self._waiters.remove(task)
        return self._set


class SimpleQueue:
    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._waiters: deque[Task] = deque()

    def __class_getitem__(cls, _: Any) -> type[SimpleQueue]:
        return cls

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        scheduler = current()
        if scheduler.current is not None:
            scheduler.point()
        self._items.append(item)
        if self._waiters:
            scheduler.wake(self._waiters.popleft())

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        scheduler = current()
        scheduler.point()
        end = None if timeout is None else scheduler.now + timeout
        while not self._items:
            if not block or (end is not None and scheduler.now >= end):
                raise real_queue.Empty
            task = scheduler.alive()
            self._waiters.append(task)
            scheduler.wait(None if end is None else end - scheduler.now)
            if task in self._waiters:
                self._waiters.remove(task)
        return self._items.popleft()

    def get_nowait(self) -> Any:
        if not self._items:
            raise real_queue.Empty
        return self._items.popleft()

    def qsize(self) -> int:
        return len(self._items)

    def empty(self) -> bool:
        return not self._items


class Thread:
    """What escapes one is its process's hook's, as in Python."""

    def __init__(
        self,
        group: None = None,
        target: Callable[..., object] | None = None,
        name: str | None = None,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
        *,
        daemon: bool | None = None,
    ) -> None:
        self.name, self.daemon = name or "thread", bool(daemon)
        self._target, self._args, self._kwargs = target, args, dict(kwargs or {})
        self._task: Task | None = None
        self._joining: list[Task] = []

    def start(self) -> None:
        scheduler = current()
        process = scheduler.alive().process
        self._task = scheduler.spawn(process, self.name, self._main)

    def _main(self) -> None:
        process = current().alive().process
        try:
            self.run()
        except (GreenletExit, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - as threading does
            current().note(f"thread ended by {type(error).__name__}: {error}")
            if process.excepthook is not None:
                process.excepthook(real_threading.ExceptHookArgs((type(error), error, error.__traceback__, self)))
        finally:
            for task in self._joining:
                current().wake(task)

    def run(self) -> None:
        assert self._target is not None
        self._target(*self._args, **self._kwargs)

    def is_alive(self) -> bool:
        return self._task is not None and not self._task.done

    def join(self, timeout: float | None = None) -> None:
        if self.is_alive():
            self._joining.append(current().alive())
            current().wait(timeout)


class _Module:
    """Falls back to the real module."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Threading(_Module):
    Lock, RLock, Condition, Event, Thread = Lock, RLock, Condition, Event, Thread

    @staticmethod
    def current_thread() -> Any:
        task = current().current
        return Thread(name=task.name if task else "scheduler")

    @property
    def excepthook(self) -> Any:
        process = current().alive().process
        return process.excepthook or (lambda _: None)

    @excepthook.setter
    def excepthook(self, hook: Callable[[Any], None]) -> None:
        current().alive().process.excepthook = hook


class _Time(_Module):
    @staticmethod
    def monotonic() -> float:
        return current().now

    perf_counter = monotonic

    @staticmethod
    def time() -> float:
        return EPOCH + current().now

    @staticmethod
    def sleep(seconds: float) -> None:
        current().sleep(seconds)


class _Random(_Module):
    def __getattr__(self, name: str) -> Any:
        if name == "SystemRandom":
            return lambda: current().rng
        return getattr(current().rng, name)


class _Queue(_Module):
    SimpleQueue = SimpleQueue


class _Os(_Module):
    @staticmethod
    def urandom(size: int) -> bytes:
        return current().rng.randbytes(size)


threading = _Threading(real_threading)
time = _Time(real_time)
random = _Random(real_random)
queue = _Queue(real_queue)
