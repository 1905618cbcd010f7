"""Receivers that refuse, ask for time, fail and hang (F19)."""

from __future__ import annotations

import itertools
import threading

from rig.chaos import Chaos
from rig.receiver import held_until, in_turn, reply


def test_f19_failing_receivers_get_their_deliveries_once_they_are_well(chaos: Chaos) -> None:
    chaos.up(workers=1, DELIVERY_TIMEOUT="3000", DELIVERY_BACKOFF="400", DELIVERY_BACKOFF_MAX="2500")
    answered = threading.Event()
    busy = chaos.receiver.on("/busy", in_turn(reply(429, headers={"Retry-After": "2"}), reply(200)))
    broken = chaos.receiver.on("/broken", in_turn(reply(500), reply(500), reply(503), reply(200)))
    hanging = chaos.receiver.on("/hanging", in_turn(held_until(answered, reply(200)), reply(200)))

    with chaos.bound("F19", 40) as bound:
        limited = chaos.client.deliver_many(5, busy)
        refused = chaos.client.deliver_many(20, broken)
        ignored = chaos.client.deliver_many(3, hanging)
        found = chaos.assert_exactly_once([*limited, *refused, *ignored], bound)
        answered.set()

    assert found.calls >= 5 * 2 + 20 * 4 + 3 * 2
    calls = chaos.receiver.calls()
    gaps = {
        delivery_id: [later.at - earlier.at for earlier, later in itertools.pairwise(made)]
        for delivery_id, made in calls.items()
    }
    assert all(gaps[delivery_id][0] >= 2.0 for delivery_id in limited)
    # Full jitter: those that failed together do not come back together.
    third = sorted(gaps[delivery_id][2] for delivery_id in refused)
    assert third[-1] - third[0] > 0.4
    errors = chaos.query("SELECT error FROM delivery_attempts WHERE status_code IS NULL")
    assert len(errors) >= len(ignored)
    assert {row.error for row in errors} == {"no complete answer within 3 s"}
