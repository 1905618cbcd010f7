"""The services on ECS: enough replicas, and each with room to work."""

from __future__ import annotations

from collections.abc import Iterator

import pulumi

from infra.aws import queue_metrics
from infra.aws.alarms.model import MINUTE, Alarm, Formula, Metric, Silence, Threshold, metrics
from infra.aws.alarms.monitored import MonitoredService
from infra.settings.platform import Alerts


def service_alarms(
    service: MonitoredService, *, stack: str, cluster: pulumi.Input[str], alerts: Alerts
) -> Iterator[Alarm]:
    """Alarms of one service. Replica counts come from Container Insights."""
    where = {"ClusterName": cluster, "ServiceName": service.name}
    count, load = metrics("ECS/ContainerInsights", where), metrics("AWS/ECS", where)
    missing = Formula(
        expression="desired - running",
        label="replicas missing",
        metrics={"desired": count("DesiredTaskCount", "Maximum"), "running": count("RunningTaskCount", "Minimum")},
    )
    yield Alarm(
        role=f"{service.role}-below-desired",
        means=f"{service.role} has had fewer replicas than wanted for ten minutes: they do not start, or do not stay.",
        trouble="replicas-missing",
        when=Threshold(missing, above=0, periods=10),
        silence=Silence("notBreaching", "with no replica wanted there may be nothing to report")
        if service.floor == 0
        else Silence(
            "breaching", "Container Insights counts every minute; silence means that nobody knows how many run"
        ),
    )
    for role, noun, metric, percent in (
        ("cpu", "processor", "CPUUtilization", alerts.service_cpu),
        ("memory", "memory", "MemoryUtilization", alerts.service_memory),
    ):
        yield Alarm(
            role=f"{service.role}-{role}",
            means=f"{service.role} has used more than {percent} % of its {noun} for fifteen minutes: scaling is off, "
            "at its ceiling, or too slow.",
            trouble="service-busy",
            when=Threshold(load(metric, "Average"), above=percent, period=5 * MINUTE, periods=3),
            silence=Silence(
                "notBreaching", "a service without replicas has no load; that they are missing is told by below-desired"
            ),
        )
    if service.log_group is not None:
        yield Alarm(
            role=f"{service.role}-error-logs",
            means=f"{service.role} wrote more than {alerts.error_logs} errors to its log within five minutes.",
            trouble="errors-logged",
            when=Threshold(error_metric(service.role, stack), above=alerts.error_logs, period=5 * MINUTE),
            silence=Silence("notBreaching", "the filter counts entries; no entry is no error"),
        )


def error_metric(role: str, stack: str) -> Metric:
    """Error entries in a service's log, counted by a metric filter. A filter's metric has only dimensions that stand in
    the entry itself, so the names are part of the metric's name."""
    return Metric(namespace=queue_metrics.NAMESPACE, name=f"{stack}-{role}-ErrorLogs", dimensions={}, statistic="Sum")
