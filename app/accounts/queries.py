"""Queries on accounts and their refresh tokens. The caller opens and commits the transaction."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, RowMapping, delete, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.ext.asyncio import AsyncConnection

from app.accounts.models import RefreshToken, User
from app.accounts.tokens import Token
from app.db import locks


async def add_account(
    connection: AsyncConnection, *, email: str, spellings: Sequence[str], password_hash: str
) -> RowMapping | None:
    """The new account; None when the address is taken, under this or another of its spellings."""
    others = [spelling for spelling in spellings if spelling != email]
    if others and await connection.scalar(select(User.id).where(User.email.in_(others)).limit(1)) is not None:
        return None
    statement = (
        upsert(User)
        .values(id=uuid.uuid4(), email=email, password_hash=password_hash)
        .on_conflict_do_nothing(index_elements=[User.email])
        .returning(User.id, User.email, User.created_at)
    )
    return (await connection.execute(statement)).mappings().one_or_none()


async def get_account(connection: AsyncConnection, user_id: uuid.UUID) -> RowMapping | None:
    statement = select(User.id, User.email, User.created_at).where(User.id == user_id)
    return (await connection.execute(statement)).mappings().one_or_none()


async def get_credentials(connection: AsyncConnection, spellings: Sequence[str]) -> tuple[uuid.UUID, str] | None:
    """Id and password hash of the account with the first of these addresses that one has."""
    statement = select(User.email, User.id, User.password_hash).where(User.email.in_(spellings))
    found = {row.email: (row.id, row.password_hash) for row in await connection.execute(statement)}
    return next((found[spelling] for spelling in spellings if spelling in found), None)


async def set_password_hash(connection: AsyncConnection, user_id: uuid.UUID, password_hash: str) -> None:
    await connection.execute(update(User).where(User.id == user_id).values(password_hash=password_hash))


async def add_refresh_token(connection: AsyncConnection, token: Token) -> None:
    await connection.execute(
        insert(RefreshToken).values(
            id=token.id, user_id=token.user_id, family_id=token.family_id, expires_at=token.expires_at
        )
    )


async def lock_account(connection: AsyncConnection, user_id: uuid.UUID) -> None:
    """Held until the transaction ends, and taken before any change of the account's refresh tokens.

    A family that is revoked has one more token when it is being refreshed meanwhile, which the statement that revokes
    does not see; and two that revoke one family each hold a row that the other wants. What only refers to the account,
    such as a new delivery, does not wait for it.
    """
    await connection.execute(select(User.id).where(User.id == user_id).with_for_update(key_share=True))


async def lock_refresh_token(
    connection: AsyncConnection, token: Token, *, grace: timedelta
) -> Row[*tuple[Any, ...]] | None:
    """`family_id` of the token, and whether it was `used`, is `repeatable` and was `revoked`.

    The row is locked until the transaction ends: of two uses at the same moment one comes second. It may be repeated
    until `grace` after its first use, by the database's clock: so soon, another use is no sign of a copy.
    """
    statement = (
        select(
            RefreshToken.family_id,
            RefreshToken.used_at.is_not(None).label("used"),
            RefreshToken.revoked_at.is_not(None).label("revoked"),
            func.coalesce(RefreshToken.used_at > func.now() - grace, False).label("repeatable"),
        )
        .where(RefreshToken.id == token.id, RefreshToken.user_id == token.user_id)
        .with_for_update()
    )
    return (await connection.execute(statement)).one_or_none()


async def get_live_refresh_token(connection: AsyncConnection, family_id: uuid.UUID) -> Row[uuid.UUID, datetime] | None:
    """Id and `expires_at` of the end of the family's chain, the one token of it that was not used yet."""
    statement = (
        select(RefreshToken.id, RefreshToken.expires_at)
        .where(RefreshToken.family_id == family_id, RefreshToken.used_at.is_(None), RefreshToken.revoked_at.is_(None))
        .order_by(RefreshToken.issued_at.desc())
        .limit(1)
    )
    return (await connection.execute(statement)).one_or_none()


async def mark_refresh_token_used(connection: AsyncConnection, token_id: uuid.UUID) -> None:
    # Not when the transaction began, which may have waited for another since: the grace counts from here.
    statement = update(RefreshToken).where(RefreshToken.id == token_id)
    await connection.execute(statement.values(used_at=func.clock_timestamp()))


async def revoke_family(connection: AsyncConnection, family_id: uuid.UUID) -> None:
    statement = update(RefreshToken).where(RefreshToken.family_id == family_id, RefreshToken.revoked_at.is_(None))
    await connection.execute(statement.values(revoked_at=func.now()))


async def delete_expired_refresh_tokens(connection: AsyncConnection, user_id: uuid.UUID) -> None:
    """Called at each login, so that an account's rows do not grow without end. Those that another login is at are left
    to it."""
    expired = locks.in_order(
        RefreshToken.id, RefreshToken.user_id == user_id, RefreshToken.expires_at < func.now(), skip_locked=True
    )
    await connection.execute(delete(RefreshToken).where(RefreshToken.id.in_(expired)))
