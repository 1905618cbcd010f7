"""Faults under load: what was accepted with 202 is compared with what took effect.

At each system's own default settings, one run a fault: the API and the worker killed at once and started again, and a
Redis that forgets everything (a failover to an empty replica, an instance replaced) with a backlog on it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.application import load
from benchmarks.application.figures import Delivered
from benchmarks.application.generator import Order
from benchmarks.application.load import Generator
from benchmarks.application.processes import Running
from benchmarks.application.servers import Servers
from benchmarks.application.systems import Ours, Peer, System

RATE = 150.0
SECONDS = 8.0
RECEIVER_MILLISECONDS = 100
"""Ten at once are then 100 a second at most: a backlog grows while the load lasts."""
_FAULT_AFTER = 3.0
_CAP_SECONDS = 180.0
_QUIET_SECONDS = 100.0
"""Without progress for so long nothing more is expected: longer than any lease, stalled check or clean-up takes."""


@dataclass(frozen=True)
class Trial:
    """`lost` were accepted and had no effect; `stuck` rows wait for ever though their request was never accepted;
    `repeated` reached the receiver twice, with the same webhook-id. `seconds` from the fault to the last effect."""

    name: str
    fault: str
    accepted: int
    lost: int
    stuck: int
    repeated: int
    seconds: float


@dataclass
class _Processes:
    system: System
    api: Running
    worker: Running

    def kill_both(self) -> None:
        self.api.kill()
        self.worker.kill()
        self.api, self.worker = self.system.api(), self.system.worker()

    def empty_redis(self) -> None:
        self.system.servers.empty()

    def stop(self) -> None:
        self.api.stop()
        self.worker.stop()


FAULTS: dict[str, Callable[[_Processes], None]] = {
    "API and worker killed": _Processes.kill_both,
    "Redis emptied": _Processes.empty_redis,
}


def measure(servers: Servers) -> list[Trial]:
    found = []
    for fault in FAULTS:
        for system in (Ours, Peer):
            print(f"under load: {fault}, {system.name}", flush=True)
            found.append(_trial(system(servers), fault))
    return found


def _trial(system: System, fault: str) -> Trial:
    with load.receiver(system.servers, delay=RECEIVER_MILLISECONDS) as receiver:
        processes = _Processes(system, system.api(), system.worker())
        try:
            system.wait_until_healthy(processes.api)
            order = Order(
                port=system.port,
                token=system.token(),
                receiver=receiver.url,
                prefix="crash",
                requests=round(RATE * SECONDS),
                connections=32,
                rate=RATE,
            )
            generator = Generator(system.servers, order)
            time.sleep(_FAULT_AFTER)
            FAULTS[fault](processes)
            at = time.time()
            accepted = {str(answer.id) for answer in generator.answers() if answer.status == 202}
            completed = _wait(system, accepted, until=at + _CAP_SECONDS)
            rows = system.count_rows()
        finally:
            processes.stop()
        received = receiver.received()
    system.drop()
    lost = accepted - completed.keys()
    return Trial(
        name=system.name,
        fault=fault,
        accepted=len(accepted),
        lost=len(lost),
        stuck=rows - len(completed) - len(lost),
        repeated=Delivered.check(accepted, received).repeated,
        seconds=max(completed.values(), default=at) - at,
    )


def _wait(system: System, accepted: set[str], *, until: float) -> dict[str, float]:
    """The deliveries that were completed, when all are or nothing more happens."""
    completed, last_progress = system.completed(), time.time()
    while accepted - completed.keys() and time.time() < min(until, last_progress + _QUIET_SECONDS):
        time.sleep(0.5)
        now = system.completed()
        if len(now) > len(completed):
            last_progress = time.time()
        completed = now
    return completed
