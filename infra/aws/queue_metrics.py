"""The queue's figures in CloudWatch: what the API writes as log lines in the embedded metric format.

Every API replica writes the figures of every queue at least once a minute (`features.emf_interval`), each from the same
tables, so the statistic to use is always Maximum. A figure that could not be read is left out of its line: alarms see
missing data, never a wrong zero. `app/queue/emf.py` writes the same names; a test holds the two against each
other.
"""

from __future__ import annotations

from typing import Final

from infra.aws.alarms.model import Metric

NAMESPACE: Final = "Slipway"
STATISTIC: Final = "Maximum"

QUEUE_DEPTH: Final = "QueueDepth"
"""Jobs that are due and not taken."""
OLDEST_WAIT: Final = "OldestJobWaitSeconds"
"""Age of the oldest of them; 0 without one."""
RUNNING_JOBS: Final = "RunningJobs"
"""Jobs that a worker holds."""
FAILED_JOBS: Final = "FailedJobs"
"""Jobs that failed for good within the last five minutes: a sliding count, not a total, so compare it as it is."""
OUTBOX_UNSENT: Final = "OutboxUnsent"
"""Jobs that are due and have not been seen on the queue by any worker."""
OUTBOX_OLDEST: Final = "OutboxOldestSeconds"
"""Age of the oldest of them; 0 without one."""
WORKERS: Final = "Workers"
"""Workers of the queue that are alive, by their heartbeat in Redis."""

FIGURES: Final = (QUEUE_DEPTH, OLDEST_WAIT, RUNNING_JOBS, FAILED_JOBS, OUTBOX_UNSENT, OUTBOX_OLDEST, WORKERS)


def dimensions(*, stack: str, queue: str) -> dict[str, str]:
    """The dimensions of every figure: the name of the stack, and the queue's."""
    return {"Stack": stack, "Queue": queue}


def queue_metric(stack: str, queue: str, name: str, statistic: str = STATISTIC) -> Metric:
    """A figure of one queue."""
    return Metric(namespace=NAMESPACE, name=name, dimensions=dimensions(stack=stack, queue=queue), statistic=statistic)
