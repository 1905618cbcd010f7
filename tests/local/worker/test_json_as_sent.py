"""What a worker sends is what was accepted, and what a provider answers is kept as it was taken."""

from __future__ import annotations

import hashlib
import hmac
import json
import uuid
from typing import Any

import pytest
from fake_provider import MODEL, Provider
from sqlalchemy import insert, select

from app.queue.outbox import new_job

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]

ODD = [
    "1e22",
    "-0.0",
    "1.10",
    '{"b": 1e308,  "a":\t[1.50, 1E+2], "é\\u00e9": "\\/\\u0001"}',
    '{"a":1,"a":2}',
    "null",
    "[\n" + "[" * 90 + "]" * 90 + "\n]",
    "[" + ",".join(["1e308"] * 160_000) + "]",
]


def test_a_signature_over_the_callers_bytes_verifies_at_the_receiver(world: Any, workers: Any, receiver: Any) -> None:
    workers.start()
    secret = b"the caller's"
    for payload in ODD:
        signature = hmac.new(secret, payload.encode(), hashlib.sha256).hexdigest()
        delivery_id, _ = world.add(f"{receiver.url}/", headers={"X-Signature": signature}, payload_text=payload)
        world.settled(delivery_id, "delivered")
        request = receiver.requests[-1]
        assert request.raw == payload.encode()
        assert request.headers["x-signature"] == hmac.new(secret, request.raw, hashlib.sha256).hexdigest()


def test_every_attempt_has_the_same_bytes(world: Any, workers: Any, receiver: Any, answers: Any) -> None:
    workers.start()
    url = receiver.on("/flaky", lambda handler, n: answers(503 if n < 3 else 200)(handler, n))
    delivery_id, _ = world.add(url, payload_text='{ "n" : 1.0e0 }')
    world.settled(delivery_id, "delivered")
    assert [request.raw for request in receiver.requests] == [b'{ "n" : 1.0e0 }'] * 3


def test_what_the_version_before_accepted_is_sent_as_that_one_sends_it(world: Any, workers: Any, receiver: Any) -> None:
    workers.start()
    delivery_id, _ = world.add(f"{receiver.url}/")
    world.settled(delivery_id, "delivered")
    assert receiver.requests[0].raw == '{"n":1,"text":"über\\u0001"}'.encode()


@pytest.mark.feature("predictions")
@pytest.mark.parametrize("name", ["replicate", "openai"])
def test_an_input_reaches_its_provider_as_it_was_accepted(
    world: Any, workers: Any, provider: Provider, eventually: Any, name: str
) -> None:
    """And an output is kept with the order and the numbers that it had, beside the jsonb of the version before."""
    from app.predictions.models import Prediction

    given = '{"z": 1e308,"input":  -0.0, "a": [1.10], "metadata": {"k":"v"}}'
    workers.start(**provider.environ)
    provider.ends_after = 0
    prediction_id, job_id = uuid.uuid4(), uuid.uuid4()
    row = {"id": prediction_id, "user_id": world.user_id, "provider": name, "model": MODEL[name]}
    with world.engine.begin() as connection:
        connection.execute(insert(Prediction).values(**row, input=json.loads(given), input_text=given))
        job = {"kind": "prediction", "queue": world.queue.name, "subject_id": prediction_id, "max_attempts": 3}
        connection.execute(new_job(job_id=job_id, correlation_id="c", **job))
    world.queue.enqueue([job_id])

    def ended() -> Any:
        with world.engine.connect() as connection:
            found = connection.execute(select(Prediction.__table__).where(Prediction.id == prediction_id)).one()
        return found if found.status == "succeeded" else None

    eventually(ended)
    [submitted] = provider.steps("submit")
    if name == "replicate":
        assert submitted.raw == f'{{"input":{given}}}'.encode()
    else:
        metadata = f'"metadata":{{"k":"v","prediction_id":"{prediction_id}"}}'
        expected = (
            f'{{"z":1e308,"input":-0.0,"a":[1.10],{metadata},"model":"{MODEL[name]}","background":true,"store":true}}'
        )
        assert submitted.raw == expected.encode()
    found = ended()
    assert json.loads(found.output_text) == found.output
