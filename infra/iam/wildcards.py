"""A plan whose physical names are patterns: what only a deployment would know is ``*``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from infra.engine.fakes import DeclaredFakes
from infra.engine.plan import Plan, plan
from infra.engine.program.registration import Registration
from infra.engine.project.project import ProgramConfig, Project

_ANY: Final = "*"
_OVERRIDES: Final[Mapping[str, Mapping[str, Any]]] = {
    "random:index/randomId:RandomId": dict.fromkeys(("hex", "dec", "b64Std", "b64Url"), _ANY),
    "aws:rds/instance:Instance": {
        "masterUserSecrets": [
            {
                "kmsKeyId": "key",
                "secretArn": "arn:aws:secretsmanager:us-east-1:000000000000:secret:rds!db-AbCdEf",
                "secretStatus": "active",
            }
        ]
    },
    "aws:acm/certificate:Certificate": {
        "domainValidationOptions": [
            dict.fromkeys(("domainName", "resourceRecordName", "resourceRecordType", "resourceRecordValue"), _ANY)
        ]
    },
}
_INVOKES: Final[Mapping[str, Mapping[str, Any]]] = {
    "aws:ecr/getAuthorizationToken:getAuthorizationToken": dict.fromkeys(
        ("userName", "password", "proxyEndpoint", "authorizationToken"), _ANY
    ),
}


class _Wildcards(DeclaredFakes):
    """Random parts are ``*``, and ARNs can be taken apart."""

    def outputs(self, goal: Registration) -> Mapping[str, Any]:
        made = dict(super().outputs(goal))
        if goal.type.startswith("aws:") and "arn" in made:
            service, _, kind = goal.type.split(":")[1].partition("/")
            # As Secrets Manager writes them: the program takes a secret's address apart at its colons.
            made["arn"] = f"arn:aws:{service}:us-east-1:000000000000:{kind}:{goal.name}-AbCdEf"
        return made


def plan_with_patterns(*, project: Project, stack: str, config: ProgramConfig) -> Plan:
    """The plan of a stack, for questions about its names; no value in it is anybody's."""
    fakes = _Wildcards(overrides=_OVERRIDES, invokes=_INVOKES)
    return plan(project=project, stack=stack, config=config, fakes=fakes)
