"""Where the local target keeps things: ``<project root>/.slipway/<stack>/<service>``."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from infra.local.errors import LocalError

STATE = ".slipway"
DELETE_DATA = "SLIPWAY_DELETE_DATA"
"""The variable that the providers read, in whichever process they run: `1` lets a delete take the data."""


def stack_folder(stack: str, service: str) -> str:
    """The folder of a service relative to the project root: resource inputs must not differ between machines."""
    return f"{STATE}/{stack}/{service}"


def project_root() -> Path:
    """The nearest folder upwards that has a ``Pulumi.yaml``. Programs, providers and commands all run below it."""
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / "Pulumi.yaml").is_file():
            return folder
    raise LocalError(f"There is no Pulumi.yaml in {here} or above it: run the command inside the project.")


def resolve(folder: str) -> Path:
    """The absolute path of a `stack_folder`; an absolute one is returned as it is."""
    return Path(folder) if Path(folder).is_absolute() else project_root() / folder


def recorded(folder: str, path: str) -> Path:
    """Where a resource that is to be deleted lies: at `folder` of this project, else where it was created."""
    try:
        found = resolve(folder)
    except LocalError:
        return Path(path)
    return found if found.exists() else Path(path)


def make_private(path: Path) -> None:
    """Make the folder, and those of ours above it, for this user alone; LocalError names what stands in the way."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (path, path.parent):
            if folder.parent.name == STATE or folder.parent.parent.name == STATE:
                _narrow(folder)
        _narrow(path)
    except OSError as error:
        user = "root" if os.geteuid() == 0 else f"uid {os.geteuid()}"
        raise LocalError(
            f"Cannot use {path}: {error.strerror}. It must be a folder that {user} can write; check its owner and "
            "the space on the disk."
        ) from error


def _narrow(folder: Path) -> None:
    if stat.S_IMODE(folder.stat().st_mode) & 0o077:
        folder.chmod(0o700)


def write_private(path: Path, text: str, *, owner: tuple[int, int] | None = None) -> None:
    """Replace the file at once, readable by its owner alone. Nobody sees it half-written."""
    temporary = path.with_name(f".{path.name}.new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    if owner:
        os.chown(temporary, *owner)
    temporary.replace(path)


def delete_data(path: Path) -> None:
    """Remove the folder if the user asked for that; otherwise everything stays for the next ``up``."""
    if os.environ.get(DELETE_DATA) == "1":
        shutil.rmtree(path, ignore_errors=True)
