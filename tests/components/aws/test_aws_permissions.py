"""The IAM policies: current, of real actions, and no wider than the plan."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import botocore.session
import parliament
import pytest

from infra.cli.commands.permissions import FOLDER, documents
from infra.cli.console import Console
from infra.cli.context import Context
from infra.engine.errors import EngineError
from infra.engine.plan import Plan
from infra.engine.project.project import ProgramConfig, Project, StackFile
from infra.iam import reference
from infra.iam.arns import ARN_VARIABLES, NAMES, OWN_ARNS, POLICY_LIMIT
from infra.iam.policies import PermissionsError, Place, length, policies
from infra.iam.provider_calls import CALLS
from infra.iam.wildcards import plan_with_patterns

PLACE = Place(region="eu-central-1", project="slipway", stack="prod")
BOTOCORE = {"elasticloadbalancing": "elbv2"}
NOT_OPERATIONS = {
    "backup-storage:MountCapsule": "what creating a vault asks for; the service has no public API",
    "budgets:ModifyBudget": "CreateBudget, UpdateBudget and DeleteBudget",
    "budgets:ViewBudget": "DescribeBudget",
    "elasticloadbalancing:SetWebACL": "what AssociateWebACL asks of the load balancer",
    "iam:PassRole": "what every call that hands a role to a service asks for",
    "logs:CreateLogDelivery": "what PutLoggingConfiguration of WAF asks for",
    "logs:DeleteLogDelivery": "what DeleteLoggingConfiguration of WAF asks for",
    "s3:GetAccelerateConfiguration": "GetBucketAccelerateConfiguration",
    "s3:GetBucketCORS": "GetBucketCors",
    "s3:GetBucketObjectLockConfiguration": "GetObjectLockConfiguration",
    "s3:GetBucketPublicAccessBlock": "GetPublicAccessBlock",
    "s3:GetEncryptionConfiguration": "GetBucketEncryption",
    "s3:GetLifecycleConfiguration": "GetBucketLifecycleConfiguration",
    "s3:GetReplicationConfiguration": "GetBucketReplication",
    "s3:ListBucket": "ListObjectsV2",
    "s3:ListTagsForResource": "an operation of S3 Control",
    "s3:PutBucketPublicAccessBlock": "PutPublicAccessBlock",
    "s3:PutEncryptionConfiguration": "PutBucketEncryption",
    "s3:PutLifecycleConfiguration": "PutBucketLifecycleConfiguration",
    "s3:TagResource": "an operation of S3 Control",
    "s3:UntagResource": "an operation of S3 Control",
}
"""Actions that are not named after an operation, and what they stand for."""

Statements = list[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def written(project: Project) -> dict[str, dict[str, Any]]:
    return {file.stem: json.loads(file.read_text()) for file in sorted((project.root / FOLDER).glob("*.json"))}


@pytest.fixture(scope="module")
def graphs(project: Project) -> Callable[[str], Plan]:
    found: dict[str, Plan] = {}

    def graph(stack: str) -> Plan:
        if stack not in found:
            config = StackFile.load(project, stack).program_config(None)
            found[stack] = plan_with_patterns(project=project, stack=stack, config=config)
        return found[stack]

    return graph


@pytest.fixture(scope="module")
def statements(written: Mapping[str, Any]) -> Statements:
    return [(name, statement) for name, document in written.items() for statement in document["Statement"]]


def listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else value


def test_the_policies_are_those_of_the_plan(project: Project) -> None:
    context = Context(stack="prod", console=Console(), cwd=project.root)
    made = documents(context, account="", state_bucket="STATE-BUCKET", state_key="STATE-KEY-ID")
    there = {file.name: file.read_text() for file in (project.root / FOLDER).glob("*.json")}
    assert there == made, "run: slipway permissions --stack prod"


def test_a_policy_fits(written: Mapping[str, Any]) -> None:
    assert {name: length(document) for name, document in written.items() if length(document) > POLICY_LIMIT} == {}
    assert len([name for name in written if name.startswith("deploy-")]) <= 10  # managed policies of a role


def test_no_action_is_a_pattern(statements: Statements) -> None:
    assert [action for _, s in statements for action in listed(s["Action"]) if "*" in action] == []
    assert {s["Effect"] for _, s in statements} == {"Allow"}
    assert not [s for _, s in statements if {"NotAction", "NotResource", "Principal"} & set(s)]


def test_every_resource_at_once_only_where_iam_knows_none(statements: Statements) -> None:
    wide = [(name, s) for name, s in statements if "*" in listed(s["Resource"])]
    assert wide
    for name, statement in wide:
        if statement["Sid"].startswith("Steps"):  # not calls of the provider: parliament judges them below
            continue
        assert [a for a in listed(statement["Action"]) if reference.resource_types(a)] == [], (
            f"{name} {statement['Sid']}"
        )


EXPLAINED = {
    ("RESOURCE_STAR", "ecs:ListTasks"): "its condition names the cluster, and the action takes no task",
    ("RESOURCE_MISMATCH", "ecs:DescribeServiceDeployments"): "for services another statement allows it",
    ("RESOURCE_MISMATCH", "ecs:DescribeServiceRevisions"): "for services another statement allows it",
    ("RESOURCE_MISMATCH", "elasticloadbalancing:DeleteListener"): "of application load balancers only",
    ("RESOURCE_MISMATCH", "elasticloadbalancing:ModifyListener"): "of application load balancers only",
    ("RESOURCE_MISMATCH", "elasticloadbalancing:ModifyListenerAttributes"): "of application load balancers only",
    ("RESOURCE_MISMATCH", "elasticloadbalancing:SetWebAcl"): "WAF's developer guide grants it on the load balancer",
    ("RESOURCE_MISMATCH", "rds:CreateDBInstanceReadReplica"): "no stack has a cluster of Aurora",
    ("RESOURCE_POLICY_PRIVILEGE_ESCALATION", "s3:PutBucketPolicy"): "the stack's buckets have policies",
    ("RESOURCE_POLICY_PRIVILEGE_ESCALATION", "s3:PutLifecycleConfiguration"): "the stack's buckets have lifecycles",
}
"""What parliament finds, by the action that it is about, and why it stays."""


def test_parliament_finds_nothing_else(written: Mapping[str, dict[str, Any]]) -> None:
    """Actions, resources and conditions, each against the others: what IAM would take without a word, and ignore."""
    found = set()
    for document in written.values():
        text = json.dumps(document).replace("ACCOUNT", "123456789012").replace("STATE-BUCKET", "state")
        for finding in parliament.analyze_policy_string(text.replace("STATE-KEY-ID", "1234abcd")).findings:
            actions = re.findall(r"[a-z0-9-]+:[A-Z]\w+", json.dumps(finding.detail))
            if finding.issue == "RESOURCE_POLICY_PRIVILEGE_ESCALATION":
                actions = actions[-1:]  # the sentence names the one that is missing first
            found |= {(finding.issue, action) for action in actions} or {(finding.issue, finding.detail)}
    assert found == set(EXPLAINED)


def test_an_action_is_one_that_aws_has(statements: Statements) -> None:
    session = botocore.session.get_session()
    operations: dict[str, set[str]] = {}
    unknown = []
    for action in sorted({action for _, s in statements for action in listed(s["Action"])}):
        service, _, name = action.partition(":")
        if action in NOT_OPERATIONS:
            continue
        if service not in operations:
            operations[service] = set(session.get_service_model(BOTOCORE.get(service, service)).operation_names)
        if name not in operations[service]:
            unknown.append(action)
    assert unknown == []


def test_a_preview_changes_nothing_and_knows_no_secret(statements: Statements) -> None:
    actions = {action for name, s in statements if name.startswith("preview") for action in listed(s["Action"])}
    reading = ("Describe", "Get", "List", "View", "Decrypt")
    assert [action for action in actions if not action.partition(":")[2].startswith(reading)] == []
    assert not actions & {"secretsmanager:GetSecretValue", "ssm:GetParameter", "kms:GenerateDataKey"}
    opening = [
        (name, s) for name, s in statements if name.startswith("preview") and "kms:Decrypt" in listed(s["Action"])
    ]
    assert [name for name, _ in opening] == ["preview-state"]


def test_what_aws_names_is_changed_by_its_tags_only(statements: Statements) -> None:
    own = {"aws:ResourceTag/project": "slipway", "aws:ResourceTag/stack": "prod"}
    for action in ("ec2:DeleteVpc", "ec2:RevokeSecurityGroupIngress", "ec2:CreateRoute", "kms:ScheduleKeyDeletion"):
        allowing = [s for _, s in statements if action in listed(s["Action"])]
        assert allowing
        assert all(s["Condition"] == {"StringEquals": own} for s in allowing), action


def test_roles_are_handed_to_named_services_only(statements: Statements) -> None:
    for action, key in (
        ("iam:PassRole", "iam:PassedToService"),
        ("iam:CreateServiceLinkedRole", "iam:AWSServiceName"),
        ("iam:AttachRolePolicy", "iam:PolicyARN"),
    ):
        (allowing,) = [s for _, s in statements if action in listed(s["Action"])]
        (condition,) = allowing["Condition"].values()
        assert listed(condition[key])
        assert "*" not in listed(allowing["Resource"])


@pytest.mark.parametrize("stack", ["prod", "staging"])
def test_every_name_in_the_plan_is_allowed(graphs: Callable[[str], Plan], stack: str) -> None:
    """What the plan names, a statement of the deployer names too: a forgotten one would fail half-way."""
    graph = graphs(stack)
    found = policies(graph, dataclasses.replace(PLACE, stack=stack))
    arns = [
        arn
        for name, d in found.items()
        if name != "deploy-state"
        for s in d["Statement"]
        for arn in listed(s["Resource"])
    ]
    for name, wanted in _named(graph):
        assert any(fnmatchcase(wanted, arn) or fnmatchcase(name, arn.rpartition("/")[2]) for arn in arns), wanted


def _named(graph: Plan) -> Iterator[tuple[str, str]]:
    """Some that must be there, spelled as AWS does."""
    for type_, prop, arn in (
        ("aws:cloudwatch/metricAlarm:MetricAlarm", "name", "arn:aws:cloudwatch:eu-central-1:ACCOUNT:alarm:{}"),
        ("aws:cloudwatch/logGroup:LogGroup", "name", "arn:aws:logs:eu-central-1:ACCOUNT:log-group:{}"),
        ("aws:ecs/taskDefinition:TaskDefinition", "family", "arn:aws:ecs:eu-central-1:ACCOUNT:task-definition/{}:7"),
    ):
        for resource in graph.of_type(type_):
            name = str(resource.inputs.get(prop, f"{resource.name}-1a2b3c4"))
            yield name, arn.format(name)


EVERYTHING: Mapping[str, Any] = {
    "encryption": {"customer_key": True},
    "network": {"endpoints": ["ecr.api", "ecr.dkr", "logs", "secretsmanager"]},
    "postgres": {"read_replicas": 1},
    "features": {"exec": True},
}
"""What `prod` leaves out."""
ELSEWHERE: Mapping[str, Any] = {"backup": {"copy_region": "eu-west-1"}}
"""What does not go with a key of one's own."""


