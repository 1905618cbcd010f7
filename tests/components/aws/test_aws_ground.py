"""The provider, the key, physical names, and how little of the SDK is loaded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pulumi_aws as sdk
import pytest

from infra.aws import lazy_sdk
from infra.aws.naming import name, prefix
from infra.engine.plan import Plan

Planned = Callable[..., Plan]


# -- provider


def test_every_resource_goes_by_the_stacks_provider(planned_aws: Planned) -> None:
    graph = planned_aws("prod", account="123456789012")
    provider = graph.find("pulumi:providers:aws", "aws")
    given = {key: json.loads(value) if value[0] in "[{" else value for key, value in provider.inputs.items()}
    assert given["region"] == "eu-central-1"
    assert given["allowedAccountIds"] == ["123456789012"]
    assert given["defaultTags"]["tags"] == {
        "project": "slipway",
        "stack": "prod",
        "managed-by": "pulumi",
        "owner": "platform",
    }
    for resource in graph.resources:
        if resource.custom and resource.type.startswith("aws:"):
            assert (resource.registration.provider or "").startswith(provider.urn), resource.name


def test_tags_of_the_user_do_not_hide_the_stack(planned_aws: Planned) -> None:
    provider = planned_aws("prod", tags={"stack": "mine"}).find("pulumi:providers:aws", "aws")
    assert json.loads(provider.inputs["defaultTags"])["tags"]["stack"] == "prod"


def test_a_plan_calls_nobody(planned_aws: Planned) -> None:
    for stack in ("prod", "staging"):
        graph = planned_aws(stack)
        assert graph.invokes == ()
        assert graph.messages == ()


def test_every_resource_hangs_under_its_component(planned_aws: Planned) -> None:
    graph = planned_aws("prod")
    components = {r.urn: r for r in graph.resources if not r.custom}
    for resource in graph.resources:
        if not resource.custom or resource.type == "pulumi:providers:aws":
            continue
        parent = components[str(resource.parent)]
        assert parent.type.startswith("slipway:"), resource.name
        assert resource.name.startswith(f"{parent.name}-"), resource.name


def test_what_is_there_does_not_depend_on_what_is_known(planned_aws: Planned) -> None:
    """A resource made inside `apply` would show only once its inputs are known: no preview could list it."""
    assert {r.urn for r in planned_aws("prod").resources} == {r.urn for r in planned_aws("prod", known=True).resources}


def test_what_holds_data_is_protected_by_choice(planned_aws: Planned) -> None:
    def protected(graph: Plan) -> set[str]:
        return {resource.type for resource in graph.resources if resource.registration.protect}

    assert {
        "aws:rds/instance:Instance",
        "aws:elasticache/replicationGroup:ReplicationGroup",
        "aws:secretsmanager/secret:Secret",
        "aws:cloudwatch/logGroup:LogGroup",
        "aws:s3/bucket:Bucket",
        "aws:ecr/repository:Repository",
    } <= protected(planned_aws("prod"))
    assert not protected(planned_aws("staging"))


def test_a_permit_lifts_the_protection_of_what_it_names(planned_aws: Planned) -> None:
    permit = {
        "resource": "postgres-instance",
        "action": "replace",
        "until": "2999-01-01",
        "reason": "It is restored from a snapshot.",
    }
    graph = planned_aws("prod", permits=[permit])
    open_ = [r.name for r in graph.of_type("aws:rds/instance:Instance") if not r.registration.protect]
    assert open_ == ["postgres-instance"]


# -- key


def test_keys_of_aws_by_default(planned_aws: Planned) -> None:
    graph = planned_aws("prod")
    assert not [r for r in graph.resources if r.name.startswith("keys-")]


def test_a_key_of_the_stacks_own(planned_aws: Planned) -> None:
    graph = planned_aws("prod", known=True, account="123456789012", encryption={"customer_key": True})
    key = graph.find("aws:kms/key:Key", "keys-key").inputs
    assert key["enableKeyRotation"] is True
    policy = json.loads(key["policy"])
    assert policy["Statement"][0]["Principal"] == {"AWS": "arn:aws:iam::123456789012:root"}
    for statement in policy["Statement"][1:]:
        # EventBridge says nothing that a condition could look at.
        assert statement["Sid"] == "Events" or statement["Condition"], "another account could use the key"
        assert "kms:*" not in statement["Action"]
    arn = "arn:aws:kms:eu-central-1:123456789012:key/keys-key"
    assert graph.find("aws:rds/instance:Instance", "postgres-instance").inputs["kmsKeyId"] == arn
    for secret in graph.of_type("aws:secretsmanager/secret:Secret"):
        assert secret.inputs["kmsKeyId"] == arn, secret.name
    for group in graph.of_type("aws:cloudwatch/logGroup:LogGroup"):
        assert group.inputs["kmsKeyId"] == arn, group.name


def test_a_key_that_exists_already(planned_aws: Planned) -> None:
    arn = "arn:aws:kms:eu-central-1:123456789012:key/0123abcd-0000-4000-8000-0123456789ab"
    graph = planned_aws("prod", encryption={"key_arn": arn})
    assert not [r for r in graph.resources if r.name.startswith("keys-")]
    assert graph.find("aws:rds/instance:Instance", "postgres-instance").inputs["kmsKeyId"] == arn


# -- names


def test_long_names_are_cut_and_stay_different() -> None:
    assert name("slipway", "prod", "api", limit=32) == "slipway-prod-api"
    long, other = (name("slipway", "a-stack-with-a-long-name", role, limit=32) for role in ("worker-a", "worker-b"))
    assert len(long) <= 32
    assert long != other
    assert long.startswith("slipway-a-stack-with-a-lo")
    assert prefix("slipway", "prod", "jwt", limit=32) == "slipway-prod-jwt-"
    assert len(prefix("slipway", "a-stack-with-a-long-name", "worker", limit=32)) <= 32
    with pytest.raises(ValueError, match="could not be told from others"):
        name("slipway", "prod", "api", limit=5)


# -- the SDK


def test_every_service_of_the_stack_loads_lean(planned_aws: Planned) -> None:
    graph = planned_aws("prod", account="123456789012", encryption={"customer_key": True})
    used = {r.type.split(":")[1].split("/")[0] for r in graph.resources if r.type.startswith("aws:")}
    assert used <= set(lazy_sdk.SERVICES)


LEAN = """
import sys, warnings
import pulumi_aws as aws
from infra.aws.lazy_sdk import load_services_lazily
load_services_lazily()
load_services_lazily()
assert aws.ec2.Vpc.__module__ == "pulumi_aws.ec2.vpc"
assert "pulumi_aws.ec2.ami" not in sys.modules
assert aws.ec2.VpcArgs and aws.ec2.get_vpc and aws.ec2.get_vpc_output
assert "pulumi_aws.ec2.ami" not in sys.modules
from pulumi_aws.ec2 import Subnet
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    # It lies in a module of nested types: the whole service is loaded after all.
    assert aws.ec2.SecurityGroupIngressArgs and aws.ec2.Vpc is sys.modules["pulumi_aws.ec2"].Vpc
