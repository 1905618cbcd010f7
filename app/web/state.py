"""What requests need of the process: built once in the lifespan, handed to each as `request.state`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, TypedDict

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.queue.outbox import Announcer
from app.settings import Settings
from app.web.client_address import ClientAddress
from app.web.health import Health

if TYPE_CHECKING:
    from app.observability.metrics import Metrics
    from app.queue.collector import QueueCollector


class State(TypedDict):
    """A feature that keeps something of its own has a TypedDict on this one, and a Lifespan that gives the rest."""

    settings: Settings
    engine: AsyncEngine
    probe_engine: AsyncEngine
    redis: Redis
    authenticate: Callable[[str], uuid.UUID]
    """See app.web.authentication."""
    client_address: ClientAddress
    announcer: Announcer
    health: Health
    metrics: Metrics | None
    queue_metrics: QueueCollector | None
    """Both None without ENABLE_METRICS."""


Lifespan = Callable[[State], AbstractAsyncContextManager[Mapping[str, Any]]]
"""What a feature adds to the state, and takes down at the end."""
