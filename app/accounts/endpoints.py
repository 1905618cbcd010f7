"""/v1/auth: HTTP in, service, HTTP out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from app.accounts import service
from app.accounts.guard import Attempt
from app.accounts.schemas import AccountOut, Login, Refresh, Registration
from app.web import http
from app.web.client_address import network_of
from app.web.state import State


async def register(request: Request[State]) -> Response:
    account = await service.register(http.state(request), await http.body(request, Registration))
    return http.reply(AccountOut.model_validate(account), 201)


async def log_in(request: Request[State]) -> Response:
    state, login = http.state(request), await http.body(request, Login)
    network = network_of(state["client_address"].of(request.scope))
    return http.reply(await service.log_in(state, login, Attempt.of(email=login.email.normalised, network=network)))


async def refresh(request: Request[State]) -> Response:
    given = await http.body(request, Refresh)
    return http.reply(await service.refresh(http.state(request), given.refresh_token.get_secret_value()))


async def me(request: Request[State]) -> Response:
    account = await service.get_account(http.state(request), http.authenticated(request))
    return http.reply(AccountOut.model_validate(account))
