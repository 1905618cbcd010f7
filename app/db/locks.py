"""Locks in the database: the keys of the advisory ones, all of them, and the order in which rows are locked.

Two advisory locks had one number once: no worker swept during a bootstrap, and a bootstrap failed during a long sweep.
A number never changes: versions run side by side during a deployment, and one that took another key would not see the
other's lock. That is why the sweep kept the number that was given twice, and the bootstrap, which runs alone, got a new
one.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Select, select

MIGRATION: Final = 0x51_17_3A_90
"""The schema changes: one migration at a time."""
SWEEP: Final = 0x51_17_3A_91
"""One worker sweeps at a time."""
BOOTSTRAP: Final = 0x51_17_3A_92
"""Roles and grants: a second run waits for the first."""


def in_order(key: Any, *conditions: Any, skip_locked: bool = False) -> Select[Any]:
    """Primary keys of the rows that meet the conditions, locked one after another in the order of `key`.

    For `where(key.in_(...))` of a statement that writes to several rows: by itself it locks them in the order in which
    its plan comes across them, and two statements that do that differently wait for each other. `skip_locked`: without
    those that are locked.
    """
    return select(key).where(*conditions).order_by(key).with_for_update(key_share=True, skip_locked=skip_locked)
