"""What the providers' documents mean."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.predictions.providers.base import Notice, Snapshot, Unreadable, parse
from app.predictions.providers.dialects import DIALECTS
from app.predictions.providers.openai import OpenAI
from app.predictions.providers.replicate import Replicate

REFERENCE = uuid.UUID(int=7)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"status": "starting"}, ("processing", None, None)),
        ({"status": "processing", "logs": "50%"}, ("processing", None, None)),
        ({"status": "succeeded", "output": ["x"]}, ("succeeded", ["x"], None)),
        ({"status": "succeeded", "output": None}, ("succeeded", None, None)),
        (
            {"status": "succeeded", "output": None, "data_removed": True},
            ("failed", None, "the provider had removed the result before it was read"),
        ),
        ({"status": "failed", "error": "out of memory"}, ("failed", None, "out of memory")),
        ({"status": "failed", "error": {"code": 1}}, ("failed", None, "the model failed without a message")),
        ({"status": "failed", "error": "x" * 9000}, ("failed", None, "x" * 2000)),
        ({"status": "canceled"}, ("canceled", None, None)),
        ({"status": "aborted"}, ("canceled", None, None)),
    ],
)
def test_predictions_of_replicate(document: dict[str, Any], expected: tuple[Any, ...]) -> None:
    seen = Replicate().read({"id": "abc", **document})
    assert (seen.status, seen.output, seen.error) == expected
    told = Replicate().notice({"id": "abc", **document})
    assert told == (Notice(provider_id="abc", snapshot=seen) if seen.finished else None)


@pytest.mark.parametrize(
    ("document", "status", "error"),
    [
        ({"status": "queued"}, "processing", None),
        ({"status": "in_progress"}, "processing", None),
        ({"status": "completed"}, "succeeded", None),
        ({"status": "failed", "error": {"message": "no"}}, "failed", "no"),
        ({"status": "failed", "error": None}, "failed", "the model failed without a message"),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "failed",
            "the answer is incomplete: max_output_tokens",
        ),
        ({"status": "incomplete"}, "failed", "the answer is incomplete: no reason given"),
        ({"status": "cancelled"}, "canceled", None),
    ],
)
def test_responses_of_openai(document: dict[str, Any], status: str, error: str | None) -> None:
    given_ = {"id": "resp_1", "output": [{"type": "message"}], "usage": {"total_tokens": 3}, **document}
    seen = OpenAI().read({**given_, "metadata": {"prediction_id": str(REFERENCE)}})
    assert (seen.status, seen.error, seen.reference) == (status, error, REFERENCE)
    # What there is of an answer is kept, an incomplete one too.
    kept = {"output": [{"type": "message"}], "usage": {"total_tokens": 3}}
    assert seen.output == (kept if seen.finished else None)
    for metadata in (None, [], {}, {"prediction_id": 7}, {"prediction_id": "x"}):
        assert OpenAI().read({**given_, "metadata": metadata}).reference is None


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("response.completed", True),
        ("response.failed", True),
        ("response.incomplete", True),
        ("response.cancelled", True),
        ("response.created", False),
        ("batch.completed", False),
        (None, False),
    ],
)
def test_events_of_openai(kind: str | None, told: bool) -> None:
    notice = OpenAI().notice({"type": kind, "data": {"id": "resp_1"}})
    assert notice == (Notice(provider_id="resp_1", snapshot=None) if told else None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["id", "status", "type", "data", "error", "output", "metadata", "detail", "message"]),
            inner,
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_no_document_is_an_error_of_ours(document: Any) -> None:
    for dialect in DIALECTS.values():
        for read in (dialect.read, dialect.notice):
            try:
                result = read(document)
            except Unreadable:
                continue
            assert result is None or isinstance(result, Snapshot | Notice)
        assert isinstance(dialect.problem(document), str | None)


@given(st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_is_parsed_can_be_stored(raw: bytes) -> None:
    try:
        value = parse(raw)
    except Unreadable:
        return
    text = json.dumps(value, allow_nan=False)
    assert "\\u0000" not in text.replace("\\\\", "")
    text.encode()
