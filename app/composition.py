"""The application put together from its features (app.features).

A feature's modules are found by their names and imported by who needs them: the API loads no HTTP client, a worker no
web framework, and neither loads Alembic.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING

from app.features import FEATURES
from app.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from app.queue.handler import Handler
    from app.web.application import Api
    from app.web.operations import Operation


def api(settings: Settings, *, started: float | None = None) -> Api:
    """The API of this process, which connects to nothing yet. `started` by time.monotonic(): when the process began."""
    from app.accounts.tokens import Tokens
    from app.web.application import Api

    lifespans = [module.lifespan for module in _modules("endpoints") if hasattr(module, "lifespan")]
    return Api(
        settings,
        operations=operations(),
        lifespans=lifespans,
        authenticate=Tokens.of(settings).user_of,
        started=started,
    )


def operations() -> list[Operation]:
    """Every operation of the API, in the order of the OpenAPI document."""
    return [operation for module in _modules("endpoints") for operation in module.OPERATIONS]


def handlers(settings: Settings) -> dict[str, Handler]:
    """The handler of each kind of job."""
    return {kind: handler for module in _modules("job") for kind, handler in module.handlers(settings).items()}


def metadata() -> MetaData:
    """All tables."""
    from app.db.base import Base

    list(_modules("models"))
    return Base.metadata


def _modules(name: str) -> Iterator[ModuleType]:
    for feature in FEATURES:
        if importlib.util.find_spec(module := f"app.{feature}.{name}"):
            yield importlib.import_module(module)
