"""The oracle must see every kind of loss and doubling, or it proves nothing; the proxy must be a network."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Iterator

import pytest
from rig.oracle import assert_exactly_once, query
from rig.proxy import Proxy
from rig.receiver import Call
from rig.servers import HOST, Postgres


def call(webhook_id: uuid.UUID, *, number: int = 1, payload: object = None) -> Call:
    return Call(path="/", webhook_id=webhook_id, number=number, body=payload or {"n": 1}, at=0.0)


def deliver(url: str) -> uuid.UUID:
    """A delivery with its job and its attempt, as they stand when all went well."""
    user, delivery = uuid.uuid4(), uuid.uuid4()
    query(url, "INSERT INTO users (id, email, password_hash) VALUES (%s, %s, 'x')", user, f"{user}@example.org")
    query(
        url,
        "INSERT INTO deliveries (id, user_id, url, payload, max_attempts, status, completed_at)"
        """ VALUES (%s, %s, 'http://x', '{"n": 1}', 3, 'delivered', now())""",
        delivery,
        user,
    )
    query(
        url,
        "INSERT INTO jobs (id, kind, queue, subject_id, state, attempt, max_attempts)"
        " VALUES (%s, 'delivery', 'webhook-processor', %s, 'done', 1, 3)",
        uuid.uuid4(),
        delivery,
    )
    query(
        url,
        "INSERT INTO delivery_attempts (delivery_id, number, started_at, duration_ms, status_code)"
        " VALUES (%s, 1, now(), 1, 200)",
        delivery,
    )
    return delivery


def test_the_oracle_passes_what_is_right_and_nothing_else(postgres: Postgres) -> None:
    url = postgres.url
    first, second = deliver(url), deliver(url)
    accepted = [first, second]
    calls = {first: [call(first)], second: [call(second), call(second, number=2)]}
    found = assert_exactly_once(url, accepted, calls)
    assert (found.accepted, found.calls, found.repeated) == (2, 3, 1)

    stranger = uuid.uuid4()
    with pytest.raises(AssertionError, match="accepted and not stored"):
        assert_exactly_once(url, [*accepted, stranger], calls)
    with pytest.raises(AssertionError, match="stored and not accepted"):
        assert_exactly_once(url, [first], calls)
    with pytest.raises(AssertionError, match="accepted under two keys"):
        assert_exactly_once(url, [first, first, second], calls)
    with pytest.raises(AssertionError, match="never accepted"):
        assert_exactly_once(url, accepted, {**calls, stranger: [call(stranger)]})
    with pytest.raises(AssertionError, match="no call for"):
        assert_exactly_once(url, accepted, {second: calls[second]})
    with pytest.raises(AssertionError, match="differ in their body"):
        assert_exactly_once(url, accepted, {**calls, first: [call(first, payload={"n": 2})]})
    with pytest.raises(AssertionError, match="delivered"):
        assert_exactly_once(url, accepted, calls, failed=[first])


DAMAGES = (
    "UPDATE deliveries SET status = 'failed' WHERE id = %s",
    "UPDATE deliveries SET completed_at = NULL WHERE id = %s",
    "UPDATE jobs SET state = 'dead' WHERE subject_id = %s",
    "UPDATE jobs SET claimed_by = 'somebody' WHERE subject_id = %s",
    "UPDATE jobs SET attempt = 4 WHERE subject_id = %s",
    "DELETE FROM jobs WHERE subject_id = %s",
    "DELETE FROM delivery_attempts WHERE delivery_id = %s",
    "INSERT INTO delivery_attempts (delivery_id, number, started_at, duration_ms, status_code)"
    " VALUES (%s, 2, now(), 1, 200)",
    "INSERT INTO jobs (id, kind, queue, subject_id, state, attempt, max_attempts)"
    " VALUES (gen_random_uuid(), 'delivery', 'q', %s, 'done', 1, 3)",
)


def test_the_oracle_sees_every_damage(postgres: Postgres) -> None:
    for damage in DAMAGES:
        delivery = deliver(postgres.url)
        calls = {delivery: [call(delivery), call(delivery, number=2)]}
        assert_exactly_once(postgres.url, [delivery], calls)

        query(postgres.url, damage, delivery)

        with pytest.raises(AssertionError):
            assert_exactly_once(postgres.url, [delivery], calls)
        query(postgres.url, "DELETE FROM jobs")
        query(postgres.url, "DELETE FROM users")


@pytest.fixture
def echo() -> Iterator[socket.socket]:
    """A listening socket; the test answers by itself."""
    with socket.create_server((HOST, 0)) as listener:
        yield listener


def test_a_lost_answer_is_one_that_the_server_gave(echo: socket.socket) -> None:
    proxy = Proxy(echo.getsockname()[1])
    try:
        proxy.lose_answers(b"secret", 1)
        for text, lost in ((b"plain", False), (b"a secret", True), (b"another secret", False)):
            with socket.create_connection((HOST, proxy.port), timeout=10) as near:
                far, _ = echo.accept()
                with far:
                    near.sendall(text)
                    assert far.recv(100) == text
                    far.sendall(b"answer")
                    if lost:
                        with pytest.raises(ConnectionResetError):
                            near.recv(100)
                    else:
                        assert near.recv(100) == b"answer"
        assert proxy.lost == 1
    finally:
        proxy.close()


@pytest.mark.parametrize("forget", [False, True])
def test_a_cut_network_is_silent_and_goes_on_or_has_forgotten(echo: socket.socket, forget: bool) -> None:
    proxy = Proxy(echo.getsockname()[1])
    try:
        with socket.create_connection((HOST, proxy.port), timeout=10) as near:
            far, _ = echo.accept()
            with far:
                near.sendall(b"before")
                assert far.recv(100) == b"before"
                proxy.cut()
                near.sendall(b"during")
                far.settimeout(0.3)
                with pytest.raises(TimeoutError):
                    far.recv(100)
                far.settimeout(10)
                # No answer, and no refusal either.
                with socket.create_connection((HOST, proxy.port), timeout=10):
                    proxy.mend(forget=forget)
                if forget:
                    with pytest.raises(ConnectionResetError):
                        near.recv(100)
                else:
                    assert far.recv(100) == b"during"
    finally:
        proxy.close()
