"""What AWS's Service Authorization Reference says of the actions and resource types in the tables of this folder.

`aws_reference.json` is written by `infra.iam.update_reference`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from infra.iam.arns import ARN_VARIABLES, OWN_ARNS

_CONTENT: Final[dict[str, dict[str, Any]]] = json.loads(Path(__file__).with_name("aws_reference.json").read_text())
_PLACE: Final = {"Partition": "{partition}", "Region": "{region}", "Account": "{account}"}


def access_level(action: str) -> str:
    """List, Read, Write, Tagging or Permissions management."""
    return str(_CONTENT["actions"][action]["level"])


def resource_types(action: str) -> list[str]:
    """What a statement may name for the action; nothing where it must be ``*``."""
    return list(_CONTENT["actions"][action]["resources"])


def arn(resource_type: str) -> str:
    """The ARN with placeholders for its place and for the names in a plan."""
    if resource_type in OWN_ARNS:
        return OWN_ARNS[resource_type]
    values = {**_PLACE, **ARN_VARIABLES[resource_type]}
    return re.sub(r"\$\{(\w+)\}", lambda found: values.get(found[1], "*"), _CONTENT["arns"][resource_type])
