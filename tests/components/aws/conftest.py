"""Plans of single components of the AWS target, and outputs as AWS would give them."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.engine.fakes import DeclaredFakes
from infra.engine.plan import Plan, plan
from infra.engine.program.monitor import InvokeRequest
from infra.engine.program.registration import Registration
from infra.engine.project.project import ProgramConfig, Project

ACCOUNT = "123456789012"
REGION = "eu-central-1"
SECRET_ARN = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret"
VERSION_ID = "00000000-0000-4000-8000-000000000001"
VALIDATION = {
    "domainValidationOptions": [
        {
            "domainName": "api.example.com",
            "resourceRecordName": "_1234.api.example.com.",
            "resourceRecordType": "CNAME",
            "resourceRecordValue": "_5678.acm-validations.aws.",
        }
    ]
}
"""ACM asks for one record for each name of a certificate."""


class AwsFakes:
    """Outputs of the declared types, with ARNs that can be taken apart."""

    def __init__(self, overrides: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        secrets: dict[str, Mapping[str, Any]] = {
            "random:index/randomPassword:RandomPassword": {"result": "planted-password"},
            "random:index/randomBytes:RandomBytes": {"base64": "planted-key"},
        }
        master = {"secretArn": f"{SECRET_ARN}:rds!db-1-AbCdEf", "kmsKeyId": "", "secretStatus": "active"}
        secrets["aws:rds/instance:Instance"] = {"masterUserSecrets": [master]}
        secrets["aws:secretsmanager/secretVersion:SecretVersion"] = {"versionId": VERSION_ID}
        login = {"userName": "AWS", "password": "planted-login", "proxyEndpoint": "https://registry"}
        self._declared = DeclaredFakes(
            overrides={**secrets, "aws:acm/certificate:Certificate": VALIDATION, **(overrides or {})},
            invokes={"aws:ecr/getAuthorizationToken:getAuthorizationToken": login},
        )
        self._overrides = overrides or {}

    def outputs(self, goal: Registration) -> Mapping[str, Any]:
        given = dict(self._declared.outputs(goal))
        # Other outputs that hold ARNs are those of other resources.
        if goal.type.startswith("aws:") and "arn" in given and "arn" not in self._overrides.get(goal.type, {}):
            service, kind = goal.type.split(":")[1].split("/")
            # As Secrets Manager writes them: a task definition's `valueFrom` is taken apart at its colons.
            name = f"{kind}:{goal.name}-AbCdEf" if kind == "secret" else f"{kind}/{goal.name}"
            given["arn"] = f"arn:aws:{service}:{REGION}:{ACCOUNT}:{name}"
        return given

    def invoke(self, request: InvokeRequest) -> Mapping[str, Any]:
        return self._declared.invoke(request)


@pytest.fixture
def aws_fakes() -> Callable[..., AwsFakes]:
    """Makes known outputs; `overrides` are outputs by type token, or by ``type::name``."""
    return AwsFakes


@pytest.fixture
def planned_aws(project: Project, stack_config: Callable[..., ProgramConfig]) -> Callable[..., Plan]:
    """The plan of a stack on AWS; with ``known=True`` as if all outputs were known, ARNs among them."""

    def make(
        stack: str = "prod",
        *,
        known: bool = False,
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
        **groups: Any,
    ) -> Plan:
        fakes = AwsFakes(overrides) if known else None
        return plan(project=project, stack=stack, config=stack_config(stack, **groups), fakes=fakes)

    return make


@pytest.fixture
def planned_program(project: Project, tmp_path: Path) -> Callable[..., Plan]:
    """The plan of a program given as text, named `stack`; with ``known=True`` as if all outputs were known."""

    def make(
        source: str,
        *,
        known: bool = False,
        stack: str = "prod",
        overrides: Mapping[str, Mapping[str, Any]] | None = None,
        config: Mapping[str, str] | None = None,
    ) -> Plan:
        (tmp_path / "__main__.py").write_text(textwrap.dedent(source))
        lone = dataclasses.replace(project, root=tmp_path, main=tmp_path)
        return plan(
            project=lone,
            stack=stack,
            config=ProgramConfig(values=dict(config or {}), secret_keys=frozenset()),
            fakes=AwsFakes(overrides) if known else None,
        )

    return make
