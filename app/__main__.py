"""`python -m app`: one image, what it does is chosen by MODE."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping

from app.environment import SettingsError
from app.settings import Settings

EXIT_SETTINGS = 2
"""The environment is wrong; starting again cannot help."""


def main(environ: Mapping[str, str] | None = None) -> int:
    started = time.monotonic()
    try:
        settings = Settings.load(os.environ if environ is None else environ)
    except SettingsError as error:
        _tell(error)
        return EXIT_SETTINGS
    from app.observability import logging, traces

    logging.configure(settings)
    if settings.mode != "migrate":
        traces.start(settings)
    return _dispatch(settings, started)


def _dispatch(settings: Settings, started: float) -> int:
    """Each mode imports what it needs: a migration needs no server, an API no HTTP client."""
    match settings.mode:
        case "api":
            from app.api.server import run as run_api

            return run_api(settings, started=started)
        case "worker":
            from app.worker import run as run_worker

            return run_worker(settings)
        case "migrate":
            from app.migrations.runner import run as run_migrations

            return run_migrations(settings)
        case "all":
            from app.together import run as run_together

            return run_together(settings, started=started)


def _tell(error: SettingsError) -> None:
    """Without settings there is no log format: text for a person at a terminal, one JSON line for a collector."""
    if sys.stderr.isatty():
        print(error, file=sys.stderr)
        return
    import json

    line = {"level": "error", "event": "the settings cannot be used", "problems": error.problems}
    print(json.dumps(line), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
