"""What happens in one simulation: the work, and the faults. All of it follows from the seed."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from simulated.scheduler import Process

RATES: dict[str, tuple[str, ...]] = {
    "postgres": ("refused", "lost", "late", "deadlock", "serialization", "canceled", "timeout", "slow"),
    "redis": ("refused", "lost", "late"),
}
LABELS = {
    "postgres": (
        "claim", "claim", "claim", "finish", "finish", "finish", "stands", "add", "probe", "COMMIT",
        "select jobs", "update jobs", "expire",
    ),
    "redis": ("script enqueue", "script dequeue", "script acknowledge", "script promote", "SMEMBERS", "BLMOVE"),
}  # fmt: skip
EVENTS = (
    "kill worker", "kill worker", "stop worker", "stop worker twice", "kill api", "enqueue all", "pause worker",
    "second worker", "redis down", "redis emptied", "redis read-only", "postgres down", "postgres crash",
    "postgres read-only",
)  # fmt: skip


@dataclass(kw_only=True)
class Request:
    number: int
    at: float
    key: str | None
    max_attempts: int
    leaves: float | None = None
    """Seconds after which its client closes the connection."""
    same_as: int | None = None
    """The request that this one repeats."""

    @property
    def body(self) -> int:
        """What it is about."""
        return self.number if self.same_as is None else self.same_as


@dataclass(kw_only=True)
class Plan:
    seed: int
    workers: int
    concurrency: int
    delay: float
    """Seconds that an answer of a server takes, about."""
    turn: float
    """Seconds that a turn of the API's loop takes, at most."""
    calm: float
    """The virtual second after which nothing fails any more."""
    preempt: float
    receiver: dict[str, float]
    """How often it fails, and how long it takes."""
    rates: dict[tuple[str, str], float]
    targets: list[tuple[str, str, int, str]]
    """Faults of certain exchanges: server, what is asked, for the how many-th time, the fault."""
    events: list[tuple[float, str, float]]
    requests: list[Request]
    request_timeout: float
    foreign: list[float]
    """When jobs of another function are put on the queue."""
    poison: set[int] = field(default_factory=set)
    """Requests whose result Postgres refuses to store."""
    stops_after_faults: bool = False
    """Whether a worker is asked to stop right after an answer to its claim was lost."""
    after_fault: Any = lambda *_: None
    bugs: list[tuple[str, int]] = field(default_factory=list)
    """Errors that nobody foresaw: in which exchange, for the how many-th time."""
    killers: set[int] = field(default_factory=set)
    """Requests over which the thread ends that does them."""
    counts: dict[str, int] = field(default_factory=dict)
    injected: list[tuple[float, str, str]] = field(default_factory=list)
    now: Any = None
    rng: random.Random = field(default_factory=random.Random)

    def draw(self, server: str, label: str, process: Process) -> str | None:
        """The fault of this exchange. Raises RuntimeError where the plan has a bug."""
        if process.name == "somebody":
            return None
        count = self.counts[label] = self.counts.get(label, 0) + 1
        if self.now() >= self.calm:
            return None
        if (label, count) in self.bugs and process.name.startswith("worker"):
            self.injected.append((self.now(), label, "bug"))
            raise RuntimeError("an error that nobody foresaw")
        for where, what, number, fault in self.targets:
            if (where, what, number) == (server, label, count):
                return self._inject(label, fault, process)
        for fault in RATES[server]:
            rate = self.rates.get((server, fault))
            if rate is not None and self.rng.random() < rate:
                return self._inject(label, fault, process)
        return None

    def _inject(self, label: str, fault: str, process: Process) -> str:
        self.injected.append((self.now(), label, fault))
        if self.stops_after_faults and label == "claim" and fault in ("lost", "late"):
            self.after_fault(process)
        return fault

    def latency(self, rng: random.Random) -> float:
        return self.delay * (0.2 + rng.random())

    @property
    def has_faults(self) -> bool:
        return bool(self.rates or self.targets or self.events or self.bugs or self.killers or self.poison)

    def lines(self) -> list[str]:
        """For whoever reads about a failure."""
        return [
            f"workers={self.workers} concurrency={self.concurrency} delay={self.delay} turn={self.turn}"
            f" calm={self.calm:.1f} preempt={self.preempt} request_timeout={self.request_timeout}"
            f" receiver={self.receiver}",
            f"rates={self.rates}",
            f"targets={self.targets} bugs={self.bugs} poison={sorted(self.poison)} killers={sorted(self.killers)}",
            f"events={[(round(at, 2), what, round(length, 2)) for at, what, length in self.events]}",
            f"foreign={[round(at, 2) for at in self.foreign]}",
            *(
                f"request {one.number}: at={one.at:.3f} key={one.key} max_attempts={one.max_attempts}"
                f" leaves={one.leaves}"
                for one in self.requests
            ),
        ]


