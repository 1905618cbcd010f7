"""Asks a provider over HTTP: one pool of connections a process and provider, one deadline a request.

httpcore2 as in app.security.outbound: no redirect is followed with the key on it, no proxy is read from the environment
and no body is inflated. An error says whether asking again can help.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import httpcore2
from httpcore2 import NetworkBackend, NetworkStream

from app.jobs.backoff import retry_after
from app.providers.base import Call, Dialect, ProviderName, Snapshot, Submission, Unreadable, parse
from app.providers.dialects import DIALECTS
from app.security.outbound import RequestFailed, resolve_within, system_resolver
from app.settings import Settings

_CONNECT_TIMEOUT = 5.0
_KEEP_ALIVE = 30.0
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
        self._clock = _Clock()

    def submit(self, submission: Submission) -> Snapshot:
        return self._ask(self._dialect.submit(submission))

    def fetch(self, provider_id: str) -> Snapshot:
        return self._ask(self._dialect.fetch(provider_id))

    def cancel(self, provider_id: str) -> Snapshot:
        return self._ask(self._dialect.cancel(provider_id))

    def close(self) -> None:
        self._pool.close()

    @cached_property
    def _pool(self) -> httpcore2.ConnectionPool:
        return httpcore2.ConnectionPool(
            ssl_context=httpcore2.default_ssl_context(),
            max_connections=self._connections,
            max_keepalive_connections=self._connections,
            keepalive_expiry=_KEEP_ALIVE,
            network_backend=_DeadlineBackend(self._clock),
        )

    def _ask(self, call: Call) -> Snapshot:
        name = self._dialect.name
        try:
            with self._clock.running(self._timeout):
                status, headers, body = self._exchange(call)
        except (TimeoutError, httpcore2.TimeoutException):
            raise TryAgain(f"{name} gave no complete answer within {self._timeout:g} s") from None
        except RequestFailed as error:
            raise TryAgain(f"{name} could not be reached: {error}") from None
        except (httpcore2.NetworkError, httpcore2.ProtocolError, OSError) as error:
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
            content = json.dumps(call.body, separators=(",", ":"), ensure_ascii=False).encode()
            headers["Content-Type"] = "application/json"
        if content is not None or call.method == "POST":
            headers["Content-Length"] = str(len(content or b""))
        limits = {"connect": min(_CONNECT_TIMEOUT, self._timeout), "pool": self._timeout}
        extensions = {"timeout": {**limits, "read": self._timeout, "write": self._timeout}}
        pairs = [(name.encode(), value.encode()) for name, value in headers.items()]
        with self._pool.stream(call.method, url, headers=pairs, content=content, extensions=extensions) as response:
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


class _Clock(threading.local):
    """The deadline of this thread's request: its connection may have served another thread's before."""

    end: float = 0.0

    @contextmanager
    def running(self, seconds: float) -> Iterator[None]:
        self.end = time.monotonic() + seconds
        yield

    def least(self, timeout: float | None) -> float:
        """`timeout` or what is left; raises TimeoutError when nothing is."""
        if (left := self.end - time.monotonic()) <= 0:
            raise TimeoutError
        return left if timeout is None else min(timeout, left)


class _DeadlineBackend(NetworkBackend):
    """The usual one, on whose connections no sequence of small steps can outlast the deadline."""

    def __init__(self, clock: _Clock) -> None:
        self._clock = clock
        self._inner = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> NetworkStream:
        addresses = resolve_within(system_resolver, host.strip("[]"), port, self._clock.least(timeout))
        for position, address in enumerate(addresses, start=1):
            try:
                stream = self._inner.connect_tcp(
                    address, port, self._clock.least(timeout), local_address, socket_options
                )
            except httpcore2.ConnectError:
                if position == len(addresses):
                    raise
            else:
                return _DeadlineStream(stream, self._clock)
        raise httpcore2.ConnectError("no address")


class _DeadlineStream(NetworkStream):
    def __init__(self, inner: NetworkStream, clock: _Clock) -> None:
        self._inner, self._clock = inner, clock

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._clock.least(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._clock.least(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> Any:
        inner = self._inner.start_tls(ssl_context, server_hostname, self._clock.least(timeout))
        return _DeadlineStream(inner, self._clock)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
