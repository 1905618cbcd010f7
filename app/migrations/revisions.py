"""The schema revisions that this build knows, oldest first.

Kept apart from Alembic's scripts, so that the API can tell an outdated schema without importing Alembic (0.3 s of cold
start). A test holds it equal to the scripts.
"""

from __future__ import annotations

KNOWN = ("0001", "0002", "0003", "0004")
HEAD = KNOWN[-1]
