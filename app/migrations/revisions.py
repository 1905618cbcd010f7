"""The schema revisions that this build has, oldest first, by the names of its scripts: ``0001_accounts.py``.

Not asked of Alembic: the API is to see an outdated schema without importing it (0.3 s of cold start).
"""

from __future__ import annotations

from pathlib import Path

_SCRIPTS = Path(__file__).with_name("versions").iterdir()
KNOWN = tuple(sorted(script.name.partition("_")[0] for script in _SCRIPTS if script.name[0].isdigit()))
HEAD = KNOWN[-1]
