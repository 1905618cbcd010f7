"""Webhooks of providers: repeated, forged, or never sent (F13, F14, F19 of the way in)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rig.chaos import Chaos
from rig.processes import needs_setting
from rig.provider import Provider, document, secret, signed
from rig.waiting import wait_for

pytestmark = [needs_setting("webhook_secret_replicate"), pytest.mark.feature("predictions")]

OLD, NEW, FOREIGN = secret("old"), secret("new"), secret("foreign")
PATH = "/v1/webhooks/replicate"


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    yield made
    made.close()


@pytest.fixture
def predicting(chaos: Chaos, provider: Provider) -> Chaos:
    """The application with a provider whose webhooks it expects, in the middle of a rotation of their secret."""
    settings = {
        "REPLICATE_API_KEY": "r8_chaos",
        "REPLICATE_BASE_URL": provider.url,
        "WEBHOOK_SECRET_REPLICATE": f"{NEW},{OLD}",
        "PREDICTION_POLL_INTERVAL": "1000",
        "PREDICTION_WEBHOOK_GRACE": "1000",
    }
    chaos.up(workers=2, **settings)
    chaos.apps.api(**settings)
    return chaos


def predict(chaos: Chaos) -> str:
    wanted = {"provider": "replicate", "model": "acme/model", "input": {"prompt": "x"}}
    answer = chaos.client.ask("POST", "/v1/predictions", json=wanted)
    assert answer.status_code == 202, answer.text
    return f"/v1/predictions/{answer.json()['id']}"


def read(chaos: Chaos, path: str) -> dict[str, Any]:
    found: dict[str, Any] = chaos.client.ask("GET", path).json()
    return found


def test_f13_one_webhook_fifty_times_at_once_and_again_later_has_one_effect(
    predicting: Chaos, provider: Provider
) -> None:
    provider.ends_by_itself = False
    with predicting.bound("F13", 40) as bound:
        path = predict(predicting)
        wait_for(lambda: read(predicting, path)["provider_id"], what="the submission")
        body, headers = signed(NEW, "msg_1", document(read(predicting, path)["provider_id"], "succeeded"))

        def send(_: int) -> int:
            return predicting.client.ask("POST", PATH, content=body, headers=headers).status_code

        with ThreadPoolExecutor(50) as pool:
            statuses = set(pool.map(send, range(50)))
        wait_for(lambda: read(predicting, path)["status"] == "succeeded", timeout=bound.left)
        ended = read(predicting, path)
        statuses.add(send(0))
        wait_for(lambda: not predicting.query("SELECT 1 FROM jobs WHERE state IN ('pending', 'running')"))

    assert len(statuses) == 1
    assert statuses < {200, 201, 202, 204}
    assert read(predicting, path) == ended
    assert ended["output"] == ["a", "b"]
    assert [row.state for row in predicting.query("SELECT state FROM jobs WHERE kind = 'webhook'")] == ["done"]
    assert list(provider.keys.values()) == [1]


def test_f14_a_forged_or_broken_webhook_is_refused_and_both_secrets_of_a_rotation_pass(predicting: Chaos) -> None:
    def status(content: bytes, headers: dict[str, str]) -> int:
        return predicting.client.ask("POST", PATH, content=content, headers=headers).status_code

    body, headers = signed(NEW, "msg_2", document("p999", "succeeded"))
    with predicting.bound("F14", 30):
        forged = {
            "tampered body": (body.replace(b"p999", b"p998"), headers),
            "foreign secret": signed(FOREIGN, "msg_3", document("p999", "succeeded")),
            "ten minutes old": signed(NEW, "msg_3", document("p999", "succeeded"), age=600),
            "from the future": signed(NEW, "msg_3", document("p999", "succeeded"), age=-600),
            "another id": (body, {**headers, "webhook-id": "msg_4"}),
        }
        broken = {
            "no comma": (body, {**headers, "webhook-signature": "v1"}),
            "bad base64": (body, {**headers, "webhook-signature": "v1,%%%"}),
            "other version": (
                body,
                {**headers, "webhook-signature": headers["webhook-signature"].replace("v1,", "v9,")},
            ),
            "time that is none": (body, {**headers, "webhook-timestamp": "yesterday"}),
            "not UTF-8": (b"\xff\xfe", headers),
            "no signature": (body, {name: headers[name] for name in headers if name != "webhook-signature"}),
            "no id": (body, {name: headers[name] for name in headers if name != "webhook-id"}),
        }
        assert {what: status(*given) for what, given in forged.items()} == dict.fromkeys(forged, 401)
        answers = {what: status(*given) for what, given in broken.items()}
        assert set(answers.values()) <= {400, 401}, answers
        assert predicting.query("SELECT id FROM jobs") == []
        for n, key in enumerate((OLD, NEW)):
            assert status(*signed(key, f"msg_good_{n}", document("p999", "succeeded"))) < 300


def test_f19_a_prediction_whose_webhook_never_comes_is_asked_for(predicting: Chaos, provider: Provider) -> None:
    provider.refusals += [429, 500, 503]
    with predicting.bound("F19", 60) as bound:
        paths = [predict(predicting) for _ in range(5)]
        wait_for(lambda: [read(predicting, path)["status"] for path in paths] == ["succeeded"] * 5, timeout=bound.left)

    # A refusal says that nothing was begun, so each was submitted once, under a key of its own.
    assert list(provider.keys.values()) == [1] * 5
    assert [row.state for row in predicting.query("SELECT state FROM jobs")] == ["done"] * 5
