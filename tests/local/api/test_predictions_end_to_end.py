"""A prediction through every part: the API, a worker, the provider, and its webhook back to the API."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable
from typing import Any

import pytest
from fake_provider import INPUT, MODEL, OTHER_SECRET, SECRET, Provider, event, send, signed

from app.predictions.providers.base import PROVIDERS

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]

SECRETS = {"replicate": SECRET, "openai": OTHER_SECRET}
Ask = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def ask(spawn: Any, listener: socket.socket, provider: Provider, until: Any) -> Ask:
    """Requests to an API beside a worker, both set up for `provider` and its webhooks."""
    port = listener.getsockname()[1]
    common = {
        **provider.environ,
        "WEBHOOK_BASE_URL": f"http://127.0.0.1:{port}",
        **{f"WEBHOOK_SECRET_{name.upper()}": secret for name, secret in SECRETS.items()},
    }
    spawn(listeners=[listener], **common)
    spawn(MODE="worker", SWEEP_INTERVAL="300", **common)

    def call(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json", **headers})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    until(lambda: call("GET", "/health")[0] == 200)
    return call


@pytest.fixture
def user(ask: Ask) -> dict[str, str]:
    account = {"email": "someone@example.org", "password": "correct horse battery"}
    ask("POST", "/v1/auth/register", account)
    return {"Authorization": f"Bearer {ask('POST', '/v1/auth/login', account)[1]['access_token']}"}


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_result_comes_back_by_webhook(
    ask: Ask, user: dict[str, str], provider: Provider, until: Any, listener: socket.socket, name: str
) -> None:
    given = {"provider": name, "model": MODEL[name], "input": INPUT[name]}
    status, accepted = ask("POST", "/v1/predictions", given, **user)
    assert status == 202
    path = f"/v1/predictions/{accepted['id']}"
    until(lambda: ask("GET", path, **user)[1]["status"] == "processing")
    [made] = provider.made.values()
    [submitted] = provider.steps("submit")

    body = event(provider.end(made))
    # Replicate is told the address with each prediction, OpenAI once for a project.
    url = submitted.body.get("webhook") or f"http://127.0.0.1:{listener.getsockname()[1]}/v1/webhooks/openai"
    assert [send(url, body, signed(body, webhook_id="msg_1", secret=SECRETS[name])) for _ in range(3)] == [202] * 3

    until(lambda: ask("GET", path, **user)[1]["status"] == "succeeded")
    found = ask("GET", path, **user)[1]
    assert found["output"]
    assert (found["provider_id"], found["error"]) == (made.id, None)
    assert len(provider.steps("fetch")) == (0 if name == "replicate" else 1)


def test_called_off_by_the_user(ask: Ask, user: dict[str, str], provider: Provider, until: Any) -> None:
    given = {"provider": "replicate", "model": MODEL["replicate"], "input": INPUT["replicate"]}
    _, accepted = ask("POST", "/v1/predictions", given, **user)
    path = f"/v1/predictions/{accepted['id']}"
    until(lambda: ask("GET", path, **user)[1]["status"] == "processing")

    assert ask("POST", f"{path}/cancel", **user) == (202, {"id": accepted["id"], "status": "processing"})

    until(lambda: ask("GET", path, **user)[1]["status"] == "canceled")
    [made] = provider.made.values()
    assert made.status == "canceled"
