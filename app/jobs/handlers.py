"""Which kinds of jobs there are."""

from __future__ import annotations

from app.jobs import delivery
from app.jobs.handler import Handler
from app.settings import Settings


def handlers(settings: Settings) -> dict[str, Handler]:
    """The handler of each kind."""
    return {delivery.KIND: delivery.DeliveryHandler(settings)}
