"""A worker that has more than a thousand descriptors open, as one of a thousand jobs at once has."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]


@pytest.fixture
def taken() -> Iterator[list[int]]:
    """Every descriptor up to 1,100, for a worker to be born with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if 0 <= hard < 4096:
        pytest.skip(f"this process may have {hard} descriptors, and the test needs 4,096")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    opened = [os.open(os.devnull, os.O_RDONLY)]
    while opened[-1] < 1100:
        opened.append(os.dup(opened[0]))
    yield list(range(3, opened[-1] + 1))
    for descriptor in opened:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_it_delivers_over_kept_connections(world: Any, workers: Any, receiver: Any, taken: list[int]) -> None:
    """select refused descriptors from 1,024 on, and failed every delivery; nothing else between Postgres, Redis and
    the receiver may mind them either."""
    worker = workers.start(pass_fds=taken)
    for _ in range(5):
        delivery_id, _ = world.add(f"{receiver.url}/")
        world.settled(delivery_id, "delivered")
        assert [attempt.error for attempt in world.attempts(delivery_id)] == [None]
    assert not worker.events("job failed unexpectedly")
    sockets = [int(name) for name in os.listdir(f"/proc/{worker.pid}/fd") if _is_socket(worker.pid, name)]  # noqa: PTH208
    assert min(number for number in sockets if number not in taken) >= 1024
    worker.terminate()
    assert worker.wait() == 0


def _is_socket(pid: int, name: str) -> bool:
    try:
        return os.readlink(f"/proc/{pid}/fd/{name}").startswith("socket:")  # noqa: PTH115
    except FileNotFoundError:
        return False
