"""What a receiver sees of a delivery, and what is stored of it, through a worker process."""

from __future__ import annotations

import time
from typing import Any

import pytest

pytestmark = [pytest.mark.local, pytest.mark.timeout(60)]


def test_a_delivery_reaches_its_receiver(world: Any, workers: Any, receiver: Any) -> None:
    worker = workers.start()
    delivery_id, job_id = world.add(f"{receiver.url}/hook?a=b", headers={"X-Custom": "yes", "User-Agent": "other"})

    row = world.settled(delivery_id, "delivered")

    [request] = receiver.requests
    assert request.path == "/hook?a=b"
    assert request.body == {"n": 1, "text": "über\u0001"}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == str(delivery_id)
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 60
    assert request.headers["x-request-id"] == f"test-{delivery_id}"
    assert request.headers["x-custom"] == "yes"
    assert request.headers["user-agent"] == "slipway/0.0.0"
    assert row.completed_at is not None
    assert row.last_error is None
    [attempt] = world.attempts(delivery_id)
    assert (attempt.number, attempt.status_code, attempt.error, attempt.response_excerpt) == (1, 200, None, "ok")
    job = world.job(job_id)
    assert (job.state, job.attempt, job.lease_until) == ("done", 1, None)
    assert job.enqueued_at is not None
    [started], [ended] = worker.events("job started"), worker.events("job ended")
    assert started["correlation_id"] == ended["correlation_id"] == f"test-{delivery_id}"
    assert (ended["attempt"], ended["outcome"], ended["status_code"]) == (1, "done", 200)
    assert ended["duration_ms"] >= 0


def test_a_failed_attempt_is_repeated_with_the_same_id(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any
) -> None:
    worker = workers.start()
    url = receiver.on("/flaky", lambda handler, n: answers(503 if n < 3 else 204, b"")(handler, n))
    delivery_id, job_id = world.add(url)

    world.settled(delivery_id, "delivered")

    attempts = world.attempts(delivery_id)
    assert [(a.number, a.status_code) for a in attempts] == [(1, 503), (2, 503), (3, 204)]
    assert attempts[0].error == "the receiver answered 503"
    assert {request.headers["webhook-id"] for request in receiver.requests} == {str(delivery_id)}
    assert world.job(job_id).attempt == 3
    assert [event["outcome"] for event in worker.events("job ended")] == ["retry", "retry", "done"]
    eventually(lambda: world.queue.rq.finished_job_registry.get_job_ids(cleanup=False) == [str(job_id)])
    assert world.queue.rq.scheduled_job_registry.get_job_count(cleanup=False) == 0


def test_retry_after_is_honoured_and_the_retry_is_on_time(
    world: Any, workers: Any, receiver: Any, answers: Any
) -> None:
    workers.start(SWEEP_INTERVAL="60000", DELIVERY_BACKOFF="1", DELIVERY_BACKOFF_MAX="5000")
    limited = answers(429, b"", headers={"Retry-After": "1"})
    url = receiver.on("/limited", lambda handler, n: (limited if n == 1 else answers(200))(handler, n))
    delivery_id, _ = world.add(url)

    world.settled(delivery_id, "delivered")

    first, second = receiver.requests
    assert 1.0 <= second.at - first.at < 3


@pytest.mark.flips("delivery_backoff")
@pytest.mark.parametrize(("milliseconds", "soon"), [("1", True), ("60000", False)])
def test_the_wait_before_a_retry_grows_from_its_base(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any, milliseconds: str, soon: bool
) -> None:
    workers.start(DELIVERY_BACKOFF=milliseconds, DELIVERY_BACKOFF_MAX="60000")
    url = receiver.on("/down", answers(503))
    jobs = [world.add(url, max_attempts=2)[1] for _ in range(8)]
    eventually(lambda: all(world.job(job).attempt >= 1 and world.job(job).state != "running" for job in jobs))

    if soon:
        eventually(lambda: all(world.job(job).state == "dead" for job in jobs))
    else:
        time.sleep(1)
        # The wait is drawn between nothing and a minute: that all eight are below a second is one in 10^14.
        assert not all(world.job(job).state == "dead" for job in jobs)


