"""Which kinds of jobs there are."""

from __future__ import annotations

from app.deliveries import job as delivery
from app.predictions import job as prediction
from app.predictions.providers.client import clients
from app.predictions.webhooks import job as webhook
from app.queue.handler import Handler
from app.settings import Settings


def handlers(settings: Settings) -> dict[str, Handler]:
    """The handler of each kind."""
    providers = clients(settings)
    return {
        delivery.KIND: delivery.DeliveryHandler(settings),
        prediction.KIND: prediction.PredictionHandler(settings, providers),
        webhook.KIND: webhook.WebhookHandler(settings, providers),
    }
