"""What tasks do with the load: jobs from a queue, or requests.

Both have the same methods: `arrive` takes the units of the last seconds, `progress` does what can be done at a moment,
`publish` puts the datapoints of the minute that just ended, `waiting` is how many units wait, and `wait` how many
seconds the oldest of them has waited, or a new one would.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from infra.simulation.cloudwatch import Metrics
from infra.simulation.tasks import Fleet, Task

_STEADY_MEMORY: Final = 40.0
"""Percent of a task's memory in use: the processes here hold no data that grows with the load."""


@dataclass(frozen=True, kw_only=True)
class Assumptions:
    """What is not in a plan. Times are seconds."""

    start_up: float = 60.0
    """From the decision until a task takes work: Fargate's own 30 to 90 s, the image, the start of the process."""
    job: float = 2.0
    """Time that one job takes in its slot."""
    concurrency: int = 10
    """Jobs at once in one worker."""
    job_cpu: float = 0.1
    """Processor seconds of one job: the rest of its time it waits on the network."""
    request_cpu: float = 0.01
    """Processor seconds of one request."""
    request_latency: float = 0.05
    """95th percentile of the response time without load."""
    metric_delay: int = 1
    """Minutes until a datapoint can be seen, besides the end of its own minute."""


Schedule = Callable[[float, Callable[[float], None]], None]


class Jobs:
    """Jobs in a queue, started in their order by workers with free slots."""

    def __init__(self, fleet: Fleet, assumptions: Assumptions, schedule: Schedule) -> None:
        self._fleet = fleet
        self._assumptions = assumptions
        self._schedule = schedule
        self._queue: deque[float] = deque()
        self._running = 0
        self._fraction = 0.0
        self._busy_seconds = 0.0
        self._seen = 0.0
        self.waits: list[float] = []
        """How long each job waited that was started."""

    def arrive(self, now: float, amount: float, seconds: float) -> None:  # noqa: ARG002 (a job counts, not its second)
        self._fraction += amount
        whole = int(self._fraction + 1e-9)
        self._fraction -= whole
        self._queue.extend([now] * whole)
        self.progress(now)

    def progress(self, now: float) -> None:
        if not self._queue:
            return
        slots = self._assumptions.concurrency
        for task in self._fleet.ready(now):
            while self._queue and task.busy < slots:
                self._start(task, now)

    def _start(self, task: Task, now: float) -> None:
        self.waits.append(now - self._queue.popleft())
        self._count(now)
        task.busy += 1
        self._running += 1
        self._schedule(now + self._assumptions.job, lambda then: self._end(task, then))

    def _end(self, task: Task, now: float) -> None:
        self._count(now)
        task.busy -= 1
        self._running -= 1
        if task.draining:
            self._fleet.stop_drained(now)
        elif self._queue:
            self._start(task, now)

    def _count(self, now: float) -> None:
        self._busy_seconds += self._running * (now - self._seen)
        self._seen = now

    def publish(self, metrics: Metrics, minute: int, now: float) -> None:
        self._count(now)
        workers = len(self._fleet.ready(now))
        metrics.put("QueueDepth", minute, len(self._queue))
        metrics.put("OldestJobWaitSeconds", minute, self.wait(now))
        metrics.put("RunningJobs", minute, self._running)
        metrics.put("Workers", minute, workers)
        metrics.put("FailedJobs", minute, 0)
        if workers:
            used = self._busy_seconds * self._assumptions.job_cpu / self._assumptions.job
            share = used / (60 * workers * self._fleet.service.vcpu)
            metrics.put("CPUUtilization", minute, min(100.0, 100 * share))
            metrics.put("MemoryUtilization", minute, _STEADY_MEMORY)
        self._busy_seconds = 0.0

    def waiting(self) -> float:
        return len(self._queue)

    def wait(self, now: float) -> float:
        return now - self._queue[0] if self._queue else 0.0


class Requests:
    """Requests, as a flow: what exceeds the processors waits, and response times rise as they fill up."""

    def __init__(self, fleet: Fleet, assumptions: Assumptions) -> None:
        self._fleet = fleet
        self._assumptions = assumptions
        self._backlog = 0.0
        self._done = 0.0
        self._capacity = 0.0
        self._latencies: list[float] = []
        self.waits: list[float] = []

    def arrive(self, now: float, amount: float, seconds: float) -> None:
        capacity = self._per_second(now) * seconds
        self._backlog += amount
        done = min(self._backlog, capacity)
        self._backlog -= done
        self._done += done
        self._capacity += capacity
        load = min(done / capacity, 0.98) if capacity else 0.98
        self._latencies.append(self.wait(now) + self._assumptions.request_latency / (1 - load))
        self.waits.append(self.wait(now))

    def progress(self, now: float) -> None:
        pass

    def publish(self, metrics: Metrics, minute: int, now: float) -> None:
        tasks = len(self._fleet.ready(now))
        if tasks:
            metrics.put("CPUUtilization", minute, 100 * self._done / self._capacity if self._capacity else 0.0)
            metrics.put("MemoryUtilization", minute, _STEADY_MEMORY)
            metrics.put("RequestCountPerTarget", minute, self._done / tasks)
        if self._done:
            slowest = sorted(self._latencies)
            metrics.put("TargetResponseTime", minute, slowest[int(0.95 * (len(slowest) - 1))])
        self._done = self._capacity = 0.0
        self._latencies = []

    def waiting(self) -> float:
        return self._backlog

    def wait(self, now: float) -> float:
        rate = self._per_second(now)
        return self._backlog / rate if rate else 0.0

    def _per_second(self, now: float) -> float:
        """Requests that all tasks together can answer in a second."""
        return len(self._fleet.ready(now)) * self._fleet.service.vcpu / self._assumptions.request_cpu
