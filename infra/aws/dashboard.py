"""The dashboard as data: rows of widgets, from the way in to the data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import pulumi

from infra.aws import queue_metrics
from infra.aws.alarms.model import RUNBOOK, Metric, metrics
from infra.aws.alarms.monitored import Monitored, MonitoredBalancer, MonitoredPostgres, MonitoredRedis, MonitoredService

_COLUMNS: Final = 24
_HEIGHT: Final = 6
_PERIOD: Final = 60
_MOST_ALARMS: Final = 100
"""What CloudWatch shows in one widget; a stack has about 40, and eight more for each further worker group."""

Widget = dict[str, Any]
Graph = Callable[..., Widget]
"""Makes a widget of one region: the title, lines of a label and a metric, and how `high` the axis goes."""
Row = tuple[Sequence[Widget], int]
"""Widgets side by side, and their height."""


def body(monitored: Monitored, *, region: str, alarm_arns: Sequence[pulumi.Input[str]]) -> dict[str, Any]:
    """The dashboard's body; values that only a deployment has are outputs."""
    widgets: list[Widget] = []
    top = 0
    for row, height in _rows(monitored, region, alarm_arns):
        width = _COLUMNS // len(row)
        for column, widget in enumerate(row):
            widgets.append({"x": column * width, "y": top, "width": width, "height": height, **widget})
        top += height
    return {"start": "-PT6H", "periodOverride": "inherit", "widgets": widgets}


def _rows(monitored: Monitored, region: str, alarm_arns: Sequence[pulumi.Input[str]]) -> Iterator[Row]:
    graph = partial(_graph, region)
    heading = f"# {monitored.stack}\nWhat to do about an alarm: `{RUNBOOK}`"
    yield [{"type": "text", "properties": {"markdown": heading}}], 2
    yield [{"type": "alarm", "properties": {"title": "Alarms", "alarms": list(alarm_arns)[:_MOST_ALARMS]}}], 4
    yield _answers(monitored.balancer, graph), _HEIGHT
    for service in monitored.services:
        yield _service(monitored.cluster, service, graph), _HEIGHT
    for queue in monitored.queues:
        yield _queue(monitored.stack, queue, graph), _HEIGHT
    if monitored.postgres is not None:
        yield _postgres(monitored.postgres, graph), _HEIGHT
    if monitored.redis is not None:
        yield _redis(monitored.redis, graph), _HEIGHT
    groups = [service.log_group for service in monitored.services if service.log_group is not None]
    if groups:
        yield [_errors(groups, region)], _HEIGHT + 2


def _answers(balancer: MonitoredBalancer, graph: Graph) -> list[Widget]:
    metric, refused = balancer.target, balancer.whole("HTTPCode_ELB_5XX_Count", "Sum")
    codes = [(f"{kind}xx", metric(f"HTTPCode_Target_{kind}XX_Count", "Sum")) for kind in (2, 3, 4, 5)]
    return [
        graph("Answers a minute", *codes, ("5xx of the balancer", refused)),
        graph("Response time, s", *((p, metric("TargetResponseTime", p)) for p in ("p50", "p95", "p99"))),
        graph("Requests a minute and replica", ("requests", metric("RequestCountPerTarget", "Sum"))),
        graph(
            "Replicas behind the balancer",
            ("healthy", metric("HealthyHostCount", "Minimum")),
            ("unhealthy", metric("UnHealthyHostCount", "Maximum")),
        ),
    ]


def _service(cluster: pulumi.Input[str], service: MonitoredService, graph: Graph) -> list[Widget]:
    dimensions = {"ClusterName": cluster, "ServiceName": service.name}
    ecs, insights = metrics("AWS/ECS", dimensions), metrics("ECS/ContainerInsights", dimensions)
    counts = (("wanted", "DesiredTaskCount"), ("running", "RunningTaskCount"), ("starting", "PendingTaskCount"))
    loads = ("Average", "Maximum")
    return [
        graph(f"{service.role}: processor, %", *((s, ecs("CPUUtilization", s)) for s in loads), high=100),
        graph(f"{service.role}: memory, %", *((s, ecs("MemoryUtilization", s)) for s in loads), high=100),
        graph(f"{service.role}: replicas", *((label, insights(name, "Average")) for label, name in counts)),
    ]


