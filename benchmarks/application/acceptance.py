"""POST, row, queue, worker, row done: how fast two whole applications accept and finish, and how long one takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.application import load
from benchmarks.application.figures import Delivered, percentile
from benchmarks.application.generator import Answer, Order
from benchmarks.application.load import Generator
from benchmarks.application.processes import BenchmarkError, PeakMemory, server_core
from benchmarks.application.servers import Servers
from benchmarks.application.systems import Ours, Peer, System

_DRAIN_SECONDS = 300.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """After `warm_up`: `requests` over `connections` as fast as they are answered, with the worker stopped; the
    worker with that backlog and an idle API; the same requests with both; then `rate` a second for `seconds`."""

    rounds: int = 5
    warm_up: int = 300
    requests: int = 3000
    connections: int = 32
    rate: float = 150.0
    seconds: float = 10.0


@dataclass
class Runs:
    """Of one system, a value a round. Rates a second, memory in bytes, times in milliseconds; those of a processor are
    for one delivery. `refused`: answers of 500 and above; such a request is sent again, and its time runs from the
    first sending."""

    name: str
    accepted_alone: list[float] = field(default_factory=list)
    delivered_alone: list[float] = field(default_factory=list)
    accepted: list[float] = field(default_factory=list)
    delivered: list[float] = field(default_factory=list)
    answer_p50: list[float] = field(default_factory=list)
    answer_p99: list[float] = field(default_factory=list)
    done_p50: list[float] = field(default_factory=list)
    done_p99: list[float] = field(default_factory=list)
    api_processor: list[float] = field(default_factory=list)
    worker_processor: list[float] = field(default_factory=list)
    api_memory: list[int] = field(default_factory=list)
    worker_memory: list[int] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)
    deliveries: list[str] = field(default_factory=list)


def measure(servers: Servers, plan: Plan) -> list[Runs]:
    systems: list[type[System]] = [Ours, Peer]
    table = {system: Runs(system.name) for system in systems}
    for number in range(plan.rounds):
        print(f"acceptance path, round {number + 1} of {plan.rounds}", flush=True)
        # Each goes first in every other round.
        for system in systems if number % 2 == 0 else reversed(systems):
            _round(system(servers), plan, table[system])
    return list(table.values())


def capacity(servers: Servers, plan: Plan) -> float:
    """Requests a second of the generator against a responder that does nothing, on the core where the APIs run."""
    with load.receiver(servers, core=server_core()) as target:
        order = _order(plan, port=target.port, token="x" * 400, receiver=target.url, prefix="capacity")
        return _rate(Generator(servers, order).answers())


def _round(system: System, plan: Plan, runs: Runs) -> None:
    with load.receiver(system.servers) as receiver, system.api() as api:
        system.wait_until_healthy(api)
        token = system.token()
        refusals: list[int] = []

        def ask(prefix: str, requests: int, rate: float = 0.0) -> list[Answer]:
            order = _order(plan, port=system.port, token=token, receiver=receiver.url, prefix=prefix)
            order = Order(**{**vars(order), "requests": requests, "rate": rate})
            answers = Generator(system.servers, order).answers()
            if wrong := [answer.status for answer in answers if answer.status != 202 and answer.status < 500]:
                raise BenchmarkError(f"{system.name} answered {wrong[0]} to {len(wrong)} of {requests} requests")
            accepted = [answer for answer in answers if answer.status == 202]
            if len(accepted) < requests:
                raise BenchmarkError(f"{system.name} accepted {len(accepted)} of {requests} requests in time")
            refusals.append(len(answers) - len(accepted))
            return accepted

        answers = {"warm": ask("warm", plan.warm_up), "backlog": ask("backlog", plan.requests)}
        with PeakMemory(api.pid) as api_memory, system.worker() as worker, PeakMemory(worker.pid) as worker_memory:
            _drain(system, answers)
            before = api.processor_seconds(), worker.processor_seconds()
            answers["saturated"] = ask("saturated", plan.requests)
            _drain(system, answers)
            after = api.processor_seconds(), worker.processor_seconds()
            answers["steady"] = ask("steady", round(plan.rate * plan.seconds), plan.rate)
            _drain(system, answers)
        completed = system.completed()
        received = receiver.received()
    system.drop()

    def done(prefix: str) -> list[float]:
        return [completed[str(answer.id)] for answer in answers[prefix]]

    drained = [*done("warm"), *done("backlog")]
    runs.accepted_alone.append(_rate(answers["backlog"]))
    runs.delivered_alone.append(len(drained) / (max(drained) - min(drained)))
    first = min(answer.sent for answer in answers["saturated"])
    runs.accepted.append(_rate(answers["saturated"]))
    runs.delivered.append(plan.requests / (max(done("saturated")) - first))
    answered = [1000 * (answer.answered - answer.sent) for answer in answers["steady"]]
    finished = [1000 * (completed[str(answer.id)] - answer.sent) for answer in answers["steady"]]
    runs.answer_p50.append(percentile(answered, 50))
    runs.answer_p99.append(percentile(answered, 99))
    runs.done_p50.append(percentile(finished, 50))
    runs.done_p99.append(percentile(finished, 99))
    runs.api_processor.append(1000 * (after[0] - before[0]) / plan.requests)
    runs.worker_processor.append(1000 * (after[1] - before[1]) / plan.requests)
    runs.api_memory.append(api_memory.peak)
    runs.worker_memory.append(worker_memory.peak)
    runs.refused.append(sum(refusals))
    accepted = [str(answer.id) for found in answers.values() for answer in found]
    runs.deliveries.append(str(Delivered.check(accepted, received)))


def _order(plan: Plan, *, port: int, token: str, receiver: str, prefix: str) -> Order:
    return Order(
        port=port,
        token=token,
        receiver=receiver,
        prefix=prefix,
        requests=plan.requests,
        connections=plan.connections,
    )


def _drain(system: System, answers: Mapping[str, Sequence[Answer]]) -> None:
    """Wait until all that was accepted so far is delivered."""
    count = sum(len(found) for found in answers.values())
    if not system.wait_for_deliveries(count, seconds=_DRAIN_SECONDS):
        done = system.count_completed()
        raise BenchmarkError(f"{system.name}: {done} of {count} delivered after {_DRAIN_SECONDS:.0f} s")


def _rate(answers: Sequence[Answer]) -> float:
    return len(answers) / (max(one.answered for one in answers) - min(one.sent for one in answers))