@pytest.mark.flips("delivery_max_response_bytes")
@pytest.mark.parametrize(("limit", "kept"), [("5", "hello"), ("50", "hello, receiver")])
def test_how_much_of_an_answer_is_read(
    world: Any, workers: Any, receiver: Any, answers: Any, limit: str, kept: str
) -> None:
    workers.start(DELIVERY_MAX_RESPONSE_BYTES=limit)
    delivery_id, _ = world.add(receiver.on("/", answers(200, b"hello, receiver")))

    world.settled(delivery_id, "delivered")

    assert world.attempts(delivery_id)[0].response_excerpt == kept


def test_an_answer_that_no_retry_can_help_is_final(
    world: Any, workers: Any, receiver: Any, answers: Any, eventually: Any
) -> None:
    workers.start()
    elsewhere = receiver.on("/elsewhere", answers(200))
    added = {
        status: world.add(receiver.on(f"/{status}", answers(status, b"no", headers={"Location": elsewhere})))
        for status in (302, 307, 400, 404, 410)
    }

    for status, (delivery_id, job_id) in added.items():
        assert f"the receiver answered {status}" in world.settled(delivery_id, "failed").last_error
        assert (world.job(job_id).state, world.job(job_id).attempt) == ("dead", 1)
    assert sorted(request.path for request in receiver.requests) == [f"/{status}" for status in added]
    names = {str(job_id) for _, job_id in added.values()}
    eventually(lambda: set(world.queue.rq.failed_job_registry.get_job_ids(cleanup=False)) == names)


def test_a_job_is_dead_after_its_last_attempt(world: Any, workers: Any, receiver: Any, answers: Any) -> None:
    workers.start()
    delivery_id, job_id = world.add(receiver.on("/down", answers(500, b"\x00bad\xff")), max_attempts=2)
    nobody, _ = world.add("http://127.0.0.1:9/", max_attempts=2)

    row = world.settled(delivery_id, "failed")

    assert row.last_error == "the receiver answered 500 (attempt 2 of 2)"
    assert world.job(job_id).last_error == row.last_error
    assert [a.response_excerpt for a in world.attempts(delivery_id)] == ["bad\ufffd"] * 2
    row = world.settled(nobody, "failed")
    assert row.last_error == "the receiver refused the connection (attempt 2 of 2)"


@pytest.mark.flips("delivery_timeout")
def test_a_slow_receiver_hits_the_deadline(world: Any, workers: Any, receiver: Any) -> None:
    def drip(handler: Any, _: int) -> None:
        # A byte of the header now and then: no single read ever times out.
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"y" * 100:
            handler.wfile.write(bytes([byte]))
            time.sleep(0.05)

    workers.start(DELIVERY_TIMEOUT="500")
    delivery_id, _ = world.add(receiver.on("/drip", drip), max_attempts=1)

    row = world.settled(delivery_id, "failed")

    assert row.last_error.startswith("no complete answer within 0.5 s")
    [attempt] = world.attempts(delivery_id)
    assert 450 <= attempt.duration_ms < 4000
    assert attempt.status_code is None


def test_a_huge_response_is_cut(world: Any, workers: Any, receiver: Any) -> None:
    sent = 0

    def flood(handler: Any, _: int) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        try:
            for _chunk in range(2000):
                handler.wfile.write(b"x" * 65536)
                sent += 65536
        except OSError:
            pass

    workers.start(DELIVERY_MAX_RESPONSE_BYTES="10000")
    delivery_id, _ = world.add(receiver.on("/flood", flood))

    world.settled(delivery_id, "delivered")

    assert world.attempts(delivery_id)[0].response_excerpt == "x" * 2048
    assert sent < 50_000_000


@pytest.mark.flips("delivery_allow_private_networks")
def test_a_refused_address_is_not_connected_to(world: Any, workers: Any, receiver: Any) -> None:
    workers.start(DELIVERY_ALLOW_PRIVATE_NETWORKS="false")
    delivery_id, _ = world.add(receiver.url)

    row = world.settled(delivery_id, "failed")

    assert row.last_error == "the host is a private, local or reserved address"
    assert receiver.requests == []
    assert len(world.attempts(delivery_id)) == 1
