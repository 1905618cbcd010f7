from __future__ import annotations

import uuid
from typing import Any

import pytest

from app.deliveries.job import DeliveryHandler, Work
from app.queue.job import Job
from app.settings import Settings

ENVIRON = {
    "MODE": "worker",
    "ENVIRONMENT": "test",
    "DATABASE_URL": "postgresql://localhost/x",
    "REDIS_URL": "redis://localhost",
    "SERVICE_NAME": "hooks",
    "SERVICE_VERSION": "1.2.3",
}


def handler(**environ: str) -> DeliveryHandler:
    return DeliveryHandler(Settings.load({**ENVIRON, **environ}))


def claimed(**values: Any) -> Job:
    given = {
        "id": uuid.uuid4(),
        "kind": "delivery",
        "subject_id": uuid.UUID(int=7),
        "attempt": 2,
        "max_attempts": 3,
        "worker": "w",
        "lease": 30.0,
        "correlation_id": None,
        "traceparent": None,
    }
    return Job(**{**given, **values})


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What would be posted."""
    calls: list[dict[str, Any]] = []

    class Client:
        def __init__(self, policy: Any, **_: Any) -> None:
            self.policy = policy

        def request(self, method: str, target: Any, **arguments: Any) -> Any:
            calls.append({"target": target, "policy": self.policy, **arguments})
            raise TypeError("not sent")

    monkeypatch.setattr("app.deliveries.job.Client", Client)
    return calls


def run(sent: list[dict[str, Any]], work: Work, job: Job, **environ: str) -> tuple[dict[str, str], bytes]:
    outcome = handler(**environ).run(work, job)
    # What nobody foresaw is an attempt like any other, and in the log.
    assert (outcome.result, outcome.error) == ("retry", "internal error")
    assert (outcome.detail["status_code"], outcome.detail["error"]) == (None, "internal error")
    headers = {name.lower(): value for name, value in sent[-1]["headers"]}
    assert len(headers) == len(sent[-1]["headers"])
    return headers, sent[-1]["body"]


def test_our_headers_cannot_be_overridden(sent: list[dict[str, Any]]) -> None:
    theirs = {
        "Webhook-Id": "forged",
        "WEBHOOK-TIMESTAMP": "0",
        "x-request-id": "forged",
        "User-Agent": "forged",
        "Host": "internal",
        "Content-Length": "5",
        "Transfer-Encoding": "chunked",
        "X-Own": "kept",
    }
    work = Work(url="https://example.com/", body="null", headers=theirs)

    headers, body = run(sent, work, claimed(correlation_id="abc"))

    assert headers["webhook-id"] == str(uuid.UUID(int=7))
    assert int(headers["webhook-timestamp"]) > 0
    assert headers["x-request-id"] == "abc"
    assert headers["user-agent"] == "hooks/1.2.3"
    assert headers["x-own"] == "kept"
    assert body == b"null"
    assert not {"host", "content-length", "transfer-encoding"} & headers.keys()


def test_what_may_be_overridden_and_what_is_left_out(sent: list[dict[str, Any]]) -> None:
    work = Work(url="https://example.com/", body='{"ü":[1,2.5]}', headers={"content-type": "application/x+json"})

    headers, body = run(sent, work, claimed(traceparent="00-1-2-01"))

    assert headers["content-type"] == "application/x+json"
    assert headers["traceparent"] == "00-1-2-01"
    assert "x-request-id" not in headers
    assert body == '{"ü":[1,2.5]}'.encode()


def test_limits_come_from_the_settings(sent: list[dict[str, Any]]) -> None:
    work = Work(url="http://10.0.0.1/", body="1", headers={})

    run(
        sent,
        work,
        claimed(),
        DELIVERY_TIMEOUT="2500",
        DELIVERY_MAX_RESPONSE_BYTES="77",
        DELIVERY_ALLOW_HTTP="true",
        DELIVERY_ALLOW_PRIVATE_NETWORKS="true",
    )

    assert (sent[0]["timeout"], sent[0]["max_response_bytes"]) == (2.5, 77)
    assert sent[0]["policy"].allow_http
    assert sent[0]["policy"].allow_private


@pytest.mark.flips("queue_lease")
def test_a_lease_covers_the_attempt_and_is_no_longer_than_it_must_be() -> None:
    assert handler().lease == 30
    assert handler(DELIVERY_TIMEOUT="90000").lease == 110
    assert handler(QUEUE_LEASE="100000", DELIVERY_TIMEOUT="90000").lease == 100
