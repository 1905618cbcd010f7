"""The migration of the database: run once for each version of the code, before anything new serves."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psycopg

from infra.local import secretfiles
from infra.local.errors import LocalError
from infra.local.paths import make_private, write_private
from infra.local.providers.base import LocalProvider, Properties
from infra.local.providers.service import application_folder, interpreter
from infra.local.supervisor.process import base_environment

_LAST_LINES = 20


class MigrationProperties(Properties):
    image: str
    command: tuple[str, ...]
    environment: dict[str, str]
    secrets: dict[str, str]
    timeout: float
    """Seconds."""


class Migration(LocalProvider[MigrationProperties]):
    """Outputs: `revision`, the schema's version after it. A failed run fails the resource, and what depends on it is
    not touched; the migration itself commits everything or nothing."""

    properties = MigrationProperties

    def see(self, props: MigrationProperties, olds: Mapping[str, Any], /) -> bool:
        """Whether the database still has the version of the last run; one that is down has not been changed."""
        try:
            return _revision(props) == olds.get("revision")
        except psycopg.OperationalError:
            return True
        except psycopg.Error:
            return False

    def make(self, props: MigrationProperties, _olds: Mapping[str, Any], /) -> dict[str, Any]:
        path = props.path
        make_private(path)
        files = secretfiles.store(path / "secrets", props.secrets)
        try:
            _run(props, files, path / "log")
        finally:
            secretfiles.prune(path / "secrets", ())
        return {"revision": _revision(props)}


def _run(props: MigrationProperties, files: Mapping[str, str], log: Path) -> None:
    write_private(log, "")
    with log.open("ab") as output:
        try:
            code: int | None = subprocess.run(
                interpreter(props.command),
                env={**base_environment(), "PYTHONUNBUFFERED": "1", **props.environment, **files},
                cwd=application_folder(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
                start_new_session=True,  # Ctrl-C lets a migration under way finish
                timeout=props.timeout,
            ).returncode
        except subprocess.TimeoutExpired:
            code = None
    if code == 0:
        return
    reason = (
        f"took longer than {props.timeout:g} s and was stopped" if code is None else f"failed with exit code {code}"
    )
    lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
    output_text = "".join(f"\n    {line}" for line in lines)
    raise LocalError(
        f"The migration {reason}; the database is unchanged, and what served before serves still. "
        f"Its last lines:{output_text}\n  The whole log: {log}"
    )


def _revision(props: MigrationProperties) -> str:
    with psycopg.connect(props.secrets["DATABASE_URL"], connect_timeout=5) as database:
        row = database.execute(
            "SELECT string_agg(version_num, ' ' ORDER BY version_num) FROM alembic_version"
        ).fetchone()
    return str(row[0] if row else "")
