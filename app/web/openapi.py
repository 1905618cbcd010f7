"""The OpenAPI 3.1 document, from the operations and the models that they validate with."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from app.settings import Settings
from app.web.health import HealthReport
from app.web.operations import Operation

_REF = "#/components/schemas/{model}"
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "Problem details (RFC 9457).",
    "required": ["type", "title", "status", "instance"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}
_KEY_PARAMETER: dict[str, Any] = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "maxLength": 255},
    "description": "The same key with the same body gives the first answer again; with another body it is refused.",
}
_ID: dict[str, Any] = {"id": {"type": "string", "format": "uuid"}}
_CONDITION: dict[str, Any] = {
    "name": "If-None-Match",
    "in": "header",
    "schema": {"type": "string"},
    "description": "The ETag of an answer that the client has: 304 without a body as long as it holds.",
}
_TAG: dict[str, Any] = {
    "ETag": {"description": "For If-None-Match.", "required": True, "schema": {"type": "string"}},
}


def document(settings: Settings, operations: Sequence[Operation]) -> dict[str, Any]:
    """The whole document as plain JSON types."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    if settings.enable_health_check:
        paths["/health"] = {"get": _health()}
    return {
        "openapi": "3.1.0",
        "info": {"title": settings.service_name, "version": settings.service_version},
        "paths": paths,
        "components": {
            "schemas": {**_schemas(operations), "Problem": _PROBLEM},
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _schemas(operations: Sequence[Operation]) -> dict[str, Any]:
    inputs: set[type[BaseModel]] = {o.body for o in operations if o.body}
    outputs: set[type[BaseModel]] = {o.result for o in operations} | {HealthReport}
    pairs: list[tuple[type[BaseModel], Any]] = [
        *((model, "validation") for model in sorted(inputs, key=lambda m: m.__name__)),
        *((model, "serialization") for model in sorted(outputs, key=lambda m: m.__name__)),
    ]
    _, definitions = models_json_schema(pairs, ref_template=_REF)
    schemas: dict[str, Any] = definitions["$defs"]
    return schemas


def _operation(operation: Operation) -> dict[str, Any]:
    success = {
        "description": HTTPStatus(operation.status).phrase,
        "content": {"application/json": {"schema": _ref(operation.result)}},
    }
    responses: dict[str, Any] = {str(operation.status): success}
    if operation.cached:
        success["headers"] = _TAG
        responses["304"] = {"description": HTTPStatus(304).phrase, "headers": _TAG}
    problems = {*operation.problems, 429, 503, *({401} if not operation.public else set())}
    problems |= {400, 413, 415} if operation.body else set()
    described: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": _parameters(operation),
        "responses": {**responses, **{str(status): _problem(status) for status in sorted(problems)}},
        "security": [] if operation.public else [{"bearer": []}],
    }
    if operation.body:
        described["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _ref(operation.body)}},
        }
    if operation.raw_body:
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": {"type": "object"}}}}
    return described


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for name, schema in {**_ID, **operation.parameters}.items():
        if f"{{{name}}}" in operation.path:
            found.append({"name": name, "in": "path", "required": True, "schema": schema})
    if operation.query:
        properties = operation.query.model_json_schema()["properties"]
        found += [{"name": name, "in": "query", "schema": schema} for name, schema in properties.items()]
    if operation.idempotent:
        found.append(_KEY_PARAMETER)
    if operation.cached:
        found.append(_CONDITION)
    found += [{"name": n, "in": "header", "required": True, "schema": it} for n, it in operation.headers.items()]
    return found


def _health() -> dict[str, Any]:
    content = {"application/json": {"schema": _ref(HealthReport)}}
    return {
        "operationId": "health",
        "summary": "Whether this replica can serve",
        "tags": ["operations"],
        "responses": {
            "200": {"description": "Healthy or degraded", "content": content},
            "503": {"description": "Unhealthy", "content": content},
        },
    }


def _problem(status: int) -> dict[str, Any]:
    schema = {"$ref": _REF.format(model="Problem")}
    return {
        "description": HTTPStatus(status).phrase,
        "content": {"application/problem+json": {"schema": schema}},
    }


def _ref(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REF.format(model=model.__name__)}
