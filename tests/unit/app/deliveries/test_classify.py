from __future__ import annotations

import pytest

from app.deliveries.job import classify
from app.outbound.client import Answer


@pytest.mark.parametrize(
    ("status", "result"),
    [
        *((status, "done") for status in (200, 201, 202, 204, 299)),
        *((status, "dead") for status in (301, 302, 303, 307, 308, 304)),
        *((status, "dead") for status in (400, 401, 403, 404, 405, 409, 410, 413, 422, 451)),
        *((status, "retry") for status in (408, 425, 429, 500, 502, 503, 504, 599, 999)),
    ],
)
def test_only_2xx_is_delivered_and_only_some_failures_are_worth_a_retry(status: int, result: str) -> None:
    outcome = classify(Answer(status=status, headers={}, body=b""))

    assert outcome.result == result
    assert (outcome.error is None) == (result == "done")
    assert outcome.error is None or str(status) in outcome.error


def test_retry_after_is_passed_on() -> None:
    assert classify(Answer(status=503, headers={"retry-after": "12"}, body=b"")).at_least == 12
