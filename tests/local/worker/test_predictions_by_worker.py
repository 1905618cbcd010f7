"""Predictions, from the row that the API wrote to their ends, through worker processes and providers on loopback."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from fake_provider import INPUT, MODEL, SECRET, Made, Provider, answer, event, hang_up
from sqlalchemy import func, insert, select, update

from app.predictions.models import InboundWebhook, Prediction
from app.predictions.providers.base import PROVIDERS
from app.queue.models import Job
from app.queue.outbox import new_job

pytestmark = [pytest.mark.local, pytest.mark.timeout(90)]

SECRETS = {"WEBHOOK_SECRET_REPLICATE": SECRET, "WEBHOOK_SECRET_OPENAI": SECRET, "WEBHOOK_BASE_URL": "http://api.test"}
OPENAI_OUTPUT = [{"type": "message", "content": [{"type": "output_text", "text": "a"}]}]


@dataclass
class Ground:
    """Rows as the API writes them, and what became of them."""

    world: Any
    provider: Provider
    workers: Any
    eventually: Callable[..., None]

    def start(self, **settings: str) -> Any:
        return self.workers.start(**{**self.provider.environ, **settings})

    def add(self, name: str = "replicate", *, max_attempts: int = 4, push: bool = True) -> uuid.UUID:
        prediction_id = uuid.uuid4()
        values = {"provider": name, "model": MODEL[name], "input": INPUT[name], "user_id": self.world.user_id}
        self._add(
            insert(Prediction).values(id=prediction_id, **values), "prediction", prediction_id, max_attempts, push
        )
        return prediction_id

    def tell(self, name: str, body: bytes, **values: Any) -> uuid.UUID:
        """A webhook, as the API stores it."""
        row_id = uuid.uuid4()
        given = {"id": row_id, "provider": name, "webhook_id": f"msg_{row_id}", "body": body, **values}
        self._add(insert(InboundWebhook).values(given), "webhook", row_id, 4, True)
        return row_id

    def end(self, made: Made, status: str = "succeeded", *, reference: uuid.UUID | None = None) -> uuid.UUID:
        """Let the provider end it, and tell of it."""
        self.provider.end(made, status)
        return self.tell(made.provider, event(made), provider_id=made.id, reference=reference)

    def made(self, number: int = 0) -> Made:
        self.eventually(lambda: len(self.provider.made) > number)
        return list(self.provider.made.values())[number]

    def row(self, prediction_id: uuid.UUID) -> Any:
        with self.world.engine.connect() as connection:
            return connection.execute(select(Prediction.__table__).where(Prediction.id == prediction_id)).one()

    def webhook(self, row_id: uuid.UUID) -> Any:
        with self.world.engine.connect() as connection:
            return connection.execute(select(InboundWebhook.__table__).where(InboundWebhook.id == row_id)).one()

    def job(self, subject_id: uuid.UUID) -> Any:
        with self.world.engine.connect() as connection:
            return connection.execute(select(Job.__table__).where(Job.subject_id == subject_id)).one()

    def change(self, prediction_id: uuid.UUID, **values: Any) -> None:
        with self.world.engine.begin() as connection:
            connection.execute(update(Prediction).where(Prediction.id == prediction_id).values(**values))

    def settled(self, prediction_id: uuid.UUID, status: str) -> Any:
        self.eventually(lambda: self.row(prediction_id).status == status)
        return self.row(prediction_id)

    def _add(self, statement: Any, kind: str, subject_id: uuid.UUID, max_attempts: int, push: bool) -> None:
        job_id = uuid.uuid4()
        with self.world.engine.begin() as connection:
            connection.execute(statement)
            connection.execute(
                new_job(
                    job_id=job_id,
                    kind=kind,
                    queue=self.world.queue.name,
                    subject_id=subject_id,
                    max_attempts=max_attempts,
                    correlation_id=f"test-{subject_id}",
                )
            )
        if push:
            self.world.queue.enqueue([job_id])


@pytest.fixture
def ground(world: Any, provider: Provider, workers: Any, eventually: Callable[..., None]) -> Ground:
    return Ground(world, provider, workers, eventually)


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_result_is_asked_for_when_no_webhook_comes(ground: Ground, name: str) -> None:
    ground.provider.ends_after = 2
    ground.start()
    prediction_id = ground.add(name)

    row = ground.settled(prediction_id, "succeeded")

    [submitted] = ground.provider.steps("submit")
    assert submitted.headers["idempotency-key"] == str(prediction_id)
    assert "webhook" not in submitted.body
    assert row.output == (["a", "b"] if name == "replicate" else {"output": OPENAI_OUTPUT, "usage": None})
    assert (row.provider_id, row.error) == (next(iter(ground.provider.made)), None)
    assert row.submitted_at <= row.completed_at
    job = ground.job(prediction_id)
    assert (job.state, job.attempt) == ("done", 1), "waiting for a result takes no attempts"
    assert len(ground.provider.steps("fetch")) == 3


@pytest.mark.flips("prediction_poll_interval", "prediction_webhook_grace")
@pytest.mark.parametrize("told", [False, True], ids=["asked", "told"])
@pytest.mark.parametrize("seconds", [20, 40])
def test_how_soon_it_is_asked_for(ground: Ground, seconds: int, told: bool) -> None:
    name = "PREDICTION_WEBHOOK_GRACE" if told else "PREDICTION_POLL_INTERVAL"
    ground.start(**(SECRETS if told else {}), **{name: str(seconds * 1000)})
    prediction_id = ground.add()
    row = ground.settled(prediction_id, "processing")
    wait = (ground.job(prediction_id).run_at - row.updated_at).total_seconds()
    assert seconds - 1 < wait < seconds + 1


def test_the_result_is_asked_for_ever_more_rarely(ground: Ground) -> None:
    ground.start(PREDICTION_POLL_INTERVAL="100")
    prediction_id = ground.add()
    ground.settled(prediction_id, "processing")
    ground.change(prediction_id, submitted_at=func.now() - func.make_interval(0, 0, 0, 0, 0, 0, 300))
    ground.eventually(lambda: (ground.job(prediction_id).run_at - ground.job(prediction_id).created_at).seconds > 20)
    assert 28 < (ground.job(prediction_id).run_at - ground.row(prediction_id).updated_at).total_seconds() < 40


@pytest.mark.flips("webhook_base_url")
@pytest.mark.parametrize("name", PROVIDERS)
def test_a_webhook_ends_a_prediction_and_its_job(ground: Ground, name: str) -> None:
    ground.start(**SECRETS)
    prediction_id = ground.add(name)
    row = ground.settled(prediction_id, "processing")
    [submitted] = ground.provider.steps("submit")
    address = f"http://api.test/v1/webhooks/replicate?prediction={prediction_id}"
    assert submitted.body.get("webhook") == (address if name == "replicate" else None)
    assert ground.job(prediction_id).run_at.timestamp() > time.time() + 60, "it waits for the webhook"

    told = ground.end(ground.provider.made[row.provider_id])

    assert ground.settled(prediction_id, "succeeded").output
    ground.eventually(lambda: ground.job(prediction_id).state == "done")
    webhook = ground.webhook(told)
    assert (webhook.result, webhook.body) == ("applied", None)
    assert webhook.processed_at is not None
    assert len(ground.provider.steps("fetch")) == (0 if name == "replicate" else 1)


@pytest.mark.parametrize("status", ["failed", "canceled"])
def test_an_end_without_success(ground: Ground, status: str) -> None:
    ground.start(**SECRETS)
    prediction_id = ground.add()
    made = ground.made()
    ground.settled(prediction_id, "processing")
    ground.end(made, status)
    row = ground.settled(prediction_id, status)
    assert row.error == ("the model failed without a message" if status == "failed" else None)
    assert row.completed_at is not None


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_webhook_that_comes_before_the_id_is_stored(ground: Ground, name: str) -> None:
    """The worker is held up between the provider's answer and its own transaction."""
    ground.start(**SECRETS)
    prediction_id = ground.add(name, push=False)
    key = {"idempotency-key": str(prediction_id)}
    request = {"metadata": {"prediction_id": str(prediction_id)}}
    made = ground.provider.make("/v1/responses" if name == "openai" else "/v1/predictions", key, request)
    ground.provider.faults["submit"].append(answer(500, b"", after=0.5))
    ground.eventually(lambda: ground.provider.steps("submit"))

    told = ground.end(made, reference=prediction_id if name == "replicate" else None)

    assert ground.settled(prediction_id, "succeeded").provider_id == made.id
    ground.eventually(lambda: ground.webhook(told).result == "applied")
    ground.eventually(lambda: ground.job(prediction_id).state == "done")
    assert len(ground.provider.made) == 1


