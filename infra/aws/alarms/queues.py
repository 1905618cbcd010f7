"""The queues: what users wait for. Figures come from the API, as log lines in CloudWatch's embedded metric format."""

from __future__ import annotations

from infra.aws import queue_metrics
from infra.aws.alarms.model import MINUTE, Alarm, Composite, Metric
from infra.settings.platform import Alerts


def queue_alarms(queue: str, *, stack: str, alerts: Alerts) -> tuple[Alarm, ...]:
    """Alarms of one queue."""
    late, wait = _late(queue), alerts.queue_wait.total_seconds()

    def figure(name: str) -> Metric:
        return queue_metrics.queue_metric(stack, queue, name)

    silent = "one alarm for silence is enough: figures-missing"
    return (
        Alarm(
            role=f"queue-{queue}-depth",
            means=f"More than {alerts.queue_depth} jobs have waited in {queue} for fifteen minutes: adding workers has "
            "not helped, or is not possible.",
            trouble="work-waits",
            measure=figure(queue_metrics.QUEUE_DEPTH),
            above=alerts.queue_depth,
            period=5 * MINUTE,
            periods=3,
            missing="ignore",
            because=silent,
            notified_by=late,
        ),
        Alarm(
            role=f"queue-{queue}-wait",
            means=f"The oldest job in {queue} has been waiting for more than {wait:g} s, for fifteen minutes.",
            trouble="work-waits",
            measure=figure(queue_metrics.OLDEST_WAIT),
            above=wait,
            period=5 * MINUTE,
            periods=3,
            missing="ignore",
            because=silent,
            notified_by=late,
        ),
        Alarm(
            role=f"queue-{queue}-failed",
            means=f"More than {alerts.failed_jobs} jobs of {queue} failed for good within five minutes. Look for the "
            "reason before adding workers.",
            trouble="jobs-fail",
            measure=figure(queue_metrics.FAILED_JOBS),  # counts the last five minutes, so it is looked at every minute
            above=alerts.failed_jobs,
            periods=1,
            missing="ignore",
            because=silent,
        ),
        Alarm(
            role=f"queue-{queue}-outbox",
            means=f"A job for {queue} is recorded in Postgres and has not reached Redis for more than {wait:g} s.",
            trouble="work-waits",
            measure=figure(queue_metrics.OUTBOX_OLDEST),
            above=wait,
            period=MINUTE,
            periods=5,
            missing="ignore",
            because=silent,
        ),
    )


def silence_alarm(queue: str, *, stack: str) -> Alarm:
    """Nobody reports: workers no longer scale, and the alarms of the queues can no longer be raised."""
    return Alarm(
        role="queue-figures-missing",
        means="The API has reported no queue figures for ten minutes: workers do not scale and no queue is watched.",
        trouble="figures-missing",
        measure=queue_metrics.queue_metric(stack, queue, queue_metrics.QUEUE_DEPTH, "SampleCount"),
        below=1,
        period=5 * MINUTE,
        periods=2,
        missing="breaching",
        because="silence is what this one listens for",
    )


def queue_composites(queue: str) -> tuple[Composite, ...]:
    """A backlog and a long wait are one event: work comes in faster than it is done."""
    return (
        Composite(
            role=_late(queue),
            means=f"Work in {queue} is late: too much waits, or waits too long.",
            trouble="work-waits",
            members=(f"queue-{queue}-depth", f"queue-{queue}-wait"),
        ),
    )


def _late(queue: str) -> str:
    return f"queue-{queue}-late"
