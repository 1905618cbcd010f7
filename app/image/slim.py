"""`python slim.py FOLDER`: take from an installed environment what nothing reads when the application runs.

By rules, so that it holds for the next version of a package too: sources of compiled modules, stubs of type checkers,
folders of tests, and those pages of the OpenAPI package that nothing serves. Licences and descriptions stay.
Imports nothing but the standard library, so that edited code of the application does not install everything anew.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Final

SOURCES: Final = frozenset({".a", ".c", ".cc", ".cpp", ".h", ".hpp", ".pxd", ".pxi", ".pyi", ".pyx", ".proto", ".pyc"})
"""Bytecode too: pip writes it for every module there is, app.image.bytecode for those that are loaded."""
TESTS: Final = frozenset({"test", "tests"})
PAGES: Final = {"offapi": frozenset({"swagger_bundle.js", "swagger_style.css"})}
"""The files that app.web.docs serves, by package. The rest of it are other user interfaces."""
_OF_PAGES: Final = frozenset({".css", ".js"})


def slim(site_packages: Path) -> int:
    """Removes the files; how many bytes that were."""
    removed = 0
    for path in sorted(site_packages.rglob("*"), reverse=True):
        if path.is_symlink() or not _superfluous(path.relative_to(site_packages), is_folder=path.is_dir()):
            continue
        if path.is_dir():
            removed += sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
            shutil.rmtree(path)
        else:
            removed += path.stat().st_size
            path.unlink()
    return removed


def _superfluous(path: Path, *, is_folder: bool) -> bool:
    package = path.parts[0]
    if package.endswith(".dist-info"):
        return False
    if is_folder:
        # The first name is the package's own.
        return len(path.parts) > 1 and path.name in TESTS
    pages = PAGES.get(package)
    return path.suffix in SOURCES or (pages is not None and path.suffix in _OF_PAGES and path.name not in pages)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: slim.py FOLDER, for example /venv/lib/python3.13/site-packages", file=sys.stderr)
        return 2
    print(f"{slim(Path(arguments[0])) / 1e6:.1f} MB removed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
