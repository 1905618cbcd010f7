"""The network to Postgres ends between a commit and the news of it (F27)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from rig.chaos import Chaos
from rig.proxy import Proxy
from rig.servers import Postgres
from rig.waiting import wait_for

# What only these statements have among their parameters.
CLAIM, STORE, ACCEPT = b'"lease":', b'"given_back":', b'"request_hash":'


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[Proxy]:
    """The application's own network to Postgres."""
    made = Proxy(postgres.port)
    yield made
    made.close()


def via(proxy: Proxy, chaos: Chaos) -> dict[str, str]:
    return {"DATABASE_URL": chaos.postgres.url_of(chaos.postgres.DATABASE, port=proxy.port)}


@pytest.mark.parametrize("statement", [CLAIM, STORE], ids=["claim", "store"])
def test_f27_a_worker_finds_what_it_did_before_the_answer_was_lost(
    chaos: Chaos, proxy: Proxy, statement: bytes
) -> None:
    """With one attempt, so that one that is counted for nothing buries its delivery."""
    chaos.up(workers=0)
    worker = chaos.apps.worker(QUEUE_CONCURRENCY="4", **via(proxy, chaos))
    proxy.lose_answers(statement, 3)

    # Well within the lease of 30 s.
    with chaos.bound("F27", 20) as bound:
        accepted = chaos.client.deliver_many(20, chaos.receiver.url, max_attempts=1)
        found = chaos.assert_exactly_once(accepted, bound)

    assert proxy.lost == 3
    assert found.repeated == 0
    assert not worker.log_has("job lost its lease, its result was dropped")
    assert [row.attempt for row in chaos.query("SELECT attempt FROM jobs")] == [1] * 20


def test_f27_an_acceptance_whose_answer_was_lost_is_one_delivery(chaos: Chaos, proxy: Proxy) -> None:
    """The caller is told that it is not known, and repeats it under its key."""
    chaos.apps.api(**via(proxy, chaos))
    chaos.apps.worker()
    chaos.client.log_in()
    proxy.lose_answers(ACCEPT, 3)

    with chaos.bound("F27", 20) as bound:
        accepted = chaos.client.deliver_many(20, chaos.receiver.url)
        found = chaos.assert_exactly_once(accepted, bound)

    wait_for(lambda: proxy.lost == 3)
    assert found.repeated == 0
