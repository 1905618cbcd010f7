"""What a provider's webhook is answered."""

from __future__ import annotations

from app.web.http import ResponseModel


class WebhookAccepted(ResponseModel):
    """The same for one that comes again."""

    webhook_id: str
