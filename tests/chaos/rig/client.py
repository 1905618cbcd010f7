"""A careful caller of the API: each delivery has a key of its own, and is sent again until it is accepted."""

from __future__ import annotations

import itertools
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2

from rig.waiting import PATIENCE

_GIVE_UP = 90.0 * PATIENCE
_PAUSE = 0.1
_EMAIL = "chaos@example.org"
_PASSWORD = "correct horse battery"


class Client:
    """`ports` says which replicas there are now; each try goes to the next one of them.

    `outcomes` counts every answer by status, and every connection that failed as "none".
    """

    def __init__(self, ports: Callable[[], list[int]]) -> None:
        self.outcomes: Counter[str] = Counter()
        self._ports = ports
        self._turn = itertools.count()
        self._key = itertools.count(1)
        self._lock = threading.Lock()
        self._http = httpx2.Client(timeout=10, trust_env=False, limits=httpx2.Limits(max_keepalive_connections=20))
        self.token = ""

    def close(self) -> None:
        self._http.close()

    def log_in(self) -> None:
        """Registers the account first."""
        account = {"email": _EMAIL, "password": _PASSWORD}
        assert self.ask("POST", "/v1/auth/register", json=account).status_code == 201
        self.token = self.ask("POST", "/v1/auth/login", json=account).json()["access_token"]
        self.outcomes.clear()

    def at(self, port: int) -> Client:
        """The same account at one replica; what it is answered counts here."""
        other = Client(lambda: [port])
        other.token, other.outcomes, other._lock, other._key = self.token, self.outcomes, self._lock, self._key
        return other

    def ask(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """One request, one answer; raises httpx2.TransportError when none came."""
        ports = self._ports()
        with self._lock:
            port = ports[next(self._turn) % len(ports)] if ports else 9
        headers = {**({"Authorization": f"Bearer {self.token}"} if self.token else {}), **request.pop("headers", {})}
        try:
            answer = self._http.request(method, f"http://127.0.0.1:{port}{path}", headers=headers, **request)
        except httpx2.TransportError:
            self._count("none")
            raise
        self._count(str(answer.status_code))
        return answer

    def deliver(self, url: str, *, key: str | None = None, payload: Any = None, **delivery: Any) -> uuid.UUID:
        """The id of an accepted delivery; the request is repeated under the same key until there is one."""
        with self._lock:
            key = key or f"key-{next(self._key)}"
        body = {"url": url, "payload": {"key": key, **(payload or {})}, **delivery}
        deadline = time.monotonic() + _GIVE_UP
        while True:
            try:
                answer = self.ask("POST", "/v1/deliveries", json=body, headers={"Idempotency-Key": key})
            except httpx2.TransportError:
                pass
            else:
                if answer.status_code == 202:
                    return uuid.UUID(answer.json()["id"])
                assert answer.status_code >= 500, answer.text
            assert time.monotonic() < deadline, f"not accepted within {_GIVE_UP:.0f} s: {dict(self.outcomes)}"
            time.sleep(_PAUSE)

    def deliver_many(self, count: int, url: str, *, at_once: int = 4, **delivery: Any) -> list[uuid.UUID]:
        with ThreadPoolExecutor(at_once) as pool:
            return list(pool.map(lambda _: self.deliver(url, **delivery), range(count)))

    def _count(self, outcome: str) -> None:
        with self._lock:
            self.outcomes[outcome] += 1


class Load:
    """Threads that deliver without a pause from the block's begin to its end; `accepted` afterwards."""

    def __init__(self, client: Client, url: str, *, threads: int = 2, pause: float = 0.01) -> None:
        self.accepted: list[uuid.UUID] = []
        self._client, self._url, self._pause = client, url, pause
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(threads)
        self._running = [self._pool.submit(self._run) for _ in range(threads)]

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._pool.shutdown()
        for thread in self._running:
            thread.result()

    def _run(self) -> None:
        while not self._stop.wait(self._pause):
            # list.append is atomic.
            self.accepted.append(self._client.deliver(self._url))
