"""Which seeds are about what. Most faults need two things to meet that seldom do by chance, so that more than half of
the seeds are each about one such meeting, and the others about anything."""

from __future__ import annotations

import random
from collections.abc import Callable

from simulated.plan import Plan, Request, any_plan, requests_of

START = 1001.0


def plan_of(seed: int) -> Plan:
    plan, rng = any_plan(seed), random.Random(f"about {seed}")
    number = rng.random()
    for share, profile in _PROFILES:
        if number < share:
            profile(plan, rng)
            break
        number -= share
    return plan


def _calm(plan: Plan) -> None:
    plan.rates, plan.targets, plan.events, plan.bugs = {}, [], [], []
    plan.poison, plan.killers = set(), set()


def _nothing_fails(plan: Plan, rng: random.Random) -> None:
    """A third request comes in any turn of the loop while the statements of two others end."""
    _calm(plan)
    plan.delay, plan.turn, plan.request_timeout = rng.choice([0.0005, 0.002]), 0.005, 5.0
    plan.requests = []
    for burst in range(20):
        at = START + burst * 0.5
        for when in (at, at + 0.0001, at + rng.random() * 0.06):
            number = len(plan.requests)
            plan.requests.append(Request(number=number, at=when, key=f"key-{number}", max_attempts=3))


def _time_is_over(plan: Plan, rng: random.Random) -> None:
    """In any turn of the loop, for callers without a key."""
    _calm(plan)
    plan.delay, plan.turn = rng.choice([0.0005, 0.002]), 0.005
    plan.request_timeout = rng.uniform(0.01, 0.12)
    plan.requests = [
        Request(number=number, at=START + number * 0.3 + rng.random() * 0.01, key=None, max_attempts=3)
        for number in range(20)
    ]


def _statements_hang(plan: Plan, rng: random.Random) -> None:
    """All that the intake has under way: later requests are to find a worker all the same."""
    _calm(plan)
    plan.calm, plan.request_timeout = START + 3.0, rng.choice([0.3, 2.0])
    plan.requests = [
        Request(number=number, at=START + rng.random() * 0.5, key=f"key-{number}", max_attempts=3)
        for number in range(6)
    ]
    plan.targets = [("postgres", "add", number, "hang") for number in range(1, 4)]


def _jobs_are_twice_on_the_queue(plan: Plan, rng: random.Random) -> None:
    """Two workers have batches of the same jobs."""
    plan.workers, plan.concurrency, plan.delay = 2, 6, rng.choice([0.01, 0.05])
    plan.receiver = {"fails": 0.5, "breaks": 0.0, "seconds": rng.choice([0.001, 0.02])}
    plan.requests = requests_of(rng, START, rng.choice([0.01, 0.5]), count=20)
    plan.events = sorted((START + rng.random() * 1.5, "enqueue all", 0.0) for _ in range(15))


def _clients_repeat_in_bulk(plan: Plan, rng: random.Random) -> None:
    """The same keys, before the first requests are answered."""
    plan.delay, plan.request_timeout, plan.events = rng.choice([0.01, 0.05]), 5.0, []
    plan.requests = requests_of(rng, START, 0.02, count=20, repeated=True)


def _jobs_of_others(plan: Plan, rng: random.Random) -> None:
    """They end while the worker asks what Redis believes to run here. No claim protects them."""
    plan.delay, plan.calm = rng.choice([0.02, 0.05, 0.1]), START + 20.0
    plan.foreign = [START + 18.0 * rng.random() for _ in range(40)]
    plan.events, plan.bugs, plan.killers = [], [], set()


def _answers_to_claims(plan: Plan, rng: random.Random) -> None:
    """Lost, late or slow, for jobs of one attempt; and the worker is asked to stop, perhaps."""
    _calm(plan)
    plan.stops_after_faults = rng.random() < 0.4
    plan.delay = rng.choice([0.002, 0.05])
    plan.receiver = {"fails": 0.0, "breaks": 0.0, "seconds": rng.choice([0.001, 0.3, 1.5])}
    plan.requests = requests_of(rng, START, 3.0, count=8)
    for request in plan.requests:
        request.max_attempts = 1 if request.body % 3 else 3
    first = rng.randrange(1, 5)
    faults = [rng.choice(["lost", "late", "slow"]) for _ in range(rng.choice([1, 1, 2]))]
    plan.targets = [("postgres", "claim", first + number, fault) for number, fault in enumerate(faults)]


def _answers_to_stores(plan: Plan, rng: random.Random) -> None:
    """Lost, late or slow, while the jobs come back."""
    _calm(plan)
    plan.receiver = {"fails": 0.6, "breaks": 0.0, "seconds": 0.02}
    plan.requests = requests_of(rng, START, rng.choice([0.01, 3.0]), count=8)
    first = rng.randrange(1, 5)
    faults = [rng.choice(["lost", "lost", "late", "slow"]) for _ in range(rng.choice([1, 2]))]
    plan.targets = [("postgres", "finish", first + number, fault) for number, fault in enumerate(faults)]
    plan.events = sorted((START + rng.random() * 9.0, "enqueue all", 0.0) for _ in range(8))


def _one_result_is_poison(plan: Plan, rng: random.Random) -> None:
    """Results of one batch, of which Postgres refuses one; or it takes no writes for a while."""
    _calm(plan)
    plan.concurrency, plan.delay, plan.receiver["seconds"] = 6, rng.choice([0.01, 0.05]), 0.02
    plan.requests = requests_of(rng, START, 0.01, count=10)
    if rng.random() < 0.5:
        plan.poison = {rng.randrange(10)}
    else:
        plan.events = [(START + rng.random() * 0.5, "postgres read-only", rng.choice([0.5, 4.0]))]


def _threads_end(plan: Plan, rng: random.Random) -> None:
    """By an error in a step, or over a job."""
    _calm(plan)
    plan.requests = requests_of(rng, START, 1.0, count=6)
    if rng.random() < 0.5:
        plan.killers = {rng.randrange(6)}
    else:
        label = rng.choice(("claim", "finish", "script acknowledge", "select nothing"))
        plan.bugs = [(label, rng.randrange(1, 4))]


_PROFILES: tuple[tuple[float, Callable[[Plan, random.Random], None]], ...] = (
    (0.06, _nothing_fails),
    (0.05, _time_is_over),
    (0.03, _statements_hang),
    (0.07, _jobs_are_twice_on_the_queue),
    (0.06, _clients_repeat_in_bulk),
    (0.05, _jobs_of_others),
    (0.10, _answers_to_claims),
    (0.08, _answers_to_stores),
    (0.05, _one_result_is_poison),
    (0.05, _threads_end),
)
