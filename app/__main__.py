"""`python -m app`: one image, what it does is chosen by MODE."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Mapping
from types import FrameType
from typing import TYPE_CHECKING

from app.environment import SettingsError

if TYPE_CHECKING:
    from app.settings import Settings

EXIT_SETTINGS = 2
"""The environment is wrong; starting again cannot help."""
EXIT_TERMINATED = 128 + signal.SIGTERM
_INIT = 1
"""Process id of a container's first process."""


def main(environ: Mapping[str, str] | None = None) -> int:
    started = time.monotonic()
    if os.getpid() == _INIT:
        # The kernel keeps signals without a handler from it: until a mode has its own, and in a migration, a stop
        # would wait until the runtime kills.
        signal.signal(signal.SIGTERM, _terminated)
    # What is loaded from here on is there to stay; looking for garbage among it takes a tenth of the start.
    gc.disable()
    from app.settings import Settings

    try:
        settings = Settings.load(os.environ if environ is None else environ)
    except SettingsError as error:
        _report(error)
        return EXIT_SETTINGS
    from app.observability import logging, traces

    logging.configure(settings, traces.add_span)
    if settings.mode != "migrate":
        traces.start(settings)
    return _dispatch(settings, started)


def _dispatch(settings: Settings, started: float) -> int:
    """Each mode imports what it needs: a migration needs no server, an API no HTTP client."""
    from app import composition

    match settings.mode:
        case "api":
            from app.web.server import run as run_api

            api = composition.api(settings, started=started)
            _loaded()
            return run_api(api)
        case "worker":
            from app.queue.worker.main import main as run_worker

            _loaded()
            return run_worker(settings, composition.handlers)
        case "migrate":
            from app.migrations.runner import run as run_migrations

            _loaded()
            return run_migrations(settings)
        case "all":
            from app.all_in_one import run as run_all

            _loaded()
            return run_all(settings, started=started)


def _loaded() -> None:
    """From now on there is garbage; collections pass over what is there already."""
    gc.freeze()
    gc.enable()


def _terminated(signum: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a handler
    raise SystemExit(EXIT_TERMINATED)


def _report(error: SettingsError) -> None:
    """Without settings there is no log format: text for a person at a terminal, one JSON line for a collector."""
    if sys.stderr.isatty():
        print(error, file=sys.stderr)
        return
    import json

    line = {"level": "error", "event": "the settings cannot be used", "problems": error.problems}
    print(json.dumps(line), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
