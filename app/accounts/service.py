"""What happens at registration, login and refresh."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from app.accounts import queries
from app.accounts.guard import Attempt, LoginGuard
from app.accounts.passwords import Passwords
from app.accounts.schemas import AccountOut, Login, Registration, TokensOut
from app.accounts.tokens import Token, Tokens
from app.db.transactions import transaction
from app.errors import Conflict, Unauthenticated
from app.observability.logging import get_logger
from app.web.authentication import InvalidToken
from app.web.http import check_storable
from app.web.state import State

REFRESH_GRACE: Final = timedelta(seconds=60)
"""How long after its first use a refresh token gives the same successor again: two tabs of a browser refresh at once,
and an answer is lost on its way. It covers a client that waits for REQUEST_TIMEOUT (30 s) and then repeats, and is the
most that Amazon Cognito allows (`RetryGracePeriodSeconds`); Supabase's default is 10 s, Ory's most 5 minutes."""

log = get_logger()


class AccountsState(State):
    tokens: Tokens
    passwords: Passwords
    guard: LoginGuard


async def register(state: AccountsState, registration: Registration) -> AccountOut:
    password_hash = await state["passwords"].hash(registration.password.get_secret_value())
    async with transaction(state["engine"]) as connection:
        account = await queries.add_account(
            connection,
            email=registration.email.normalised,
            spellings=registration.email.spellings,
            password_hash=password_hash,
        )
    if account is None:
        raise Conflict("an account with this email exists")
    return AccountOut(**account)


async def log_in(state: AccountsState, login: Login, attempt: Attempt) -> TokensOut:
    user_id = await _verified(state, login, attempt)
    tokens = state["tokens"]
    refresh = tokens.issue_refresh(user_id, family_id=uuid.uuid4())
    async with transaction(state["engine"]) as connection:
        await queries.lock_account(connection, user_id)
        await queries.delete_expired_refresh_tokens(connection, user_id)
        await queries.add_refresh_token(connection, refresh)
    return _pair(tokens, refresh)


async def refresh(state: AccountsState, text: str) -> TokensOut:
    """A new pair for a refresh token. A second use within the grace gives the same refresh token again; a later one
    means that a copy is about, and ends the whole family."""
    tokens = state["tokens"]
    try:
        token = tokens.check_refresh(text)
    except InvalidToken as invalid:
        raise _refused(str(invalid)) from None
    async with transaction(state["engine"]) as connection:
        successor = await _exchange(connection, tokens, token)
    if successor is None:
        raise _refused("the refresh token was used or revoked: log in again")
    return _pair(tokens, successor)


async def get_account(state: AccountsState, user_id: uuid.UUID) -> AccountOut:
    async with state["engine"].connect() as connection:
        account = await queries.get_account(connection, user_id)
    if account is None:
        raise _refused("the account does not exist any more")
    return AccountOut(**account)


async def _verified(state: AccountsState, login: Login, attempt: Attempt) -> uuid.UUID:
    """The account whose password it is. An unknown address costs as much time as a wrong password, and looks alike."""
    found = None
    if all(map(_is_storable, login.email.spellings)):
        async with state["engine"].connect() as connection:
            found = await queries.get_credentials(connection, login.email.spellings)
    user_id, password_hash = found or (None, None)
    password = login.password.get_secret_value()
    # After the query, so that a database that is away uses up no attempts.
    await state["guard"].admit(attempt)
    # No connection is held meanwhile: hashing is slow, and a burst of logins would empty the pool.
    matches = await state["passwords"].verify(password, password_hash)
    if not matches or user_id is None or password_hash is None:
        await state["guard"].failed(attempt)
        raise Unauthenticated("the email or the password is wrong")
    await state["guard"].succeeded(attempt)
    if state["passwords"].is_outdated(password_hash):
        renewed = await state["passwords"].hash(password)
        async with transaction(state["engine"]) as connection:
            await queries.set_password_hash(connection, user_id, renewed)
    return user_id


async def _exchange(connection: AsyncConnection, tokens: Tokens, token: Token) -> Token | None:
    """The token's successor; None, with its family revoked as far as needed, when it must not have one."""
    await queries.lock_account(connection, token.user_id)
    stored = await queries.lock_refresh_token(connection, token, grace=REFRESH_GRACE)
    if stored is None or stored.revoked:
        return None
    if stored.repeatable:
        return await _repeated(connection, tokens, token, stored.family_id)
    if stored.used:
        await queries.revoke_family(connection, stored.family_id)
        log.warning("refresh token used twice, family revoked", user_id=str(token.user_id))
        return None
    successor = tokens.issue_refresh(token.user_id, family_id=stored.family_id)
    await queries.mark_refresh_token_used(connection, token.id)
    await queries.add_refresh_token(connection, successor)
    return successor


async def _repeated(connection: AsyncConnection, tokens: Tokens, token: Token, family_id: uuid.UUID) -> Token | None:
    """What the family has come to, and not a branch of it: two that hold the same token betray each other as soon as
    they use it at different times, while two branches would live on side by side unseen."""
    live = await queries.get_live_refresh_token(connection, family_id)
    if live is None:
        return None
    log.info("refresh token repeated within its grace", user_id=str(token.user_id))
    return tokens.reissue_refresh(token.user_id, family_id=family_id, token_id=live.id, expires_at=live.expires_at)


def _pair(tokens: Tokens, refresh_token: Token) -> TokensOut:
    access = tokens.issue_access(refresh_token.user_id)
    return TokensOut(access_token=access.text, refresh_token=refresh_token.text, expires_in=tokens.access_seconds)


def _refused(detail: str) -> Unauthenticated:
    return Unauthenticated(detail, challenge='Bearer error="invalid_token"')


def _is_storable(value: str) -> bool:
    try:
        check_storable(value)
    except ValueError:
        return False
    return True
