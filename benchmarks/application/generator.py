"""The load generator, in a process of its own: a closed loop of N connections, or requests at a fixed rate.

Reads one JSON object from stdin (see `Order`) and writes one result a line to stdout: key, time of sending, time of the
answer, status, id. At a fixed rate the time of sending is the time at which the request was due: a server that makes
requests queue up here is not flattered by it. A request that broke off is sent again with the same Idempotency-Key, as
a client would, until `give_up` seconds from the start.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import deque
from dataclasses import asdict, dataclass, fields
from typing import Any, cast

import uvloop

from benchmarks.application.http import Messages

_PAUSE = 0.05


@dataclass(frozen=True, kw_only=True)
class Order:
    """`requests` to `port`, over `connections`; `rate` a second, or as fast as they are answered when it is 0.

    `seconds`: with the closed loop, start no request after that time. `prefix`: of the keys.
    """

    port: int
    token: str
    receiver: str
    prefix: str
    requests: int
    connections: int
    rate: float = 0.0
    seconds: float = 3600.0
    give_up: float = 120.0


@dataclass
class Answer:
    key: str
    sent: float
    answered: float
    status: int
    id: str | None


class Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self._messages = Messages()
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._waiting and not self._waiting.done():
            self._waiting.set_exception(exc or ConnectionResetError())

    def data_received(self, data: bytes) -> None:
        for head, body in self._messages.feed(data):
            if self._waiting and not self._waiting.done():
                self._waiting.set_result((int(head[9:12]), body))

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body. Raises OSError when the connection breaks."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting


class Load:
    def __init__(self, order: Order) -> None:
        self._order = order
        self._started = time.time()
        self._idle: deque[Connection] = deque()
        self.answers: list[Answer] = []

    async def run(self) -> None:
        if self._order.rate:
            await self._at_a_rate()
        else:
            numbers = iter(range(self._order.requests))
            await asyncio.gather(*(self._closed_loop(numbers) for _ in range(self._order.connections)))

    async def _closed_loop(self, numbers: Any) -> None:
        for number in numbers:
            if time.time() > self._started + self._order.seconds:
                return
            await self._one(number, time.time())

    async def _at_a_rate(self) -> None:
        # Opened before the first request is due: the handshake is no part of what is measured.
        self._idle.extend([await self._connect() for _ in range(self._order.connections)])
        self._started = time.time()
        tasks = []
        for number in range(self._order.requests):
            due = self._started + number / self._order.rate
            await asyncio.sleep(max(0.0, due - time.time()))
            tasks.append(asyncio.create_task(self._one(number, due)))
        await asyncio.gather(*tasks)

    async def _one(self, number: int, sent: float) -> None:
        key = f"{self._order.prefix}-{number}"
        request = self._request(key, number)
        while time.time() < self._started + self._order.give_up:
            connection = None
            try:
                connection = self._idle.popleft() if self._idle else await self._connect()
                status, body = await connection.ask(request)
            except OSError:
                await asyncio.sleep(_PAUSE)
                continue
            if connection.usable:
                self._idle.append(connection)
            identifier = json.loads(body).get("id") if status == 202 else None
            self.answers.append(Answer(key, sent, time.time(), status, identifier))
            if status < 500:
                return
            await asyncio.sleep(_PAUSE)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        return (await loop.create_connection(Connection, "127.0.0.1", self._order.port))[1]

    def _request(self, key: str, number: int) -> bytes:
        payload = {"event": "order.created", "order": number, "customer": "c-1024", "items": [{"sku": "A-1", "n": 2}]}
        body = json.dumps({"url": self._order.receiver, "payload": payload}).encode()
        head = (
            "POST /v1/deliveries HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {self._order.token}\r\nIdempotency-Key: {key}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


def main() -> None:
    given = json.load(sys.stdin)
    load = Load(Order(**{field.name: given[field.name] for field in fields(Order) if field.name in given}))
    uvloop.run(load.run())
    for answer in load.answers:
        print(json.dumps(asdict(answer)))


if __name__ == "__main__":
    main()
