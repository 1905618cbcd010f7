"""What a deployment really calls, the deployer's policies allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import pytest
from emulator.cloud import Cloud
from emulator.stack import Stack

from infra.aws.control.permissions import PERMISSIONS
from infra.engine.project.project import Project, StackFile
from infra.iam.policies import Place, policies
from infra.iam.wildcards import plan_with_patterns

IMAGE: Final = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/slipway@sha256:"
SERVICES: Final[Mapping[str, str]] = {"elbv2": "elasticloadbalancing"}
ACTIONS: Final[Mapping[str, str]] = {
    "budgets:CreateBudget": "budgets:ModifyBudget",
    "budgets:DeleteBudget": "budgets:ModifyBudget",
    "budgets:DescribeBudget": "budgets:ViewBudget",
    "budgets:UpdateBudget": "budgets:ModifyBudget",
    "s3:DeleteBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:DeleteBucketOwnershipControls": "s3:PutBucketOwnershipControls",
    "s3:DeletePublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
}
"""Operations whose action has another name."""
NOT_THE_DEPLOYER: Final = {
    "logs:CreateLogStream": "ECS, for a task",
    "logs:PutLogEvents": "ECS, for a task",
    "route53:CreateHostedZone": "the zone is there before the stack",
    "route53:ListHostedZones": "the test, to find that zone",
}


@pytest.mark.parametrize("name", ["staging", "prod"])
def test_every_call_is_allowed(project: Project, account: Cloud, stack: Callable[[str], Stack], name: str) -> None:
    live = stack(name).set(image={"reference": f"{IMAGE}{'1' * 64}"})
    live.must_up()
    live.set(image={"reference": f"{IMAGE}{'2' * 64}"}, rotation={"jwt": 2, "db": 2, "redis": 2}).must_up()
    if name == "staging":
        assert live.destroy().succeeded

    graph = plan_with_patterns(project=project, stack=name, config=StackFile.load(project, name).program_config(None))
    place = Place(region="eu-central-1", project="slipway", stack=name)
    allowed = {
        action
        for file, document in policies(graph, place, PERMISSIONS).items()
        if file.startswith("deploy-")
        for statement in document["Statement"]
        for action in statement["Action"]
    }
    called = {f"{SERVICES.get(call.service, call.service)}:{call.operation}" for call in account.calls}
    assert len(called) > 100
    assert {ACTIONS.get(action, action) for action in called - set(NOT_THE_DEPLOYER)} - allowed == set()
