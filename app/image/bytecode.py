"""`python -m app.image.bytecode FOLDER`: write the bytecode of every module that the application loads.

The official Python image comes without any, and a read-only file system cannot keep what the interpreter compiles: each
start would compile a thousand modules. Those that are never loaded get none; should one be, it is compiled then.

It imports every module of the application, so that a build fails whose environment lacks one.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import py_compile
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import app

LATE: Final = (
    "_strptime",
    "encodings.idna",
    "sqlalchemy.dialects.postgresql.psycopg",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.http.httptools_impl",
)
"""What is loaded by its name while the application runs."""
_OF_ALEMBIC: Final = "app.migrations.env"
"""Alembic runs it as a file, in a context of its own: it cannot be imported."""


def load() -> None:
    for module in pkgutil.walk_packages(app.__path__, "app."):
        if module.name != _OF_ALEMBIC:
            importlib.import_module(module.name)
    for name in LATE:
        importlib.import_module(name)


def loaded() -> set[str]:
    """Paths of what a new interpreter compiles in order to `load`, from its start on. Its `sys.modules` would not do: a
    module whose import fails, and whose user is content with that, is compiled at each start and never there."""
    with tempfile.TemporaryDirectory() as cache:
        command = [sys.executable, "-X", f"pycache_prefix={cache}", "-c", "from app.image.bytecode import load; load()"]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        subprocess.run(command, env=environment, check=True)
        # The inverse of cache_from_source looks at this interpreter's prefix.
        return {
            str(Path("/", *path.relative_to(cache).parts[:-1], f"{path.name.partition('.')[0]}.py"))
            for path in Path(cache).rglob("*.pyc")
        }


def write(paths: Iterable[str], *, to: Path) -> None:
    """The bytecode of these below `to`, in the folders where the interpreter looks."""
    for path in sorted(paths):
        py_compile.compile(
            path,
            cfile=f"{to}{importlib.util.cache_from_source(path)}",
            dfile=path,
            doraise=True,
            # Nobody edits a file of an image, and its times need not survive the way through a registry.
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m app.image.bytecode FOLDER", file=sys.stderr)
        return 2
    paths = loaded() | {str(path) for path in Path(app.__path__[0]).rglob("*.py")}
    write(paths, to=Path(arguments[0]))
    print(f"bytecode of {len(paths)} modules written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
