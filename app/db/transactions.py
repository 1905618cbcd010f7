"""A transaction whose outcome its caller gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine


@asynccontextmanager
async def transaction(engine: AsyncEngine) -> AsyncGenerator[AsyncConnection]:
    """As `engine.begin()`, but a cancellation during the commit waits for it.

    A request whose time ended in that moment was answered with an error, and what it had asked for was stored. Now it
    gets the outcome; cancelled again (app.deadline does so after half a second) it waits no longer.
    """
    async with engine.connect() as connection:
        begun = await connection.begin()
        yield connection
        commit = asyncio.ensure_future(begun.commit())
        try:
            await asyncio.shield(commit)
        except asyncio.CancelledError:
            await commit
