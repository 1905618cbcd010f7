"""The copy of every dump in another region: what may be asked for, and what is then made."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.engine.plan import Plan
from infra.settings import SettingsError, parse

TREE: dict[str, Any] = {
    "target": "aws",
    "region": "eu-central-1",
    "account": "123456789012",
    "domain": {"name": "api.example.com"},
}
Planned = Callable[..., Plan]


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ({"backup": {"copy_region": "eu-central-1"}}, "is the stack's own region"),
        ({"backup": {"copy_region": "eu-middle-1"}}, "is no region of aws"),
        ({"backup": {"copy_region": "us-gov-west-1"}}, "is in GovCloud"),
        ({"backup": {"copy_region": "Ireland"}}, "an AWS region such as eu-west-1"),
        ({"backup": {"copy_region": "eu-west-1", "dumps": False}}, "has nothing to copy"),
        (
            {"backup": {"copy_region": "eu-west-1"}, "encryption": {"customer_key": True}},
            "cannot be had with encryption.customer_key",
        ),
        ({"target": "local", "backup": {"copy_region": "eu-west-1"}}, "means nothing with target local"),
    ],
)
def test_a_region_that_cannot_be_is_refused(groups: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError) as refused:
        parse({**TREE, **groups}, stack="prod")
    assert said in str(refused.value)


def test_nothing_is_copied_unless_asked_for(planned_aws: Planned) -> None:
    graph = planned_aws("prod")
    assert not graph.of_type("aws:s3/bucketReplicationConfig:BucketReplicationConfig")
    assert not [resource.name for resource in graph.resources if resource.name.startswith("backup-copy")]


def test_a_second_bucket_like_the_first_lies_elsewhere(planned_aws: Planned) -> None:
    graph = planned_aws("prod", backup={"copy_region": "eu-west-1"})
    by_name = {resource.name: resource for resource in graph.resources}
    own = {name for name in by_name if name.startswith("backup-bucket")}
    for name in own:
        copied = by_name[name.replace("-bucket", "-copy", 1)]
        assert copied.inputs["region"] == "eu-west-1", copied.name
        assert "region" not in by_name[name].inputs
    assert by_name["backup-copy"].inputs["bucketPrefix"] == "slipway-prod-copies-"
    assert by_name["backup-copy"].registration.protect is True
    versions = by_name["backup-copy-versions"].inputs["versioningConfiguration"]
    assert versions == {"status": "Enabled"}
    assert by_name["backup-copy-lifecycle"].inputs["rules"] == by_name["backup-bucket-lifecycle"].inputs["rules"]


def test_what_is_written_goes_there_and_what_is_deleted_does_not(planned_aws: Planned) -> None:
    graph = planned_aws("prod", known=True, backup={"copy_region": "eu-west-1"})
    own, copy = (graph.find("aws:s3/bucket:Bucket", f"backup-{role}").outputs["arn"] for role in ("bucket", "copy"))
    (rule,) = graph.find("aws:s3/bucketReplicationConfig:BucketReplicationConfig", "backup-copy-rule").inputs["rules"]
    assert rule["destination"]["bucket"] == copy
    assert rule["deleteMarkerReplication"] == {"status": "Disabled"}
    policy = graph.find("aws:iam/rolePolicy:RolePolicy", "backup-copy-role-policy").inputs["policy"]
    allowed = {each["Sid"]: each for each in json.loads(policy)["Statement"]}
    assert allowed["Copy"]["Resource"] == [f"{copy}/*"]
    assert allowed["Read"]["Resource"] == [f"{own}/*"]
    assert not [action for each in allowed.values() for action in each["Action"] if "Delete" in action]
    (trust,) = json.loads(graph.find("aws:iam/role:Role", "backup-copy-role").inputs["assumeRolePolicy"])["Statement"]
    assert trust["Condition"] == {
        "StringEqualsIfExists": {"aws:SourceAccount": "123456789012"},
        "ArnLikeIfExists": {"aws:SourceArn": "arn:aws:s3:::slipway-prod-dumps-*"},
    }


def test_the_first_dump_waits_for_the_rule(planned_aws: Planned) -> None:
    graph = planned_aws("prod", backup={"copy_region": "eu-west-1"})
    by_name = {resource.name: resource for resource in graph.resources if resource.custom}
    rule = by_name["backup-copy-rule"]
    assert rule.urn in by_name["backup-schedule"].dependencies
    needed = {"backup-copy-role-policy", "backup-bucket-versions", "backup-copy-versions"}
    assert {by_name[name].urn for name in needed} <= set(rule.dependencies)