assert "pulumi_aws.ec2.ami" in sys.modules
try:
    aws.kms.Nothing
except AttributeError as error:
    assert str(error) == "module 'pulumi_aws.kms' has no attribute 'Nothing'", error
else:
    raise AssertionError
"""


def test_every_resource_of_the_sdk_is_found_by_its_name() -> None:
    """For the services that are used: a class in another module than its name says would load the whole service."""
    listed = json.loads(Path(sdk.__file__).read_text().split('resource_modules="""')[1].split('"""')[0])
    classes = {(entry["fqn"], each) for entry in listed for each in entry["classes"].values()}
    for service in lazy_sdk.SERVICES:
        package = f"pulumi_aws.{service}"
        folder = Path(sdk.__file__).parent / service
        for class_name in (class_name for fqn, class_name in classes if fqn == package):
            assert (folder / f"{lazy_sdk._module_of(class_name)}.py").is_file(), f"{package}.{class_name}"


def test_the_sdk_loads_what_is_used() -> None:
    subprocess.run([sys.executable, "-c", LEAN], check=True, timeout=60)


# -- order


def closure(graph: Plan, name: str) -> set[str]:
    """Names of all that must be done before a resource, however far back."""
    by_urn = {resource.urn: resource for resource in graph.resources}
    waiting, found = [next(r for r in graph.resources if r.name == name)], set()
    while waiting:
        for urn in waiting.pop().dependencies:
            if by_urn[urn].name not in found:
                found.add(by_urn[urn].name)
                waiting.append(by_urn[urn])
    return found


def test_nothing_serves_before_the_migration_and_nothing_counts_before_it_arrived(planned_aws: Planned) -> None:
    graph = planned_aws("prod")
    for service in ("api", "worker"):
        assert "migrate-run" in closure(graph, f"{service}-service")
        assert f"{service}-service" in closure(graph, f"{service}-rollout")
        assert f"{service}-rollout" in closure(graph, "rotation-applied-generations")
    before = closure(graph, "migrate-run")
    assert {"preparation-bootstrap-task", "preparation-migrate-task", "postgres-instance"} <= before
    # Tasks that start before their rules or ways out are there would fail.
    assert {"network-postgres-in-migrate-5432", "network-migrate-out-postgres-5432", "network-task-a-route"} <= before
    assert {"preparation-bootstrap-execution-role-policy", "image-build"} <= before


def test_a_database_of_others_is_migrated_without_a_bootstrap(planned_aws: Planned) -> None:
    urls = {
        "database_url": "postgresql://u:planted-a@pooler.example.com:6543/app?sslmode=verify-full",
        "migration_database_url": "postgresql://u:planted-b@direct.example.com/app?sslmode=verify-full",
        "redis_url": "rediss://u:planted-c@redis.example.com:6379/0",
    }
    # A text takes the place of the whole group: sizes mean nothing for a server of others.
    outside, pooled = json.dumps({"provider": "external"}), json.dumps({"provider": "external", "port": 6543})
    graph = planned_aws("staging", known=True, secrets=urls, postgres=pooled, redis=outside)
    names = {resource.name for resource in graph.resources}
    assert "migrate-run" in names
    assert not {"preparation-bootstrap-task", "postgres-instance", "redis-group"} & names
    assert {"network-api-out-v4-6543", "network-worker-out-v4-6379", "network-migrate-out-v4-5432"} <= names
    assert "planted" not in json.dumps(graph.to_json())
