"""Which features there are: a folder of `app` each, with the kinds of jobs that it does.

What a feature adds stands in modules of fixed names, each of which it may do without (see app.composition):

* `models`: its tables, on app.db.base.Base
* `endpoints`: OPERATIONS, and `lifespan` for what it keeps as long as the API runs
* `job`: `handlers`, one for each of its kinds

Imports nothing, so that the settings can name the kinds.
"""

from __future__ import annotations

from typing import Final

FEATURES: Final[dict[str, tuple[str, ...]]] = {
    "accounts": (),
    "deliveries": ("delivery",),
    "predictions": ("prediction", "webhook"),
}

JOB_KINDS: Final = tuple(kind for kinds in FEATURES.values() for kind in kinds)
