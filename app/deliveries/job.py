"""Jobs of kind `delivery`: send a user's webhook, and log the attempt.

The receiver sees the same `webhook-id` (the delivery's id) on every attempt, and can drop what it has had already: the
request is sent at least once, its log entry and the delivery's status are stored once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from app.deliveries import KIND
from app.json_text import storable
from app.observability import correlation
from app.observability.logging import get_logger
from app.outbound.client import Answer, Client, RequestInvalid
from app.outbound.network import RequestFailed, Resolver
from app.outbound.urls import UrlPolicy, UrlRefused, check_url_shape
from app.queue.backoff import retry_after
from app.queue.handler import Effects, Handler
from app.queue.job import INTERNAL_ERROR, Job, Outcome
from app.settings import Settings

log = get_logger()

EXCERPT_CHARACTERS = 2048
_RETRYABLE_STATUS = frozenset({408, 425, 429})
_STORE_SECONDS = 20.0
"""Left of the lease after the longest attempt, to store its result while Postgres comes back from a failover."""

# Ours, whatever the user asked for: receivers rely on them, or they frame the request.
_RESERVED = frozenset(
    {"webhook-id", "webhook-timestamp", "user-agent", "host", "connection", "content-length", "transfer-encoding"}
    | {"te", "trailer", "upgrade", "keep-alive", "proxy-connection", "expect", correlation.HEADER.lower()}
)


_BEGIN = """
    UPDATE deliveries SET status = 'delivering', updated_at = now()
    FROM {mine} AS claimed WHERE deliveries.id = claimed.subject_id
    RETURNING deliveries.id, json_build_object(
        'url', url, 'body', payload_text, 'payload', CASE WHEN payload_text IS NULL THEN payload END, 'headers', headers
    ) AS work
"""
_SET_STATUS = """
    UPDATE deliveries SET
        status = CASE finished.state WHEN 'done' THEN 'delivered' WHEN 'dead' THEN 'failed' ELSE 'pending' END,
        last_error = CASE WHEN finished.begun THEN finished.error ELSE deliveries.last_error END,
        updated_at = now(),
        completed_at = CASE WHEN finished.state = 'pending' THEN NULL ELSE now() END
    FROM {mine} AS finished WHERE deliveries.id = finished.subject_id
"""
# Joined with the deliveries: one may have been deleted while its request was under way. A job whose delivery was
# deleted before has no detail: it made no attempt.
_ADD_ATTEMPT = """
    INSERT INTO delivery_attempts
        (delivery_id, number, started_at, duration_ms, status_code, error, response_excerpt)
    SELECT deliveries.id,
        coalesce((SELECT max(number) FROM delivery_attempts WHERE delivery_id = deliveries.id), 0) + 1,
        made.started_at, made.duration_ms, made.status_code, made.error, made.response_excerpt
    FROM {mine} AS finished JOIN deliveries ON deliveries.id = finished.subject_id
    CROSS JOIN LATERAL json_to_record(finished.detail) AS made (
        started_at timestamptz, duration_ms int, status_code int, error text, response_excerpt text
    )
    WHERE json_typeof(finished.detail) = 'object'
"""


@dataclass(frozen=True, kw_only=True)
class Work:
    """`body`: the payload as it was accepted."""

    url: str
    body: str
    headers: dict[str, str]


def _work(found: Mapping[str, Any]) -> Work:
    body = found["body"]
    if body is None:
        # Accepted by the version that kept jsonb alone. Written as that one writes it, so that all attempts are alike.
        body = json.dumps(found["payload"], separators=(",", ":"), ensure_ascii=False)
    return Work(url=found["url"], body=body, headers=found["headers"])


class DeliveryHandler:
    """See app.queue.handler.Handler."""

    effects = Effects(begin=_BEGIN, read=_work, store=(_SET_STATUS, _ADD_ATTEMPT))

    def __init__(self, settings: Settings, *, resolve: Resolver | None = None) -> None:
        self._timeout = settings.delivery_timeout / 1000
        # Short, so that another worker takes over soon after this one vanished.
        self.lease = min(settings.queue_lease / 1000, self._timeout + _STORE_SECONDS)
        self._max_response_bytes = settings.delivery_max_response_bytes
        self._policy = UrlPolicy.of(settings)
        self._user_agent = f"{settings.service_name}/{settings.service_version}"
        self._http = Client(self._policy, resolve=resolve)

    def run(self, work: Work, job: Job) -> Outcome:
        """Whatever comes of it, the attempt is logged: the receiver may have had the request."""
        started_at, started = datetime.now(UTC), time.monotonic()
        answer: Answer | None = None
        try:
            answer = self._send(work, job)
            outcome = classify(answer)
        except (UrlRefused, RequestInvalid) as error:
            outcome = Outcome(result="dead", error=storable(str(error)))
        except RequestFailed as error:
            outcome = Outcome(result="retry", error=storable(str(error)))
        except MemoryError:
            outcome = Outcome(result="retry", error="the job ran out of memory")
        except Exception:  # a fault of ours, with an answer perhaps: a counted attempt like any other
            log.exception("job failed unexpectedly", job_id=str(job.id))
            outcome = Outcome(result="retry", error=INTERNAL_ERROR)
        attempt = {
            "started_at": started_at.isoformat(),
            "duration_ms": round((time.monotonic() - started) * 1000),
            "status_code": answer.status if answer else None,
            "error": outcome.error,
            "response_excerpt": _excerpt(answer.body) if answer else None,
        }
        return replace(outcome, detail=attempt, log={"status_code": answer.status} if answer else {})

    def _send(self, work: Work, job: Job) -> Answer:
        return self._http.request(
            "POST",
            check_url_shape(work.url, self._policy),
            headers=self._headers(work, job),
            body=work.body.encode(),
            timeout=self._timeout,
            max_response_bytes=self._max_response_bytes,
        )

    def _headers(self, work: Work, job: Job) -> list[tuple[str, str]]:
        theirs = {name: value for name, value in work.headers.items() if name.lower() not in _RESERVED}
        given = {name.lower() for name in theirs}
        ours = {
            "User-Agent": self._user_agent,
            "webhook-id": str(job.subject_id),
            "webhook-timestamp": str(int(time.time())),
        }
        if job.correlation_id:
            ours[correlation.HEADER] = job.correlation_id
        if "content-type" not in given:
            ours["Content-Type"] = "application/json"
        if job.traceparent and "traceparent" not in given:
            ours["traceparent"] = job.traceparent
        return [*ours.items(), *theirs.items()]


def classify(answer: Answer) -> Outcome:
    """What an answer means for the delivery: only a 2xx is one."""
    status = answer.status
    if 200 <= status < 300:
        return Outcome(result="done")
    if status in _RETRYABLE_STATUS or status >= 500:
        return Outcome(
            result="retry",
            error=f"the receiver answered {status}",
            at_least=retry_after(answer.headers.get("retry-after")),
        )
    if 300 <= status < 400:
        # Following one would send the body to an address that was never checked.
        return Outcome(result="dead", error=f"the receiver answered {status}; redirects are not followed")
    return Outcome(result="dead", error=f"the receiver answered {status}")


def _excerpt(body: bytes) -> str | None:
    """Text for the log. Postgres cannot hold NUL in text."""
    return body[: 4 * EXCERPT_CHARACTERS].decode("utf-8", "replace").replace("\x00", "")[:EXCERPT_CHARACTERS] or None


def handlers(settings: Settings) -> dict[str, Handler]:
    return {KIND: DeliveryHandler(settings)}