def any_plan(seed: int) -> Plan:
    rng = random.Random(f"plan {seed}")
    start = 1001.0
    calm = start + rng.choice([3.0, 6.0, 12.0])
    spread = rng.choice([0.01, 0.5, 3.0, 8.0])
    rates: dict[tuple[str, str], float] = {}
    targets: list[tuple[str, str, int, str]] = []
    events: list[tuple[float, str, float]] = []
    bugs: list[tuple[str, int]] = []
    if rng.random() < 0.5:
        for server, faults in RATES.items():
            for fault in faults:
                if rng.random() < 0.2:
                    rates[server, fault] = rng.choice([0.003, 0.02, 0.08])
    for _ in range(rng.choice([0, 1, 1, 2, 4])):
        server = rng.choice(["postgres", "postgres", "redis"])
        label = rng.choice(LABELS[server])
        first = rng.choice([1, 1, 2, 3, rng.randrange(1, 12)])
        fault = rng.choice(RATES[server])
        targets += [(server, label, first + n, fault) for n in range(rng.choice([1, 1, 1, 2, 4]))]
    for _ in range(rng.choice([0, 0, 1, 1, 2, 3])):
        what = rng.choice(EVENTS)
        length = rng.choice([0.05, 0.5, 2.0, 4.0, 25.0])
        if "down" in what or "read-only" in what or "crash" in what:
            length = min(length, 4.0)
        events.append((rng.uniform(start, calm), what, length))
    if rng.random() < 0.08:
        first = rng.randrange(1, 4)
        targets += [("postgres", "add", first + n, "hang") for n in range(rng.choice([1, 2, 3]))]
    if rng.random() < 0.08:
        label = rng.choice(("claim", "finish", "script dequeue", "script acknowledge", "select jobs"))
        bugs.append((label, rng.randrange(1, 6)))
    requests = requests_of(rng, start, spread)
    numbers = [one.number for one in requests]
    return Plan(
        seed=seed,
        workers=rng.choice([1, 1, 2]),
        concurrency=rng.choice([1, 2, 3, 6]),
        delay=rng.choice([0.0005, 0.002, 0.01, 0.05]),
        turn=rng.choice([0.00002, 0.0005, 0.005]),
        calm=calm,
        preempt=rng.choice([0.05, 0.3, 0.7]),
        receiver={
            "fails": rng.choice([0.0, 0.0, 0.2, 0.5]),
            "breaks": rng.choice([0.0, 0.0, 0.1]),
            "seconds": rng.choice([0.001, 0.02, 0.3, 1.5]),
        },
        rates=rates,
        targets=targets,
        events=sorted(events),
        requests=requests,
        request_timeout=rng.choice([0.02, 0.3, 2.0, 5.0]),
        foreign=[start + rng.random() * spread for _ in range(rng.choice([0, 0, 1, 6]))],
        poison=set(rng.sample(numbers, 1)) if rng.random() < 0.1 else set(),
        bugs=bugs,
        killers=set(rng.sample(numbers, 1)) if rng.random() < 0.05 else set(),
        rng=random.Random(f"faults {seed}"),
    )


def requests_of(
    rng: random.Random, start: float, spread: float, *, count: int = 0, repeated: bool = False
) -> list[Request]:
    count = count or rng.choice([1, 2, 5, 10, 20])
    most = rng.choice([[1], [3], [1, 2, 5], [5]])
    leaving = rng.choice([0.0, 0.0, 0.2])
    keyless = 0.0 if repeated else rng.choice([0.0, 0.5])
    requests = [
        Request(
            number=n,
            at=start + rng.random() * spread,
            key=None if rng.random() < keyless else f"key-{n}",
            max_attempts=rng.choice(most),
            leaves=rng.choice([0.0005, 0.003, 0.01, 0.1]) if rng.random() < leaving else None,
        )
        for n in range(count)
    ]
    if repeated or rng.random() < 0.3:
        # A client that repeats in bulk what it has sent, in any order.
        again = [one for one in requests if one.key is not None]
        rng.shuffle(again)
        at = start + rng.random() * spread
        requests += [
            Request(
                number=count + n,
                at=at + rng.random() * 0.003,
                key=one.key,
                max_attempts=one.max_attempts,
                same_as=one.number,
            )
            for n, one in enumerate(again)
        ]
    return requests
