"""What happens when a provider's webhook comes: it is verified, stored with its job, and answered at once."""

from __future__ import annotations

import asyncio
import uuid

from starlette.datastructures import Headers

from app.errors import MalformedRequest, NotFound, Unauthenticated
from app.observability.logging import get_logger
from app.predictions import queries
from app.predictions.providers.base import PROVIDERS, Unreadable, parse
from app.predictions.providers.dialects import DIALECTS
from app.predictions.webhooks import KIND
from app.predictions.webhooks.signatures import WebhookMalformed, WebhookRefused, verify
from app.web.jobs import transaction_with_jobs
from app.web.state import State

REFERENCE = "prediction"
"""Query parameter of the address that a provider is given: our id of the prediction."""

_SMALL = 65_536

log = get_logger()


def secrets_of(state: State, provider: str) -> tuple[str, ...]:
    """What the provider may have signed with; raises NotFound for one whose webhooks are not taken."""
    secrets = next((state["settings"].webhook_secrets[name] for name in PROVIDERS if name == provider), None)
    if secrets is None:
        raise NotFound(f"there is no such provider; there are {' and '.join(PROVIDERS)}")
    if not secrets:
        raise NotFound(f"webhooks of {provider} are not set up here: WEBHOOK_SECRET_{provider.upper()} is not set")
    return secrets


async def accept(
    state: State, provider: str, *, secrets: tuple[str, ...], headers: Headers, body: bytes, reference: str | None
) -> str:
    """The webhook's id, once it is stored. One that was stored before changes nothing."""
    try:
        webhook_id = verify(headers, body, secrets=secrets)
    except WebhookMalformed as error:
        raise MalformedRequest(str(error)) from None
    except WebhookRefused as error:
        log.warning("webhook refused", provider=provider, reason=str(error))
        raise Unauthenticated(str(error), challenge="Webhook-Signature") from None
    dialect = next(DIALECTS[name] for name in PROVIDERS if name == provider)
    try:
        # Megabytes of JSON would keep every other request waiting.
        content = parse(body) if len(body) <= _SMALL else await asyncio.to_thread(parse, body)
        notice = dialect.notice(content)
    except Unreadable as error:
        raise MalformedRequest(f"the body is not what {provider} sends: {error}") from None
    async with transaction_with_jobs(state) as (connection, jobs):
        row_id = await queries.add_webhook(
            connection,
            provider=provider,
            webhook_id=webhook_id,
            provider_id=notice.provider_id if notice else None,
            reference=_reference(reference),
            body=body if notice else None,
            result=None if notice else "not about the end of a prediction",
        )
        if row_id is not None and notice is not None:
            await jobs.enqueue(KIND, row_id, max_attempts=state["settings"].prediction_max_attempts)
    return webhook_id


def _reference(text: str | None) -> uuid.UUID | None:
    try:
        return uuid.UUID(text) if text else None
    except ValueError:
        return None
