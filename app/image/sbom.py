"""`python -m app.image.sbom`: what this image is made of, as a CycloneDX 1.6 document.

The Python packages as they are installed, the interpreter, and Debian's packages as dpkg records them, so that any
image that runs can be asked, with no tool and no network: `docker run --rm IMAGE python -m app.image.sbom`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from email.parser import HeaderParser
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

Component = dict[str, Any]

DPKG: Final = Path("/var/lib/dpkg")
_SPDX_ID: Final = re.compile(r"[A-Za-z0-9.+-]+")


def document(*, installed: Iterable[Distribution], dpkg: Path, os_release: Mapping[str, str]) -> dict[str, Any]:
    name = os.environ.get("SERVICE_NAME", "slipway")
    components = [_interpreter(), *map(_python, installed), *_debian(dpkg, os_release)]
    # Two records of one package are one component: references must be unique.
    unique = {component["bom-ref"]: component for component in components}
    root = f"{name}-image"
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": {"type": "container", "bom-ref": root, "name": name, **_version()},
        },
        "components": [unique[reference] for reference in sorted(unique)],
        "dependencies": [{"ref": root, "dependsOn": sorted(unique)}],
    }


def _version() -> dict[str, str]:
    version = os.environ.get("SERVICE_VERSION")
    return {"version": version} if version else {}


def _interpreter() -> Component:
    version = platform.python_version()
    purl = f"pkg:generic/python@{version}"
    return {"type": "platform", "bom-ref": purl, "name": "python", "version": version, "purl": purl}


def _python(distribution: Distribution) -> Component:
    metadata = distribution.metadata
    name = re.sub(r"[-_.]+", "-", metadata["Name"]).lower()
    purl = f"pkg:pypi/{name}@{quote(distribution.version, safe='.+-')}"
    component: Component = {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": distribution.version,
        "purl": purl,
    }
    if "License-Expression" in metadata:
        component["licenses"] = [{"expression": metadata["License-Expression"]}]
    elif "License" in metadata and _SPDX_ID.fullmatch(metadata["License"]):
        component["licenses"] = [{"license": {"name": metadata["License"]}}]
    return component


def _debian(dpkg: Path, os_release: Mapping[str, str]) -> Iterator[Component]:
    """Of packages that were installed, and of those of which files were copied (`status.d`, as minimal images do)."""
    system = os_release.get("ID", "debian")
    distribution = f"{system}-{os_release['VERSION_ID']}" if "VERSION_ID" in os_release else system
    folder = dpkg / "status.d"
    for file in (dpkg / "status", *(sorted(folder.iterdir()) if folder.is_dir() else ())):
        if not file.is_file():
            continue
        for record in file.read_text(errors="replace").split("\n\n"):
            fields = HeaderParser().parsestr(record.strip())
            if "Package" not in fields or not fields.get("Status", "installed").endswith("installed"):
                continue
            name, version = fields["Package"], fields["Version"]
            qualifiers = f"arch={fields['Architecture']}&distro={quote(distribution)}"
            purl = f"pkg:deb/{system}/{quote(name, safe='.+-')}@{quote(version, safe='.+-~:')}?{qualifiers}"
            yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


def main() -> int:
    content = document(installed=distributions(), dpkg=DPKG, os_release=platform.freedesktop_os_release())
    json.dump(content, sys.stdout, indent=1)
    print()
    return 0


if __name__ == "__main__":
    sys.exit(main())
