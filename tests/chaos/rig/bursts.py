"""Callers that send several requests in the same moment, over connections of their own, and may leave before the
answer."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_SPREAD = 0.006
"""Seconds."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the caller of the delivery with this key knows. `status` is None for one that left without an answer."""

    key: str
    status: int | None
    document: dict[str, Any]

    @property
    def id(self) -> uuid.UUID:
        return uuid.UUID(self.document["id"])


class Bursts:
    """`within` is how many seconds an answer may take; beyond it the caller hangs, which is an error."""

    def __init__(self, port: int, *, url: str, token: str, within: float) -> None:
        self.told: list[Told] = []
        self._port, self._url, self._token, self._within = port, url, token, within
        self._kept: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def send(self, sizes: Sequence[int], chance: random.Random, *, leaving: float = 0.0) -> None:
        """Bursts of these sizes, each after all of the one before were answered; this share leaves early.

        A burst is spread over the time that a few statements take, so that its last request comes at any moment of
        them, and nothing after it.
        """
        for size in sizes:
            given = [await self._connection() for _ in range(size)]
            starts = [chance.uniform(0, _SPREAD) for _ in given]
            stays = [None if chance.random() >= leaving else chance.uniform(0, 0.02) for _ in given]
            self.told += await asyncio.gather(
                *(
                    self._one(*connection, start, stay)
                    for connection, start, stay in zip(given, starts, stays, strict=True)
                )
            )

    async def close(self) -> None:
        for _, writer in self._kept:
            writer.close()
        await asyncio.gather(*(writer.wait_closed() for _, writer in self._kept))
        self._kept.clear()

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return self._kept.pop() if self._kept else await asyncio.open_connection("127.0.0.1", self._port)

    async def _one(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, start: float, stay: float | None
    ) -> Told:
        key = f"burst-{len(self.told)}-{uuid.uuid4()}"
        await asyncio.sleep(start)
        writer.write(self._request(key))
        if stay is not None:
            await asyncio.sleep(stay)
            writer.close()
            return Told(key=key, status=None, document={})
        try:
            async with asyncio.timeout(self._within):
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
                length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
                document = json.loads(await reader.readexactly(length))
        except TimeoutError:
            raise AssertionError(f"{key} hangs") from None
        if "connection: close" in head:
            writer.close()
        else:
            self._kept.append((reader, writer))
        return Told(key=key, status=int(head.split(" ")[1]), document=document)

    def _request(self, key: str) -> bytes:
        body = json.dumps({"url": self._url, "payload": {"key": key}}).encode()
        return (
            f"POST /v1/deliveries HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: application/json\r\nIdempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body
