"""The OpenAPI document against a running API: what it promises holds for every input that Schemathesis can think of.

The operations come from the document, so a new one is fuzzed without a change here. The seed is fixed: a run that fails
fails again.
"""

from __future__ import annotations

import itertools
import secrets
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
import schemathesis
import uvicorn
from fake_provider import OTHER_SECRET, SECRET
from schemathesis.checks import load_all_checks
from schemathesis.config import (
    ChecksConfig,
    GenerationConfig,
    PositiveDataAcceptanceConfig,
    ProjectConfig,
    ProjectsConfig,
    SchemathesisConfig,
)
from schemathesis.generation.feedback import FeedbackSources
from schemathesis.pytest._test_builder import build_operation_test

from app import composition
from app.settings import Settings
from app.web.openapi import document
from app.web.server import config as server_config

EXAMPLES = 100
"""Inputs for each operation, besides those that cover the bounds of its schema."""
SEED = 7

ACCOUNT = {"email": "fuzz@example.org", "password": "correct horse battery"}

SCHEMA = schemathesis.openapi.from_dict(
    document(
        Settings.load({"MODE": "migrate", "ENVIRONMENT": "test", "DATABASE_URL": "postgresql:///x"}),
        composition.operations(),
    ),
    config=SchemathesisConfig(
        seed=SEED,
        projects=ProjectsConfig(
            default=ProjectConfig(
                base_url="http://api",
                # 422 too: no schema can say that a URL must not lead to a private address.
                checks=ChecksConfig(
                    positive_data_acceptance=PositiveDataAcceptanceConfig(
                        expected_statuses=["2xx", "304", "401", "404", "409", "422"]
                    )
                ),
                generation=GenerationConfig(max_examples=EXAMPLES, deterministic=True, database="none"),
            )
        ),
    ),
)
OPERATIONS = {operation.label: operation for operation in (found.ok() for found in SCHEMA.get_all_operations())}


@pytest.fixture(scope="module")
def database(postgres_server: str, migrated_template: str) -> Iterator[str]:
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE fuzzed TEMPLATE {migrated_template}")
        yield postgres_server.replace("/postgres?", "/fuzzed?")
        connection.execute("DROP DATABASE fuzzed WITH (FORCE)")


@pytest.fixture(scope="module")
def served(database: str, valkey_socket: Path) -> Iterator[dict[str, Any]]:
    """How to call an API that runs, as an account of it."""
    settings = Settings.load(
        {
            "MODE": "api",
            "ENVIRONMENT": "test",
            "DATABASE_URL": database,
            "REDIS_URL": f"unix://{valkey_socket}",
            "JWT_SECRET": secrets.token_urlsafe(64),
            "ENABLE_RATE_LIMIT": "false",
            "LOGIN_FAILURES_MAX": "10000",
            "DELIVERY_ALLOW_HTTP": "true",
            # Nobody is called with them: handing over is a worker's.
            "REPLICATE_API_KEY": "r8_fuzzed",
            "OPENAI_API_KEY": "sk-fuzzed",
            "WEBHOOK_SECRET_REPLICATE": SECRET,
            "WEBHOOK_SECRET_OPENAI": OTHER_SECRET,
        }
    )
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listener:
        server = uvicorn.Server(server_config(composition.api(settings)))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        base_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with httpx2.Client(base_url=base_url, timeout=30) as client:
            client.post("/v1/auth/register", json=ACCOUNT).raise_for_status()
            token = client.post("/v1/auth/login", json=ACCOUNT).raise_for_status().json()["access_token"]
        yield {"base_url": base_url, "headers": {"Authorization": f"Bearer {token}"}}
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="module")
def known() -> dict[str, str]:
    """Ids that the API has given, by the path of their collection."""
    return {}


# Not by Schemathesis' own decorator: it gives all operations one node id, of which pytest-xdist then runs one.
@pytest.mark.parametrize("label", OPERATIONS)
def test_every_operation_keeps_its_promises(label: str, served: dict[str, Any], known: dict[str, str]) -> None:
    turn = itertools.cycle((True, False))

    def ask(case: schemathesis.Case) -> None:
        collection = case.path.partition("/{id}")[0]
        if "{id}" in case.path and collection in known and _is_ordinary(case) and next(turn):
            case.path_parameters["id"] = known[collection]
        response = case.call_and_validate(**served)
        if case.method == "POST" and response.status_code in (201, 202) and "{id}" not in case.path:
            known.setdefault(case.path, response.json().get("id", ""))

    load_all_checks()
    operation = OPERATIONS[label]
    build_operation_test(
        config=SCHEMA.config, operation=operation, test_func=ask, given_kwargs={}, feedback=FeedbackSources()
    )()


def test_methods_that_are_not_in_the_document_are_refused(served: dict[str, Any]) -> None:
    with httpx2.Client(**served, timeout=30) as client:
        for path, described in SCHEMA.raw_schema["paths"].items():
            offered = {method.upper() for method in described}
            for method in {"GET", "POST", "PUT", "PATCH", "DELETE"} - offered:
                answer = client.request(method, path.replace("{id}", "0b5c1d0e-0000-4000-8000-000000000000"))
                assert (answer.status_code, answer.headers["content-type"]) == (405, "application/problem+json")
                assert set(answer.headers["allow"].split(", ")) - {"HEAD"} == offered


def _is_ordinary(case: schemathesis.Case) -> bool:
    """Whether the case keeps to the document, as opposed to one that is made to be refused."""
    return case.meta is not None and case.meta.generation.mode == schemathesis.GenerationMode.POSITIVE
