"""The services on ECS: enough replicas, and each with room to work."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi

from infra.aws import queue_metrics
from infra.aws.alarms.model import MINUTE, Alarm, Formula, Metric, metrics
from infra.aws.alarms.monitored import MonitoredService
from infra.settings.platform import Alerts


def service_alarms(
    service: MonitoredService, *, stack: str, cluster: pulumi.Input[str], alerts: Alerts
) -> tuple[Alarm, ...]:
    """Alarms of one service. Replica counts come from Container Insights."""
    where: Mapping[str, pulumi.Input[str]] = {"ClusterName": cluster, "ServiceName": service.name}
    return (
        _missing_replicas(service, where),
        _load(service, "cpu", "processor", "CPUUtilization", alerts.service_cpu, where),
        _load(service, "memory", "memory", "MemoryUtilization", alerts.service_memory, where),
        *([_errors(service, stack, alerts)] if service.log_group is not None else []),
    )


def error_metric(role: str, stack: str) -> Metric:
    """Error entries in a service's log, counted by a metric filter. A filter's metric has only dimensions that stand in
    the entry itself, so the names are part of the metric's name."""
    return Metric(namespace=queue_metrics.NAMESPACE, name=f"{stack}-{role}-ErrorLogs", dimensions={}, statistic="Sum")


def _errors(service: MonitoredService, stack: str, alerts: Alerts) -> Alarm:
    return Alarm(
        role=f"{service.role}-error-logs",
        means=f"{service.role} wrote more than {alerts.error_logs} errors to its log within five minutes.",
        trouble="errors-logged",
        measure=error_metric(service.role, stack),
        above=alerts.error_logs,
        period=5 * MINUTE,
        periods=1,
        missing="notBreaching",
        because="the filter counts entries; no entry is no error",
    )


def _missing_replicas(service: MonitoredService, where: Mapping[str, pulumi.Input[str]]) -> Alarm:
    count = metrics("ECS/ContainerInsights", where)
    idle = service.floor == 0
    return Alarm(
        role=f"{service.role}-below-desired",
        means=f"{service.role} has had fewer replicas than wanted for ten minutes: they do not start, or do not stay.",
        trouble="replicas-missing",
        measure=Formula(
            expression="desired - running",
            label="replicas missing",
            metrics={"desired": count("DesiredTaskCount", "Maximum"), "running": count("RunningTaskCount", "Minimum")},
        ),
        above=0,
        periods=10,
        missing="notBreaching" if idle else "breaching",
        because="with no replica wanted there may be nothing to report"
        if idle
        else "Container Insights counts every minute; silence means that nobody knows how many run",
    )


def _load(
    service: MonitoredService,
    role: str,
    noun: str,
    metric: str,
    percent: int,
    where: Mapping[str, pulumi.Input[str]],
) -> Alarm:
    return Alarm(
        role=f"{service.role}-{role}",
        means=f"{service.role} has used more than {percent} % of its {noun} for fifteen minutes: scaling is off, at "
        "its ceiling, or too slow.",
        trouble="service-busy",
        measure=metrics("AWS/ECS", where)(metric, "Average"),
        above=percent,
        period=5 * MINUTE,
        periods=3,
        missing="notBreaching",
        because="a service without replicas has no load; that they are missing is told by below-desired",
    )
