"""The queues: what users wait for. Figures come from the API, as log lines in CloudWatch's embedded metric format."""

from __future__ import annotations

from collections.abc import Iterator

from infra.aws import queue_metrics
from infra.aws.alarms.model import MINUTE, Alarm, Composite, Metric, Silence, Threshold
from infra.settings.platform import Alerts

_SILENT = Silence("ignore", "one alarm for silence is enough: figures-missing")


def queue_alarms(queue: str, *, stack: str, alerts: Alerts) -> Iterator[Alarm]:
    """Alarms of one queue."""

    def figure(name: str) -> Metric:
        return queue_metrics.queue_metric(stack, queue, name)

    late, wait = work_is_late(queue).role, alerts.queue_wait.total_seconds()
    yield Alarm(
        role=f"queue-{queue}-depth",
        means=f"More than {alerts.queue_depth} jobs have waited in {queue} for fifteen minutes: adding workers has "
        "not helped, or is not possible.",
        trouble="work-waits",
        when=Threshold(figure(queue_metrics.QUEUE_DEPTH), above=alerts.queue_depth, period=5 * MINUTE, periods=3),
        silence=_SILENT,
        notified_by=late,
    )
    yield Alarm(
        role=f"queue-{queue}-wait",
        means=f"The oldest job in {queue} has been waiting for more than {wait:g} s, for fifteen minutes.",
        trouble="work-waits",
        when=Threshold(figure(queue_metrics.OLDEST_WAIT), above=wait, period=5 * MINUTE, periods=3),
        silence=_SILENT,
        notified_by=late,
    )
    yield Alarm(
        role=f"queue-{queue}-failed",
        means=f"More than {alerts.failed_jobs} jobs of {queue} failed for good within five minutes. Look for the "
        "reason before adding workers.",
        trouble="jobs-fail",
        # The figure counts the last five minutes, so it is looked at every minute.
        when=Threshold(figure(queue_metrics.FAILED_JOBS), above=alerts.failed_jobs),
        silence=_SILENT,
    )
    yield Alarm(
        role=f"queue-{queue}-outbox",
        means=f"A job for {queue} is recorded in Postgres and has not reached Redis for more than {wait:g} s.",
        trouble="work-waits",
        when=Threshold(figure(queue_metrics.OUTBOX_OLDEST), above=wait, periods=5),
        silence=_SILENT,
    )


def silence_alarm(queue: str, *, stack: str) -> Alarm:
    """Nobody reports: workers no longer scale, and the alarms of the queues can no longer be raised."""
    reports = queue_metrics.queue_metric(stack, queue, queue_metrics.QUEUE_DEPTH, "SampleCount")
    return Alarm(
        role="queue-figures-missing",
        means="The API has reported no queue figures for ten minutes: workers do not scale and no queue is watched.",
        trouble="figures-missing",
        when=Threshold(reports, below=1, period=5 * MINUTE, periods=2),
        silence=Silence("breaching", "silence is what this one listens for"),
    )


def work_is_late(queue: str) -> Composite:
    """A backlog and a long wait are one event: work comes in faster than it is done."""
    return Composite(
        role=f"queue-{queue}-late",
        means=f"Work in {queue} is late: too much waits, or waits too long.",
        trouble="work-waits",
        members=(f"queue-{queue}-depth", f"queue-{queue}-wait"),
    )