def test_a_webhook_without_our_name_waits_for_the_id(ground: Ground) -> None:
    ground.provider.faults["submit"].append(answer(201, {"id": "known-late", "status": "starting"}, after=0.6))
    ground.start(**SECRETS)
    prediction_id = ground.add()
    ground.eventually(lambda: ground.provider.steps("submit"))
    told = ground.end(Made("known-late", "replicate", {}, "starting"))
    ground.eventually(lambda: ground.job(told).run_at > ground.job(told).created_at)
    assert ground.webhook(told).processed_at is None
    ground.settled(prediction_id, "succeeded")
    ground.eventually(lambda: ground.webhook(told).result == "applied")
    assert ground.job(told).attempt == 1


@pytest.mark.parametrize("name", PROVIDERS)
def test_a_webhook_of_somebody_elses_prediction_is_put_aside(ground: Ground, name: str) -> None:
    """A project's webhooks tell of whatever the account does, not only of what this service asked for."""
    ground.start(**SECRETS)
    prediction_id = ground.add(name)
    ground.settled(prediction_id, "processing")
    path = "/v1/responses" if name == "openai" else "/v1/predictions"
    made = ground.provider.make(path, {"idempotency-key": "theirs"}, {})
    told = ground.end(made)
    ground.eventually(lambda: ground.webhook(told).processed_at)
    assert ground.webhook(told).result == "no prediction of ours"
    assert ground.job(told).state == "done", "nobody need be alarmed"
    assert ground.row(prediction_id).status == "processing"
    assert not ground.provider.steps("fetch")


