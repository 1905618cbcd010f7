"""Which kinds of jobs there are."""

from __future__ import annotations

from app.jobs import delivery, prediction, webhook
from app.jobs.handler import Handler
from app.providers.client import clients
from app.settings import Settings


def handlers(settings: Settings) -> dict[str, Handler]:
    """The handler of each kind."""
    providers = clients(settings)
    return {
        delivery.KIND: delivery.DeliveryHandler(settings),
        prediction.KIND: prediction.PredictionHandler(settings, providers),
        webhook.KIND: webhook.WebhookHandler(settings, providers),
    }