def test_the_tables_have_the_types_of_the_stacks_and_no_others(
    project: Project, stack_config: Callable[..., ProgramConfig]
) -> None:
    types: set[str] = set()
    for groups in (EVERYTHING, ELSEWHERE):
        config = stack_config("prod", **groups)
        config = dataclasses.replace(config, values={**config.values, "slipway:account": "123456789012"})
        graph = plan_with_patterns(project=project, stack="prod", config=config)
        types |= {r.type for r in graph.resources if r.type.startswith("aws:")}
        assert all(length(document) <= POLICY_LIMIT for document in policies(graph, PLACE).values())
    assert types == set(CALLS)


def test_only_what_may_go_with_its_contents_may_be_emptied(graphs: Callable[[str], Plan]) -> None:
    emptying = {"s3:DeleteObject", "s3:DeleteObjectVersion", "backup:DeleteRecoveryPoint"}
    for stack, expected in (("prod", set()), ("staging", emptying)):
        document = policies(graphs(stack), dataclasses.replace(PLACE, stack=stack))["deploy-backup"]
        assert {a for s in document["Statement"] for a in listed(s["Action"])} & emptying == expected


def test_kinds_of_names_are_in_use() -> None:
    text = " ".join(reference.arn(kind) for kind in [*ARN_VARIABLES, *OWN_ARNS])
    assert [kind for kind in NAMES if f"{{{kind}}}" not in text] == []


