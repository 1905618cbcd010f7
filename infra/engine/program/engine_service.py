"""The object that answers as Pulumi's engine: what the program says, and the version that it wants."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Final, Protocol

import semver
from google.protobuf import empty_pb2
from pulumi.runtime.proto import engine_pb2

from infra.engine.display.events import Severity
from infra.engine.errors import EngineError


class LogFunction(Protocol):
    def __call__(self, severity: Severity, message: str, *, urn: str | None, ephemeral: bool) -> None: ...


_SEVERITIES: Final[Mapping[int, Severity]] = {
    engine_pb2.DEBUG: "debug",
    engine_pb2.INFO: "info",
    engine_pb2.WARNING: "warning",
    engine_pb2.ERROR: "error",
}


class EngineService:
    """Answers as ``pulumirpc.Engine``: the program's log lines, and its wish for a version of Pulumi."""

    def __init__(self, log: LogFunction) -> None:
        self._log = log

    def Log(self, request: engine_pb2.LogRequest) -> empty_pb2.Empty:
        self._log(
            _SEVERITIES[request.severity],
            request.message.rstrip("\n"),
            urn=request.urn or None,
            ephemeral=request.ephemeral,
        )
        return empty_pb2.Empty()

    def RequirePulumiVersion(
        self, request: engine_pb2.RequirePulumiVersionRequest
    ) -> engine_pb2.RequirePulumiVersionResponse:
        ours = version("pulumi")
        if not in_range(ours, request.pulumi_version_range):
            raise EngineError(
                f"the program requires Pulumi {request.pulumi_version_range}, and the SDK here is {ours}: "
                "install a fitting one"
            )
        return engine_pb2.RequirePulumiVersionResponse()


def in_range(number: str, wanted: str) -> bool:
    """Whether a version is in a range such as ``>=3.1.0 !3.2.0 || >4.0.0``."""
    parsed = semver.Version.parse(number)

    def holds(term: str) -> bool:
        if term.startswith("!") and not term.startswith("!="):
            term = f"!={term[1:]}"
        return parsed.match(term)

    return any(all(holds(term) for term in choice.split()) for choice in wanted.split("||"))
