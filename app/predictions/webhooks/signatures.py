"""Who sent a webhook: the signature scheme of Standard Webhooks, with the current and the previous secret.

The library checks signature and time (five minutes either way). It lets the errors of its parsers escape on hostile
input; here every one of them is a refusal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from starlette.datastructures import Headers

HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")

ID = re.compile(r"[\x21-\x7e]{1,255}")


class WebhookMalformed(ValueError):
    """Not a signed webhook at all."""


class WebhookRefused(ValueError):
    """The signature is none of ours, or too old."""


def verify(headers: Headers, body: bytes, *, secrets: Sequence[str]) -> str:
    """The webhook's id, which names it for good; raises WebhookMalformed or WebhookRefused."""
    given: dict[str, str] = {}
    for name in HEADERS:
        values = headers.getlist(name)
        if len(values) != 1:
            raise WebhookMalformed(f"send the header {name} once")
        given[name] = values[0]
    if not ID.fullmatch(given["webhook-id"]):
        raise WebhookMalformed("webhook-id must be 1 to 255 printable ASCII characters without blanks")
    try:
        body.decode()
    except UnicodeDecodeError:
        raise WebhookMalformed("the body is not UTF-8") from None
    refusal = "no secret"
    for secret in secrets:
        try:
            Webhook(secret).verify(body, given, json_parse=False)
        except WebhookVerificationError as error:
            refusal = str(error)
        except ValueError:
            refusal = "Malformed signature"
        else:
            return given["webhook-id"]
    raise WebhookRefused(f"the webhook is not accepted: {refusal}")
