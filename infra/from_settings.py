"""What the settings mean on every target alike."""

from __future__ import annotations

import pulumi

from infra.settings import Settings
from infra.settings.secrets import GIVEN_VARIABLES
from infra.workload import Workload

_EXTERNAL_LOGINS = {"app": "database_url", "migrate": "migration_database_url"}


def owner_role(settings: Settings) -> str:
    """The role without login that owns the database's tables."""
    return settings.postgres.owner_role or "slipway_owner"


def given_secrets(settings: Settings) -> dict[str, pulumi.Output[str]]:
    """The secrets of stack config that processes get as they are, by variable."""
    return _given(settings, {variable: key for key, variable in GIVEN_VARIABLES.items()})


def external_postgres_urls(settings: Settings) -> dict[str, pulumi.Output[str]]:
    """The URLs of a database that somebody else runs, by login."""
    return _given(settings, _EXTERNAL_LOGINS)


def application_outputs(
    settings: Settings, app: Workload, url: pulumi.Output[str], **more: pulumi.Input[object]
) -> dict[str, pulumi.Input[object]]:
    """The stack's outputs: the application's address, the pages that it serves, `more`, and what to know about it."""
    pages = {
        "docs_url": ("/docs", settings.features.swagger),
        "metrics_url": ("/metrics", settings.features.metrics),
        "health_url": ("/health", settings.features.health_check),
    }
    return {
        "url": url,
        **{name: pulumi.Output.concat(url, path) for name, (path, served) in pages.items() if served},
        **more,
        **({"notices": list(app.notices)} if app.notices else {}),
    }


def _given(settings: Settings, keys: dict[str, str]) -> dict[str, pulumi.Output[str]]:
    return {name: settings.secrets.output(key) for name, key in keys.items() if key in settings.secrets.given}