def _queue(stack: str, queue: str, graph: Graph) -> list[Widget]:
    def figures(*names: str) -> Iterator[tuple[str, Metric]]:
        return ((name, queue_metrics.queue_metric(stack, queue, name)) for name in names)

    return [
        graph(f"{queue}: waiting and running jobs", *figures(queue_metrics.QUEUE_DEPTH, queue_metrics.RUNNING_JOBS)),
        graph(f"{queue}: longest wait, s", *figures(queue_metrics.OLDEST_WAIT, queue_metrics.OUTBOX_OLDEST)),
        graph(
            f"{queue}: failed in five minutes, unsent", *figures(queue_metrics.FAILED_JOBS, queue_metrics.OUTBOX_UNSENT)
        ),
        graph(f"{queue}: workers alive", *figures(queue_metrics.WORKERS)),
    ]


def _postgres(postgres: MonitoredPostgres, graph: Graph) -> list[Widget]:
    def metric(name: str, statistic: str = "Average") -> Metric:
        return metrics("AWS/RDS", {"DBInstanceIdentifier": postgres.identifier})(name, statistic)

    return [
        graph("Postgres: processor, %", ("load", metric("CPUUtilization")), high=100),
        graph(
            f"Postgres: connections of {postgres.max_connections}",
            ("connections", metric("DatabaseConnections", "Maximum")),
            high=postgres.max_connections,
        ),
        graph("Postgres: free disk, bytes", ("disk", metric("FreeStorageSpace", "Minimum"))),
        graph("Postgres: memory that can be freed, bytes", ("memory", metric("FreeableMemory"))),
        graph("Postgres: latency, s", ("read", metric("ReadLatency")), ("write", metric("WriteLatency"))),
        graph("Postgres: operations a second", ("read", metric("ReadIOPS")), ("write", metric("WriteIOPS"))),
    ]


def _redis(redis: MonitoredRedis, graph: Graph) -> list[Widget]:
    def nodes(name: str, statistic: str) -> Iterator[tuple[str, Metric]]:
        for number, member in enumerate(redis.member_ids, start=1):
            yield f"node {number}", metrics("AWS/ElastiCache", {"CacheClusterId": member})(name, statistic)

    return [
        graph("Redis: memory used, %", *nodes("DatabaseMemoryUsagePercentage", "Maximum"), high=100),
        graph("Redis: processor of the engine, %", *nodes("EngineCPUUtilization", "Average"), high=100),
        graph("Redis: connections", *nodes("CurrConnections", "Maximum")),
        graph("Redis: evictions", *nodes("Evictions", "Sum")),
    ]


def _graph(region: str, title: str, *lines: tuple[str, Metric], high: float | None = None) -> Widget:
    return {
        "type": "metric",
        "properties": {
            "title": title,
            "region": region,
            "view": "timeSeries",
            "period": _PERIOD,
            "metrics": [_line(label, metric) for label, metric in lines],
            "yAxis": {"left": {"min": 0, **({"max": high} if high is not None else {})}},
        },
    }


def _line(label: str, metric: Metric) -> list[Any]:
    pairs = [part for pair in metric.dimensions.items() for part in pair]
    return [metric.namespace, metric.name, *pairs, {"stat": metric.statistic, "label": label}]


def _errors(groups: Sequence[pulumi.Input[str]], region: str) -> Widget:
    """The latest errors of every service. Outputs can stand in the middle of the query, so it is concatenated."""
    sources = [pulumi.Output.concat("SOURCE '", group, "' | ") for group in groups]
    query = pulumi.Output.concat(
        *sources,
        "fields @timestamp, mode, event, correlation_id, exception | filter level in ['error', 'critical'] "
        "| sort @timestamp desc | limit 50",
    )
    return {"type": "log", "properties": {"title": "Errors", "region": region, "view": "table", "query": query}}
