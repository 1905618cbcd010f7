"""/v1/auth: HTTP in, service, HTTP out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from app.accounts import service
from app.accounts.guard import Attempt, LoginGuard
from app.accounts.passwords import Passwords
from app.accounts.schemas import AccountOut, Login, Refresh, Registration, TokensOut
from app.accounts.service import AccountsState
from app.accounts.tokens import Tokens
from app.web import http
from app.web.authentication import authenticated
from app.web.client_address import network_of
from app.web.operations import Operations
from app.web.state import State

OPERATIONS = Operations(tag="auth")


@asynccontextmanager
async def lifespan(state: State) -> AsyncIterator[Mapping[str, Any]]:
    guard, passwords = LoginGuard.of(state["settings"], state["redis"].connection_pool), Passwords()
    if metrics := state["metrics"]:
        metrics.count_from("slipway_logins_refused", "After too many failures.", lambda: guard.refused)
        metrics.count_from(
            "slipway_login_guard_skipped", "Lookups and counts left out for want of Redis.", lambda: guard.skipped
        )
    try:
        yield {"tokens": Tokens.of(state["settings"]), "passwords": passwords, "guard": guard}
    finally:
        passwords.close()


@OPERATIONS.post(
    "/v1/auth/register",
    summary="Create an account",
    body=Registration,
    status=201,
    result=AccountOut,
    problems=(409, 422),
    public=True,
)
async def register(request: Request[AccountsState]) -> Response:
    account = await service.register(request.state, await http.body(request, Registration))
    return http.reply(account, 201)


@OPERATIONS.post("/v1/auth/login", summary="Log in", body=Login, result=TokensOut, problems=(401, 422), public=True)
async def log_in(request: Request[AccountsState]) -> Response:
    state, login = request.state, await http.body(request, Login)
    network = network_of(state["client_address"].of(request.scope))
    return http.reply(await service.log_in(state, login, Attempt.of(email=login.email.normalised, network=network)))


@OPERATIONS.post(
    "/v1/auth/refresh",
    summary="Exchange a refresh token for a new pair, again only within a minute",
    body=Refresh,
    result=TokensOut,
    problems=(401, 422),
    public=True,
)
async def refresh(request: Request[AccountsState]) -> Response:
    given = await http.body(request, Refresh)
    return http.reply(await service.refresh(request.state, given.refresh_token.get_secret_value()))


@OPERATIONS.get("/v1/auth/me", summary="The account that asks", result=AccountOut)
async def me(request: Request[AccountsState]) -> Response:
    return http.reply(await service.get_account(request.state, authenticated(request)))
