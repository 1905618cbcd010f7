"""Asks a provider over HTTP: one pool of connections a process and provider, one deadline a request.

httpcore2 as in app.outbound.client: no redirect is followed with the key on it, no proxy is read from the environment
and no body is inflated. An error says whether asking again can help.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpcore2

from app.outbound.network import Current, Deadline, GuardedBackend, RequestFailed, system_resolver
from app.outbound.urls import UrlPolicy, UrlRefused
from app.predictions.providers.base import Call, Dialect, ProviderName, Snapshot, Submission, Unreadable, parse
from app.predictions.providers.dialects import DIALECTS
from app.queue.backoff import retry_after
from app.settings import Settings

_KEEP_ALIVE = 30.0
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
        self._current = Current()
        self._lock = threading.Lock()
        self._made: httpcore2.ConnectionPool | None = None

    def submit(self, submission: Submission) -> Snapshot:
        return self._ask(self._dialect.submit(submission))

    def fetch(self, provider_id: str) -> Snapshot:
        return self._ask(self._dialect.fetch(provider_id))

    def cancel(self, provider_id: str) -> Snapshot:
        return self._ask(self._dialect.cancel(provider_id))

    def close(self) -> None:
        """Close the kept connections; no request may be under way."""
        with self._lock:
            if self._made is not None:
                self._made.close()
                self._made = None

    def _pool(self) -> httpcore2.ConnectionPool:
        with self._lock:
            if self._made is None:
                self._made = httpcore2.ConnectionPool(
                    ssl_context=httpcore2.default_ssl_context(),
                    network_backend=GuardedBackend(policy=_POLICY, current=self._current, resolve=system_resolver),
                    # A worker has as many requests under way as it has slots; nothing here is to hold one up.
                    max_connections=None,
                    max_keepalive_connections=self._connections,
                    keepalive_expiry=_KEEP_ALIVE,
                )
            return self._made

    def _ask(self, call: Call) -> Snapshot:
        name = self._dialect.name
        deadline = self._current.deadline = Deadline(self._timeout)
        while True:
            try:
                status, headers, body = self._exchange(call)
                break
            except (TimeoutError, httpcore2.TimeoutException):
                raise TryAgain(f"{name} gave no complete answer within {self._timeout:g} s") from None
            except (RequestFailed, UrlRefused) as error:
                raise TryAgain(f"{name} could not be reached: {error}") from None
            except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
                # A kept connection that the provider closed in the moment in which it was used again is gone from the
                # pool; one that was made for this request ends this.
                if deadline.connected:
                    raise TryAgain(f"{name} could not be reached: {type(error).__name__}") from None
        if 200 <= status < 300:
            try:
                return self._dialect.read(parse(body))
            except Unreadable as error:
                raise TryAgain(f"{name} gave an answer that cannot be read: {error}") from None
        raise self._error(status, headers, body)

    def _exchange(self, call: Call) -> tuple[int, Mapping[str, str], bytes]:
        base = self._base
        host = base.hostname or ""
        url = httpcore2.URL(
            scheme=base.scheme.encode(),
            host=(f"[{host}]" if ":" in host else host).encode(),
            port=base.port,
            target=(base.path.rstrip("/") + call.path).encode(),
        )
        headers = {**self._headers, **call.headers}
        content = None
        if call.body is not None:
            content = call.body.encode()
            headers["Content-Type"] = "application/json"
        if content is not None or call.method == "POST":
            headers["Content-Length"] = str(len(content or b""))
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        with self._pool().stream(call.method, url, headers=pairs, content=content) as response:
            answered = {key.decode("latin-1").lower(): value.decode("latin-1") for key, value in response.headers}
            return response.status, answered, self._read(response)

    def _read(self, response: httpcore2.Response) -> bytes:
        received = bytearray()
        for chunk in response.iter_stream():
            received += chunk
            if len(received) > self._max_response_bytes:
                raise Refused(
                    f"{self._dialect.name} gave an answer of more than {self._max_response_bytes:,} bytes",
                    status=response.status,
                )
        return bytes(received)

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
