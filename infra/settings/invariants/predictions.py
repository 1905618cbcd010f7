"""Where predictions are computed, and who may tell of their ends. No message repeats a secret."""

from __future__ import annotations

import base64
from typing import Final

from infra.settings.invariants.broken import Broken, Context, Found, missing

_MOST_SECRETS: Final = 2
_LEAST_BYTES: Final = 16
_MIN_DISTINCT: Final = 12


def base_urls(context: Context) -> Found:
    """Keys and results travel encrypted."""
    if context.settings.environment != "production":
        return
    for name in ("replicate_base_url", "openai_base_url", "webhook_base_url"):
        url = getattr(context.settings.predictions, name)
        if url is not None and not url.startswith("https://"):
            yield Broken(
                f"predictions.{name}",
                "would send keys and results in the open",
                allowed="an address that begins with https://",
                suggestion="https://" + url.partition("://")[2],
            )


def webhook_secrets(context: Context) -> Found:
    """One secret, or the new and the old one while it is renewed."""
    for name in ("webhook_secret_replicate", "webhook_secret_openai"):
        text = context.settings.secrets.text(name)
        if text is None:
            continue
        secrets = [part.strip() for part in text.split(",")]
        keys = [_key(secret) for secret in secrets]
        if len(secrets) > _MOST_SECRETS or len(set(secrets)) < len(secrets) or None in keys:
            yield Broken(
                f"secrets.{name}",
                "is no secret for webhooks",
                allowed="whsec_ and base64, as the provider shows it, or two of them with a comma between",
            )
        elif context.settings.environment == "production" and any(len(set(key or b"")) < _MIN_DISTINCT for key in keys):
            yield Broken(f"secrets.{name}", "is too regular to be a secret", allowed="what the provider shows")


def webhook_address(context: Context) -> Found:
    """Replicate sends its webhooks to an address that each request names."""
    settings = context.settings
    named = settings.predictions.webhook_base_url or settings.domain.name
    if settings.secrets.webhook_secret_replicate is not None and not named:
        yield missing(
            "predictions.webhook_base_url",
            "is missing: without an address of the API no webhook comes, and "
            "secrets.webhook_secret_replicate is for nothing",
            "the API's public address, such as https://api.example.com",
            "secrets.webhook_secret_replicate",
            "domain.name",
        )


def _key(secret: str) -> bytes | None:
    text = secret.removeprefix("whsec_")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        return None
    return key if secret.startswith("whsec_") and len(key) >= _LEAST_BYTES else None


RULES: Final = (base_urls, webhook_secrets, webhook_address)