def test_a_webhook_cannot_name_a_prediction_that_has_another_id(ground: Ground) -> None:
    ground.start(**SECRETS)
    prediction_id = ground.add()
    ground.settled(prediction_id, "processing")
    made = ground.provider.make("/v1/predictions", {"idempotency-key": "other"}, {})
    told = ground.end(made, reference=prediction_id)
    ground.eventually(lambda: ground.webhook(told).processed_at)
    assert ground.row(prediction_id).status == "processing"


def test_the_first_end_is_the_one(ground: Ground) -> None:
    ground.start(**SECRETS)
    prediction_id = ground.add()
    ground.settled(prediction_id, "processing")
    made = ground.made()
    ground.end(made)
    ground.settled(prediction_id, "succeeded")
    late = ground.end(made, "failed")
    ground.eventually(lambda: ground.webhook(late).processed_at)
    assert ground.webhook(late).result == "the prediction had ended"
    assert ground.row(prediction_id).status == "succeeded"


def test_a_provider_that_fails_is_tried_again_with_the_same_key(ground: Ground) -> None:
    ground.provider.ends_after = 0
    limited = answer(429, b"", headers={"Retry-After": "1"})
    ground.provider.faults["submit"] += [answer(500, b""), limited, hang_up]
    ground.start(PREDICTION_REQUEST_TIMEOUT="500")
    prediction_id = ground.add()

    ground.settled(prediction_id, "succeeded")

    asked = ground.provider.steps("submit")
    assert {one.headers["idempotency-key"] for one in asked} == {str(prediction_id)}
    assert len(asked) == 4
    assert asked[2].at - asked[1].at >= 1
    # A kept connection that breaks is no sign of the provider: the request goes again on a new one.
    assert ground.job(prediction_id).attempt == 3


