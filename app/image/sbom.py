"""`sbom.py DPKG < PYTHON > IMAGE`: what the image is made of, as a CycloneDX document.

CycloneDX's own tool lists the Python packages (app/Dockerfile). This adds what that does not see: the interpreter, and
Debian's packages as dpkg records them. There is no time in it, so that the same image has the same document.
Imports nothing but the standard library: the tool is not in the image, nor is this run there.
"""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Iterator, Mapping
from email.parser import HeaderParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, Any]


def complete(document: dict[str, Any], *, dpkg: Path, os_release: Mapping[str, str]) -> dict[str, Any]:
    """The tool's `document` with everything else that is in the image; `dpkg` is dpkg's folder there."""
    root = {"type": "container", "bom-ref": "slipway-image", "name": "slipway"}
    found = [*document["components"], _interpreter(), *_debian(dpkg, os_release)]
    # Two records of one package are one component: references must be unique.
    components = {component["bom-ref"]: component for component in found}
    return {
        **document,
        "metadata": {**document["metadata"], "component": root},
        "components": sorted(components.values(), key=lambda one: one.get("purl", one["bom-ref"])),
        "dependencies": [{"ref": root["bom-ref"], "dependsOn": sorted(components)}, *document["dependencies"]],
    }


def _interpreter() -> Component:
    version = platform.python_version()
    purl = f"pkg:generic/python@{version}"
    return {"type": "platform", "bom-ref": purl, "name": "python", "version": version, "purl": purl}


def _debian(dpkg: Path, os_release: Mapping[str, str]) -> Iterator[Component]:
    """Of packages that were installed, and of those of which files were copied (`status.d`, as minimal images do)."""
    system = os_release.get("ID", "debian")
    distribution = f"{system}-{os_release['VERSION_ID']}" if "VERSION_ID" in os_release else system
    for file in (dpkg / "status", *sorted(dpkg.glob("status.d/*"))):
        for record in file.read_text(errors="replace").split("\n\n"):
            fields = HeaderParser().parsestr(record.strip())
            if "Package" not in fields or not fields.get("Status", "installed").endswith("installed"):
                continue
            name, version = fields["Package"], fields["Version"]
            qualifiers = f"arch={fields['Architecture']}&distro={quote(distribution)}"
            purl = f"pkg:deb/{system}/{quote(name, safe='.+-')}@{quote(version, safe='.+-~:')}?{qualifiers}"
            yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}


if __name__ == "__main__":
    image = complete(json.load(sys.stdin), dpkg=Path(sys.argv[1]), os_release=platform.freedesktop_os_release())
    json.dump(image, sys.stdout, indent=1)
