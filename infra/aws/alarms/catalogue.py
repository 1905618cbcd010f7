"""Every alarm of a stack."""

from __future__ import annotations

from collections.abc import Iterator

from infra.aws.alarms.api import API_DEGRADED, api_alarms
from infra.aws.alarms.model import Alarm, Composite
from infra.aws.alarms.monitored import Monitored
from infra.aws.alarms.postgres import dump_alarm, postgres_alarms
from infra.aws.alarms.queues import queue_alarms, silence_alarm, work_is_late
from infra.aws.alarms.redis import redis_alarms
from infra.aws.alarms.services import service_alarms
from infra.settings.platform import Alerts


def alarms(monitored: Monitored, alerts: Alerts) -> Iterator[Alarm]:
    """In the order in which the dashboard shows them."""
    yield from api_alarms(monitored.balancer, alerts)
    for service in monitored.services:
        yield from service_alarms(service, stack=monitored.stack, cluster=monitored.cluster, alerts=alerts)
    for queue in monitored.queues:
        yield from queue_alarms(queue, stack=monitored.stack, alerts=alerts)
    yield from (silence_alarm(queue, stack=monitored.stack) for queue in monitored.queues[:1])
    if monitored.postgres is not None:
        yield from postgres_alarms(monitored.postgres, alerts)
    if monitored.redis is not None:
        yield from redis_alarms(monitored.redis, alerts)
    if monitored.dumps is not None:
        yield dump_alarm(monitored.dumps)


def composites(monitored: Monitored) -> Iterator[Composite]:
    yield API_DEGRADED
    yield from map(work_is_late, monitored.queues)