def test_a_provider_that_hangs_costs_one_attempt_and_not_the_worker(ground: Ground) -> None:
    ground.provider.ends_after = 0
    ground.provider.faults["submit"] += [answer(201, {}, after=3)]
    ground.start(PREDICTION_REQUEST_TIMEOUT="300")
    prediction_id = ground.add()
    ground.settled(prediction_id, "succeeded")
    first, second = ground.provider.steps("submit")
    assert second.at - first.at < 3


def test_a_provider_that_stays_away_fails_the_prediction(ground: Ground) -> None:
    ground.provider.faults["submit"] += [answer(500, b"")] * 3
    ground.start()
    prediction_id = ground.add(max_attempts=3)
    row = ground.settled(prediction_id, "failed")
    assert row.error == "replicate answered 500 (attempt 3 of 3)"
    assert row.completed_at is not None
    assert ground.job(prediction_id).state == "dead"


def test_what_the_provider_refuses_fails_at_once_with_its_reason(ground: Ground) -> None:
    ground.provider.faults["submit"].append(answer(422, {"detail": "prompt is required"}))
    ground.start()
    prediction_id = ground.add()
    assert ground.settled(prediction_id, "failed").error == "replicate answered 422: prompt is required"
    assert ground.job(prediction_id).state == "done", "a user's mistake is nothing to alarm an operator about"
    assert len(ground.provider.asked) == 1


def test_a_provider_that_is_away_while_it_computes_costs_no_attempts(ground: Ground) -> None:
    ground.provider.ends_after = 6
    ground.provider.faults["fetch"] += [answer(500, b""), answer(404, b""), hang_up, answer(200, b"<html>")] * 2
    ground.start()
    prediction_id = ground.add(max_attempts=2)
    ground.settled(prediction_id, "succeeded")
    assert ground.job(prediction_id).attempt == 1


@pytest.mark.flips("prediction_timeout")
def test_one_that_takes_too_long_is_called_off_and_failed(ground: Ground) -> None:
    ground.start(PREDICTION_TIMEOUT="1000")
    prediction_id = ground.add()
    row = ground.settled(prediction_id, "failed")
    assert row.error == "replicate gave no result within 1 s"
    assert ground.made().status == "canceled", "it would cost money for as long as it runs"
    assert ground.job(prediction_id).state == "dead"


def test_called_off_while_the_provider_works_on_it(ground: Ground) -> None:
    ground.start(**SECRETS)
    prediction_id = ground.add()
    ground.settled(prediction_id, "processing")
    ground.change(prediction_id, cancel_requested_at=func.now())
    with ground.world.engine.begin() as connection:
        connection.execute(update(Job).where(Job.subject_id == prediction_id).values(run_at=func.now()))
    row = ground.settled(prediction_id, "canceled")
    assert row.completed_at is not None
    assert len(ground.provider.steps("cancel")) == 1


@pytest.mark.parametrize("says", [answer(200, b""), answer(409, b""), answer(400, {"detail": "it has ended"})])
def test_an_answer_to_calling_off_that_says_nothing(ground: Ground, says: Any) -> None:
    ground.start()
    prediction_id = ground.add()
    ground.settled(prediction_id, "processing")
    ground.provider.faults["cancel"] += [says] * 20
    ground.change(prediction_id, cancel_requested_at=func.now())
    ground.eventually(lambda: ground.provider.steps("cancel"))
    ground.provider.end(ground.made())
    ground.settled(prediction_id, "succeeded")


