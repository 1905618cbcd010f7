"""A thread or task whose end ends its process, and the threads of a worker's steps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from app import fail_fast
from app.queue.stages import Crew, Stage


@pytest.fixture
def ended() -> Iterator[threading.Event]:
    """Set when this process was to end."""
    before, told = threading.excepthook, threading.Event()
    fail_fast.install(told.set)
    yield told
    threading.excepthook = before


def fails(*_: Any) -> None:
    raise RuntimeError("nobody foresaw this")


def leaves(*_: Any) -> None:
    raise SystemExit(3)


@pytest.mark.parametrize("work", [fails, leaves])
def test_any_thread_that_fails_ends_the_process(ended: threading.Event, work: Any) -> None:
    threading.Thread(target=work, daemon=True).start()

    assert ended.wait(10)


def test_a_thread_that_is_done_does_not(ended: threading.Event) -> None:
    thread = threading.Thread(target=int, daemon=True)
    thread.start()
    thread.join()

    assert not ended.is_set()


@pytest.mark.parametrize(("how", "ends"), [("fails", True), ("returns", False), ("cancelled", False)])
def test_so_does_a_task(ended: threading.Event, how: str, ends: bool) -> None:
    async def work() -> None:
        if how == "fails":
            raise RuntimeError("nobody foresaw this")
        if how == "cancelled":
            await asyncio.Event().wait()

    async def main() -> None:
        task = asyncio.create_task(work())
        fail_fast.watch(task)
        await asyncio.sleep(0)
        if how == "cancelled":
            task.cancel()
        await asyncio.wait({task})
        await asyncio.sleep(0)

    asyncio.run(main())

    assert ended.is_set() == ends


def test_a_stage_does_not_outlive_what_its_work_does_not_handle(ended: threading.Event) -> None:
    stage: Stage[int] = Stage("stage", fails, most=10)
    assert stage.is_alive
    assert stage.busy_since is None

    stage.put([1])

    assert ended.wait(10)
    stage._thread.join(10)
    assert not stage.is_alive
    assert stage.busy_since is not None, "its work is still to be done"


def test_a_crew_knows_over_what_it_failed(ended: threading.Event) -> None:
    crew: Crew[int] = Crew("crew", lambda item: fails() if item == 2 else None, size=2)

    crew.put([1, 2, 3])

    assert ended.wait(10)
    assert crew.failed == [2]
