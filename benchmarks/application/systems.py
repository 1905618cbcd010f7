"""The two whole applications that are compared: an API and a worker over the same servers, with the same contract."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import jwt
import psycopg

from benchmarks.application.processes import BenchmarkError, Running, server_core
from benchmarks.application.servers import PEER, SECRET, Servers, free_port

CONCURRENCY = 10
START_SECONDS = 60.0
_CREDENTIALS = {"email": "benchmark@example.com", "password": "correct horse battery staple"}


class System(ABC):
    """`template`: the database it starts from. `port` of its API; `healthy_at`: when /health last
    answered. A new one a run, with its own database."""

    name: str
    template: str

    def __init__(self, servers: Servers) -> None:
        servers.empty()
        self.servers = servers
        self.database_url = servers.database(self.template)
        self.port = free_port()
        self.healthy_at = 0.0

    @abstractmethod
    def api_command(self) -> list[str]: ...

    @abstractmethod
    def worker_command(self) -> list[str]: ...

    @abstractmethod
    def api_environment(self) -> Mapping[str, str]: ...

    @abstractmethod
    def worker_environment(self) -> Mapping[str, str]: ...

    @abstractmethod
    def token(self) -> str:
        """An access token of a new account; the API is up."""

    def api(self) -> Running:
        """On its own core."""
        environment = {**self._common(), **self.api_environment()}
        log = self.servers.file("api.log")
        return Running(self.api_command(), environment=environment, log=log, core=server_core())

    def worker(self, settings: Mapping[str, str] | None = None) -> Running:
        """`settings`: further environment variables."""
        environment = {**self._common(), **self.worker_environment(), **(settings or {})}
        return Running(self.worker_command(), environment=environment, log=self.servers.file("worker.log"))

    def wait_until_healthy(self, api: Running, *, interval: float = 0.02) -> None:
        api.wait_for(self._is_healthy, seconds=START_SECONDS, what="200 of /health", interval=interval)

    def drop(self) -> None:
        self.servers.drop(self.database_url)

    def completed(self) -> dict[str, float]:
        """Delivery id to the time of its completion, of the delivered ones, by the database's clock: this machine's."""
        query = "SELECT id::text, extract(epoch FROM completed_at)::float8 FROM deliveries WHERE status = 'delivered'"
        with psycopg.connect(self.database_url) as connection:
            return dict(connection.execute(query).fetchall())

    def count_completed(self) -> int:
        return self._count("WHERE status = 'delivered'")

    def count_rows(self) -> int:
        return self._count("")

    def wait_for_deliveries(self, count: int, *, seconds: float) -> bool:
        """Whether so many are delivered within the time."""
        deadline = time.monotonic() + seconds
        while self.count_completed() < count:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True

    def _common(self) -> dict[str, str]:
        return {"DATABASE_URL": self.database_url, "REDIS_URL": self.servers.redis_url}

    def _count(self, where: str) -> int:
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute(f"SELECT count(*) FROM deliveries {where}".encode()).fetchone()
        return row[0] if row else 0

    def _is_healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5) as answer:
                self.healthy_at = time.time()
                return bool(answer.status == 200)
        except OSError:
            return False


class Ours(System):
    """`python -m app`, with the settings that a closed network of the benchmark's needs."""

    name = "Slipway"
    template = "ours"

    def api_command(self) -> list[str]:
        return [sys.executable, "-m", "app"]

    worker_command = api_command

    def api_environment(self) -> Mapping[str, str]:
        return {
            **self._shared(),
            "MODE": "api",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "DATABASE_POOL_SIZE": "10",
            "DATABASE_MAX_OVERFLOW": "0",
            "ENABLE_RATE_LIMIT": "false",
            "JWT_ACCESS_EXPIRES_IN": "1h",
        }

    def worker_environment(self) -> Mapping[str, str]:
        return {
            **self._shared(),
            "MODE": "worker",
            "QUEUE_CONCURRENCY": str(CONCURRENCY),
        }

    def token(self) -> str:
        self._post("/v1/auth/register", _CREDENTIALS)
        return str(self._post("/v1/auth/login", _CREDENTIALS)["access_token"])

    def _post(self, path: str, content: Mapping[str, str]) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}{path}",
            data=json.dumps(content).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except OSError as error:
            raise BenchmarkError(f"POST {path} failed: {error}") from None

    def _shared(self) -> dict[str, str]:
        return {
            "ENVIRONMENT": "test",
            "LOG_LEVEL": "warning",
            "JWT_SECRET": SECRET,
            "DELIVERY_ALLOW_HTTP": "true",
            "DELIVERY_ALLOW_PRIVATE_NETWORKS": "true",
        }


class Peer(System):
    """benchmarks/peer: Fastify, pg and BullMQ."""

    name = "Fastify + BullMQ"
    template = "peer"

    def api_command(self) -> list[str]:
        return [self.servers.node, str(PEER / "api.js")]

    def worker_command(self) -> list[str]:
        return [self.servers.node, str(PEER / "worker.js")]

    def api_environment(self) -> Mapping[str, str]:
        return {"JWT_SECRET": SECRET, "PORT": str(self.port), "NODE_ENV": "production"}

    def worker_environment(self) -> Mapping[str, str]:
        return {"CONCURRENCY": str(CONCURRENCY), "NODE_ENV": "production"}

    def token(self) -> str:
        """Accounts are no part of the comparison: the row is inserted and the token signed here."""
        user = uuid.uuid4()
        with psycopg.connect(self.database_url) as connection:
            connection.execute(
                "INSERT INTO users (id, email, password_hash) VALUES (%s, %s, 'none')", (user, _CREDENTIALS["email"])
            )
        now = int(time.time())
        claims = {
            **{"iss": "slipway", "aud": "slipway", "sub": str(user), "jti": str(uuid.uuid4())},
            **{"iat": now, "exp": now + 3600},
        }
        return jwt.encode(claims, SECRET, algorithm="HS256", headers={"kid": "default", "typ": "at+jwt"})
