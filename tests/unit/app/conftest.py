"""Settings for tests that need no server."""

from __future__ import annotations

import secrets

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def production() -> dict[str, str]:
    """The least that MODE=api needs in production."""
    return {
        "MODE": "api",
        "DATABASE_URL": "postgresql://app:J7k2mQ9x@db.internal:5432/app?sslmode=verify-full",
        "REDIS_URL": "rediss://default:u8Xk29sLq@redis.internal:6379/0",
        "JWT_SECRET": secrets.token_urlsafe(64),
    }
