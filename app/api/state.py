"""What a request needs of the process: built once in the lifespan, handed to requests as `request.state`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypedDict

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from app.api.auth.guard import LoginGuard
from app.api.client_address import ClientAddress
from app.api.health import Health
from app.jobs.outbox import Nudge
from app.security.passwords import Passwords
from app.security.tokens import Tokens
from app.settings import Settings

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
    health: Health
    metrics: Metrics | None
    """None without ENABLE_METRICS."""
