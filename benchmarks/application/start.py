"""From the start of a process to its first use: an API that answers /health with 200, a worker's first effect."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.application import journal, load
from benchmarks.application.generator import Order
from benchmarks.application.load import Generator
from benchmarks.application.processes import Running
from benchmarks.application.servers import Servers
from benchmarks.application.systems import START_SECONDS, Ours, Peer, System

_INTERVAL = 0.005


@dataclass
class Runs:
    """Seconds, a value a round."""

    name: str
    api: list[float] = field(default_factory=list)
    worker: list[float] = field(default_factory=list)


def measure(servers: Servers, *, rounds: int) -> list[Runs]:
    systems: list[type[System]] = [Ours, Peer]
    table = {system: Runs(system.name) for system in systems}
    for number in range(rounds + 1):
        print(f"cold start, round {number} of {rounds}", flush=True)
        for system in systems:
            api, worker = _round(system(servers))
            # The first only fills the file cache and writes the byte code.
            if number:
                table[system].api.append(api)
                table[system].worker.append(worker)
    return list(table.values())


def _round(system: System) -> tuple[float, float]:
    with load.receiver(system.servers) as receiver:
        with system.api() as api:
            system.wait_until_healthy(api, interval=_INTERVAL)
            healthy = system.healthy_at - api.started
            order = Order(
                port=system.port,
                token=system.token(),
                receiver=receiver.url,
                prefix="start",
                requests=1,
                connections=1,
            )
            Generator(system.servers, order).answers()

        def arrived() -> bool:
            return bool(journal.read(receiver.path))

        with system.worker() as worker:
            worker.wait_for(arrived, seconds=START_SECONDS, what="its first delivery", interval=_INTERVAL)
            first = _first(receiver, worker)
    system.drop()
    return healthy, first


def _first(receiver: load.Receiver, worker: Running) -> float:
    return min(note.at for note in journal.read(receiver.path)) - worker.started
