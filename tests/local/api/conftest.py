"""The API in process against real servers, and as a process of its own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx2
import pytest

from app.api.application import Api
from app.settings import Settings

SIGNING_KEY = secrets.token_urlsafe(64)

Client = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture
def environ(migrated_url: str, redis_url: str) -> dict[str, str]:
    """A complete environment for MODE=api."""
    return {
        "MODE": "api",
        "ENVIRONMENT": "test",
        "DATABASE_URL": migrated_url,
        "REDIS_URL": redis_url,
        "JWT_SECRET": SIGNING_KEY,
        "RATE_LIMIT_MAX": "10000",
        "SHUTDOWN_DRAIN": "300",
    }


@pytest.fixture
def client(environ: dict[str, str]) -> Client:
    """`async with client(RATE_LIMIT_MAX="3") as http`: requests to an application with these settings changed."""

    @asynccontextmanager
    async def run(**changes: str) -> AsyncIterator[httpx2.AsyncClient]:
        api = Api(Settings.load({**environ, **changes}))
        async with api.app.router.lifespan_context(api.app) as state:

            async def with_state(scope, receive, send):  # type: ignore[no-untyped-def]
                await api.app({**scope, "state": dict(state)}, receive, send)

            transport = httpx2.ASGITransport(app=with_state, client=("127.0.0.1", 5000))
            async with httpx2.AsyncClient(transport=transport, base_url="http://api") as http:
                http.api = api  # type: ignore[attr-defined]
                yield http

    return run
