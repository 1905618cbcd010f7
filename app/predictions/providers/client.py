"""Asks a provider over HTTP. An error says whether asking again can help.

By app.outbound.client: no redirect is followed with the key on it, no proxy is read from the environment and no body is
inflated.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from app.outbound.client import Answer, AnswerTooLarge, Client, RequestTimedOut
from app.outbound.network import RequestFailed
from app.outbound.urls import DEFAULT_PORTS, Target, UrlPolicy, UrlRefused
from app.predictions.providers.base import Call, Dialect, ProviderName, Snapshot, Submission, Unreadable, parse
from app.predictions.providers.dialects import DIALECTS
from app.queue.backoff import retry_after
from app.settings import Settings

_KEPT_SECONDS = 30.0
_POLICY = UrlPolicy(allow_http=True, allow_private=True)
"""The operator chooses where providers are, not users."""
_RETRYABLE = frozenset({408, 409, 425, 429})
_ACCOUNT = frozenset({401, 402, 403})
"""The provider takes offence at our key or account: the operator's business, and its text may quote the key."""


class TryAgain(Exception):
    """Asking again can help, in `after` seconds at the earliest; `str()` may be shown to the user."""

    def __init__(self, reason: str, *, after: float = 0.0) -> None:
        super().__init__(reason)
        self.after = after


class Refused(Exception):
    """The provider says no, and would again; `str()` may be shown to the user."""

    def __init__(self, reason: str, *, status: int) -> None:
        super().__init__(reason)
        self.status = status


class ProviderClient:
    """One provider. Every method raises TryAgain or Refused, at most `timeout` seconds after it was called."""

    def __init__(
        self,
        dialect: Dialect,
        *,
        base_url: str,
        key: str,
        timeout: float,
        max_response_bytes: int,
        connections: int,
        user_agent: str,
    ) -> None:
        self._dialect = dialect
        self._base = urlsplit(base_url)
        self._timeout = timeout
        self._max_response_bytes = max_response_bytes
        self._connections = connections
        self._headers = {
            "Host": self._base.netloc,
            "Authorization": f"Bearer {key}",
            "Accept": "application/json",
            # The limit on what is read would not bound what it inflates to.
            "Accept-Encoding": "identity",
            "User-Agent": user_agent,
        }
        self._http = Client(_POLICY, keep=connections, keep_seconds=_KEPT_SECONDS)

    def submit(self, submission: Submission) -> Snapshot:
        return self._ask(self._dialect.submit(submission))

    def fetch(self, provider_id: str) -> Snapshot:
        return self._ask(self._dialect.fetch(provider_id))

    def cancel(self, provider_id: str) -> Snapshot:
        return self._ask(self._dialect.cancel(provider_id))

    def close(self) -> None:
        """Close the kept connections; no request may be under way."""
        self._http.close()

    def _ask(self, call: Call) -> Snapshot:
        name = self._dialect.name
        try:
            answer = self._exchange(call)
        except RequestTimedOut as error:
            raise TryAgain(f"{name} gave {error}") from None
        except AnswerTooLarge as error:
            detail = f"{name} gave an answer of more than {self._max_response_bytes:,} bytes"
            raise Refused(detail, status=error.status) from None
        except (RequestFailed, UrlRefused) as error:
            # Of what the network says the name alone: the rest is the operator's.
            reason = type(error.__cause__).__name__ if error.__cause__ else error
            raise TryAgain(f"{name} could not be reached: {reason}") from None
        if 200 <= answer.status < 300:
            try:
                return self._dialect.read(parse(answer.body))
            except Unreadable as error:
                raise TryAgain(f"{name} gave an answer that cannot be read: {error}") from None
        raise self._error(answer.status, answer.headers, answer.body)

    def _exchange(self, call: Call) -> Answer:
        base = self._base
        headers = {**self._headers, **call.headers}
        content = None
        if call.body is not None:
            content = call.body.encode()
            headers["Content-Type"] = "application/json"
        if call.method == "POST":
            headers["Content-Length"] = str(len(content or b""))
        return self._http.request(
            call.method,
            Target(
                scheme=base.scheme,
                host=base.hostname or "",
                port=base.port or DEFAULT_PORTS[base.scheme],
                path=base.path.rstrip("/") + call.path,
            ),
            headers=list(headers.items()),
            body=content,
            timeout=self._timeout,
            max_response_bytes=self._max_response_bytes,
            whole=True,
        )

    def _error(self, status: int, headers: Mapping[str, str], body: bytes) -> Exception:
        name = self._dialect.name
        if status in _RETRYABLE or status >= 500:
            return TryAgain(f"{name} answered {status}", after=retry_after(headers.get("retry-after")))
        if status in _ACCOUNT:
            return TryAgain(f"{name} does not accept the service's account ({status})")
        if status < 400:
            return Refused(f"{name} answered {status}; redirects are not followed", status=status)
        try:
            said = self._dialect.problem(parse(body))
        except Unreadable:
            said = None
        return Refused(f"{name} answered {status}" + (f": {said}" if said else ""), status=status)


def request_timeout(settings: Settings) -> float:
    """Seconds that one request may take: a job makes up to two, and must end before its own time limit."""
    return min(settings.prediction_request_timeout, settings.queue_job_timeout * 2 // 5) / 1000


def clients(settings: Settings) -> dict[ProviderName, ProviderClient]:
    """A client for each provider that has a key. Connects on first use."""
    known: dict[ProviderName, tuple[str, str]] = {
        "replicate": (settings.replicate_base_url, settings.replicate_api_key.get_secret_value()),
        "openai": (settings.openai_base_url, settings.openai_api_key.get_secret_value()),
    }
    return {
        name: ProviderClient(
            DIALECTS[name],
            base_url=base_url,
            key=key,
            timeout=request_timeout(settings),
            max_response_bytes=settings.prediction_max_response_bytes,
            connections=settings.queue_concurrency,
            user_agent=f"{settings.service_name}/{settings.service_version}",
        )
        for name, (base_url, key) in known.items()
        if key
    }