def test_called_off_while_it_is_being_handed_over(ground: Ground) -> None:
    """The run that hands it over does not know; the next one comes at once, not after the wait for a webhook."""
    ground.start(**SECRETS)
    made: list[Made] = []

    def slow(handler: Any) -> None:
        ground.change(prediction_id, cancel_requested_at=func.now())
        made.append(ground.provider.make(handler.path, {"idempotency-key": str(prediction_id)}, {}))
        answer(201, made[0].document())(handler)

    ground.provider.faults["submit"].append(slow)
    prediction_id = ground.add(push=False)
    ground.settled(prediction_id, "canceled")
    assert made[0].status == "canceled"


def test_a_worker_that_vanishes_before_it_stores_the_id(ground: Ground) -> None:
    """At least once, under one key: a provider that knows the key has one prediction, another has two."""
    stuck: list[Any] = []

    def make_and_hang(handler: Any) -> None:
        ground.provider.make(handler.path, {"idempotency-key": str(prediction_id)}, {})
        stuck.append(handler)
        time.sleep(2)

    ground.provider.faults["submit"].append(make_and_hang)
    ground.provider.ends_after = 0
    first = ground.start()
    prediction_id = ground.add()
    ground.eventually(lambda: stuck)
    first.kill()
    assert ground.row(prediction_id).status == "submitting"
    ground.start()
    row = ground.settled(prediction_id, "succeeded")
    assert {one.headers["idempotency-key"] for one in ground.provider.steps("submit")} == {str(prediction_id)}
    assert list(ground.provider.made) == [row.provider_id]


def test_an_id_that_another_prediction_has_fails_the_second_alone(ground: Ground) -> None:
    same = answer(201, {"id": "always-the-same", "status": "starting"})
    ground.provider.faults["submit"] += [same] * 3
    ground.start()
    ids = [ground.add() for _ in range(3)]
    ground.eventually(lambda: sum(ground.row(one).status == "failed" for one in ids) == 2)
    errors = {ground.row(one).error for one in ids}
    assert errors == {None, "the provider gave it an id that another prediction has"}


@pytest.mark.flips("replicate_api_key")
def test_a_provider_whose_key_is_gone(ground: Ground) -> None:
    ground.start(REPLICATE_API_KEY="")
    prediction_id = ground.add(max_attempts=2)
    assert "REPLICATE_API_KEY is not set" in ground.settled(prediction_id, "failed").error


def test_an_answer_with_a_nul_is_stored(ground: Ground) -> None:
    ground.start(**SECRETS)
    prediction_id = ground.add()
    made = ground.made()
    ground.settled(prediction_id, "processing")
    body = b'{"id": "%s", "status": "succeeded", "output": "a\\u0000b"}' % made.id.encode()
    ground.tell("replicate", body, provider_id=made.id)
    assert ground.settled(prediction_id, "succeeded").output == "a\ufffdb"


def test_in_processes_of_their_own(ground: Ground) -> None:
    ground.start(**SECRETS, QUEUE_ISOLATED_KINDS="prediction,webhook")
    prediction_id = ground.add("openai")
    row = ground.settled(prediction_id, "processing")
    ground.end(ground.provider.made[row.provider_id])
    ground.settled(prediction_id, "succeeded")


def test_many_predictions_and_webhooks_at_once(ground: Ground) -> None:
    """Two workers, webhooks twice each: every prediction ends once, and no two transactions stand in each other's
    way for good."""
    for _ in range(2):
        ground.start(**SECRETS, PREDICTION_WEBHOOK_GRACE="300", QUEUE_CONCURRENCY="8")
    ids = [ground.add(PROVIDERS[n % 2]) for n in range(40)]
    ground.eventually(lambda: len(ground.provider.made) == 40)
    told = [ground.end(made) for made in list(ground.provider.made.values()) for _ in range(2)]
    ground.eventually(lambda: all(ground.row(one).status == "succeeded" for one in ids), timeout=40)
    ground.eventually(lambda: all(ground.webhook(one).processed_at for one in told), timeout=40)
    ground.eventually(lambda: all(ground.job(one).state == "done" for one in ids), timeout=40)
    assert len(ground.provider.steps("submit")) == 40
