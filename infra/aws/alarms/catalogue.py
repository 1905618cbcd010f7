"""Every alarm of a stack."""

from __future__ import annotations

from collections.abc import Iterator

from infra.aws.alarms.api import api_alarms, api_composites
from infra.aws.alarms.model import Alarm, Composite
from infra.aws.alarms.postgres import dump_alarm, postgres_alarms
from infra.aws.alarms.queues import queue_alarms, queue_composites, silence_alarm
from infra.aws.alarms.redis import redis_alarms
from infra.aws.alarms.services import service_alarms
from infra.aws.alarms.watched import Watched
from infra.settings.platform import Alerts


def alarms(watched: Watched, alerts: Alerts) -> Iterator[Alarm]:
    """In the order in which the dashboard shows them."""
    yield from api_alarms(watched.balancer, alerts)
    for service in watched.services:
        yield from service_alarms(service, stack=watched.stack, cluster=watched.cluster, alerts=alerts)
    for queue in watched.queues:
        yield from queue_alarms(queue, stack=watched.stack, alerts=alerts)
    yield from (silence_alarm(queue, stack=watched.stack) for queue in watched.queues[:1])
    if watched.postgres is not None:
        yield from postgres_alarms(watched.postgres, alerts)
    if watched.redis is not None:
        yield from redis_alarms(watched.redis, alerts)
    if watched.dumps is not None:
        yield dump_alarm(watched.dumps)


def composites(watched: Watched) -> Iterator[Composite]:
    yield from api_composites()
    for queue in watched.queues:
        yield from queue_composites(queue)
