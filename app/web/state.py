"""What a request needs of the process: built once in the lifespan, handed to requests as `request.state`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.accounts.guard import LoginGuard
from app.accounts.passwords import Passwords
from app.accounts.tokens import Tokens
from app.deliveries.queries import NewDelivery
from app.queue.outbox import Nudge
from app.settings import Settings
from app.web.batching import Gather
from app.web.client_address import ClientAddress
from app.web.health import Health

if TYPE_CHECKING:
    from app.observability.metrics import Metrics


class State(TypedDict):
    settings: Settings
    engine: AsyncEngine
    probe_engine: AsyncEngine
    redis: Redis
    tokens: Tokens
    passwords: Passwords
    guard: LoginGuard
    client_address: ClientAddress
    nudge: Nudge
    intake: Gather[NewDelivery, bool]
    """Stores an accepted delivery; whether its key is new."""
    health: Health
    metrics: Metrics | None
    """None without ENABLE_METRICS."""
