"""Logs: one line an event on stdout, JSON unless a person reads it, the libraries' lines in the same form."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import structlog
from structlog.types import EventDict, Processor, WrappedLogger

from app.settings import Settings

# Chatty at info: one line a request, query or poll that our own lines have already.
_QUIET = ("httpx2", "httpcore2", "sqlalchemy.engine", "alembic", "uvicorn")


def configure(settings: Settings, *more: Processor) -> None:
    """Set up structlog and the standard library's root logger for this process. `more` is done with every line."""
    shared = _processors(settings, more)
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    render = _renderer(settings)

    structlog.configure(
        processors=[*shared, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )

    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _without_uvicorn_colours, render],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIET:
        logging.getLogger(name).setLevel(max(level, logging.WARNING))
    logging.captureWarnings(True)


def _processors(settings: Settings, more: Sequence[Processor]) -> list[Processor]:
    static = {"service": settings.service_name, "version": settings.service_version, "mode": settings.mode}

    def add_service(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        return {**event, **static}

    return [
        structlog.contextvars.merge_contextvars,
        *more,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        *([add_service] if settings.log_format == "json" else []),
        structlog.processors.StackInfoRenderer(),
        *([structlog.processors.format_exc_info] if settings.log_format == "json" else []),
    ]


def _renderer(settings: Settings) -> Processor:
    if settings.log_format == "json":
        return structlog.processors.JSONRenderer(default=str)
    return structlog.dev.ConsoleRenderer(
        colors=sys.stdout.isatty(), exception_formatter=structlog.dev.plain_traceback, pad_event_to=0
    )


def _without_uvicorn_colours(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    event.pop("color_message", None)
    return event


def get_logger(**initial: Any) -> structlog.typing.FilteringBoundLogger:
    """A logger bound to `initial`; configured lazily, so it may be made at import."""
    return structlog.get_logger(**initial)  # type: ignore[no-any-return]