def test_a_type_that_nobody_has_listed_is_refused(graphs: Callable[[str], Plan]) -> None:
    graph = graphs("staging")
    strange = dataclasses.replace(graph.resources[-1], type="aws:batch/queue:Queue")
    with pytest.raises(PermissionsError, match=r"aws:batch/queue:Queue calls: add it to infra/iam/provider_calls\.py"):
        policies(dataclasses.replace(graph, resources=(*graph.resources, strange)), PLACE)


def test_a_stack_elsewhere_is_refused(project: Project) -> None:
    context = Context(stack="local", console=Console(), cwd=project.root)
    with pytest.raises(Exception, match="'local' runs on local; IAM policies are for stacks on aws"):
        documents(context, account="", state_bucket="b", state_key="k")


def test_the_command_fills_in_what_it_is_told(project: Project, tmp_path: Path) -> None:
    from infra.cli import main

    (tmp_path / "old.json").write_text("{}")
    args = [
        "permissions",
        "--stack",
        "staging",
        "--account",
        "123456789012",
        "--state-bucket",
        "state",
        "--state-key",
        "k",
    ]
    assert main([*args, "--out", str(tmp_path)]) == 0
    text = "".join(file.read_text() for file in tmp_path.glob("*.json"))
    assert "arn:aws:s3:::state/*" in text
    assert "arn:aws:kms:eu-central-1:123456789012:key/k" in text
    assert "ACCOUNT" not in text
    assert not (tmp_path / "old.json").exists()


def test_the_error_is_one_for_users() -> None:
    assert issubclass(PermissionsError, EngineError)
