"""The queue's figures in CloudWatch: what the API writes as log lines in the embedded metric format.

Every API replica writes the figures of every queue, each from the same tables, so the statistic to use is always
Maximum. A figure that could not be read is left out of its line: alarms see missing data, never a wrong zero.
`app/queue/emf.py` writes the same names; a test holds the two against each other.
"""

from __future__ import annotations

from typing import Any, Final

NAMESPACE: Final = "Slipway"
STATISTIC: Final = "Maximum"
PERIOD: Final = 60
"""Seconds; the API writes at least one line in each (`features.emf_interval`)."""

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


def figure(metric: str, *, stack: str, queue: str) -> dict[str, Any]:
    """One figure as the measure of a `cloudwatch.MetricAlarm`."""
    return {
        "namespace": NAMESPACE,
        "metric_name": metric,
        "dimensions": dimensions(stack=stack, queue=queue),
        "statistic": STATISTIC,
        "period": PERIOD,
    }


def query(metric: str, *, id: str, stack: str, queue: str) -> dict[str, Any]:
    """One figure as a query of a `cloudwatch.MetricAlarm`, for use in an expression."""
    return {
        "id": id,
        "metric": {
            "namespace": NAMESPACE,
            "metric_name": metric,
            "dimensions": dimensions(stack=stack, queue=queue),
            "period": PERIOD,
            "stat": STATISTIC,
        },
        "return_data": False,
    }
