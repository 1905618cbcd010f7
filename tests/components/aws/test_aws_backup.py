"""Copies of the data: the bucket's locks, the dump's containers and rights, its schedule, the vault and its tests."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from infra.aws.backup import disk_gib
from infra.aws.dump import aws_cron
from infra.engine.plan import Plan
from infra.engine.values import Secret
from infra.settings import SettingsError, parse

TREE = {"target": "aws", "region": "eu-central-1", "domain": {"name": "api.example.com"}}
TASK = "aws:ecs/taskDefinition:TaskDefinition"
CLUSTER = "arn:aws:ecs:eu-central-1:123456789012:cluster/main"
SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:login-AbCdEf"
DIGEST = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app@sha256:" + "0" * 64
OUTPUTS = {
    "aws:s3/bucket:Bucket": {"bucket": "the-dumps", "arn": "arn:aws:s3:::the-dumps", "id": "the-dumps"},
    TASK: {"arn": "arn:aws:ecs:eu-central-1:123456789012:task-definition/slipway-prod-backup:3"},
    "aws:cloudwatch/logGroup:LogGroup": {
        "arn": "arn:aws:logs:eu-central-1:123456789012:log-group:/slipway/prod/backup"
    },
}
PROGRAM = (
    """
    import pulumi
    from infra.aws.backup import Backup, BackupArgs
    from infra.aws.dump import DumpArgs
    from infra.aws.postgres_logins import LIBPQ_OPTIONAL
    from infra.aws.cluster import TaskPlatform
    from infra.aws.backup_plan import BackupPlanArgs
    from infra.contracts import SecretRef, TaskSpec
    from infra.workload import LIBPQ
    spec = TaskSpec(
        name="backup", mode=None, command=("pg_dump", "--format=custom"), environment={{}}, secrets=LIBPQ,
        database_login="backup", timeout=3600, cpu=0.25, memory=512 * 1024**2, schedule="0 3 * * *",
    )
    key = {key}
    dump = dict(
        platform=TaskPlatform(cluster_arn="CLUSTER", region="eu-central-1", key_arn=key, log_retention_days=30),
        spec=spec, schedule="0 3 * * *", application_image="DIGEST",
        dump_image="public.ecr.aws/docker/library/postgres@sha256:" + "1" * 64,
        upload_image="public.ecr.aws/aws-cli/aws-cli@sha256:" + "2" * 64,
        libpq={{
            name: SecretRef(name=name, value=pulumi.Output.from_input(f"SECRET:{{name}}::0-1"))
            for name in (*LIBPQ, *LIBPQ_OPTIONAL)
        }},
        subnet_ids=["subnet-a"], security_group_id="sg-backup",
    )
    dump.update({dump})
    vault = dict(
        instance_arn="arn:aws:rds:eu-central-1:123456789012:db:main", subnet_group_name="data",
        security_group_id="sg-postgres", region="eu-central-1", hour=7, retention_days=35, restore_test="weekly",
        key=key, protect=True,
    )
    vault.update({vault})
    made = Backup("backup", BackupArgs(
        dump=DumpArgs(**dump) if {with_dump} else None, plan=BackupPlanArgs(**vault) if {with_vault} else None,
    ))
    if made.monitored:
        metric = made.monitored.metric
        pulumi.export("metric", [metric.namespace, metric.name, dict(metric.dimensions), metric.statistic])
""".replace("CLUSTER", CLUSTER)
    .replace("SECRET", SECRET)
    .replace("DIGEST", DIGEST)
)

Make = Callable[..., Plan]


@pytest.fixture
def make(planned_program: Callable[..., Plan]) -> Make:
    """The plan of the component; `dump` and `vault` change arguments, None leaves that part out."""

    def plan(
        *, known: bool = True, key: str | None = None, dump: Any = "{}", vault: Any = "{}", stack: str = "prod"
    ) -> Plan:
        source = PROGRAM.format(
            key=repr(key), dump=dump or "{}", vault=vault or "{}", with_dump=bool(dump), with_vault=bool(vault)
        )
        return planned_program(source, known=known, overrides=OUTPUTS, stack=stack)

    return plan


def inputs(graph: Plan, kind: str, name: str) -> Any:
    return graph.find(f"aws:{kind}", name).inputs


def document(value: Any) -> list[dict[str, Any]]:
    statements: list[dict[str, Any]] = json.loads(value.value if isinstance(value, Secret) else value)["Statement"]
    return statements


def containers(graph: Plan) -> dict[str, Any]:
    return {
        each["name"]: each
        for each in json.loads(
            inputs(graph, "ecs/taskDefinition:TaskDefinition", "backup-dump-task")["containerDefinitions"]
        )
    }


def test_the_bucket_is_closed_encrypted_versioned_and_emptied(make: Make) -> None:
    graph = make()
    access = inputs(graph, "s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "backup-bucket-access")
    assert [
        access[k] for k in ("blockPublicAcls", "blockPublicPolicy", "ignorePublicAcls", "restrictPublicBuckets")
    ] == ([True] * 4)
    (rule,) = inputs(
        graph,
        "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "backup-bucket-encryption",
    )["rules"]
    assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "AES256"}
    versions = inputs(graph, "s3/bucketVersioning:BucketVersioning", "backup-bucket-versions")
    assert versions["versioningConfiguration"] == {"status": "Enabled"}
    (age,) = inputs(graph, "s3/bucketLifecycleConfiguration:BucketLifecycleConfiguration", "backup-bucket-lifecycle")[
        "rules"
    ]
    assert (age["expiration"], age["noncurrentVersionExpiration"]) == ({"days": 30}, {"noncurrentDays": 7})
    assert age["abortIncompleteMultipartUpload"] == {"daysAfterInitiation": 1}
    owner = inputs(graph, "s3/bucketOwnershipControls:BucketOwnershipControls", "backup-bucket-ownership")
    assert owner["rule"] == {"objectOwnership": "BucketOwnerEnforced"}


def test_the_bucket_speaks_recent_tls_only(make: Make) -> None:
    statements = document(inputs(make(), "s3/bucketPolicy:BucketPolicy", "backup-bucket-policy")["policy"])
    assert {statement["Effect"] for statement in statements} == {"Deny"}
    conditions = [statement["Condition"] for statement in statements]
    assert {"Bool": {"aws:SecureTransport": "false"}} in conditions
    assert {"NumericLessThan": {"s3:TlsVersion": "1.2"}} in conditions
    for statement in statements:
        assert statement["Resource"] == ["arn:aws:s3:::the-dumps", "arn:aws:s3:::the-dumps/*"]


def test_a_key_of_the_stacks_own_encrypts_the_dumps(make: Make) -> None:
    graph = make(key="arn:aws:kms:k")
    (rule,) = inputs(
        graph,
        "s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
        "backup-bucket-encryption",
    )["rules"]
    assert rule["applyServerSideEncryptionByDefault"] == {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": "arn:aws:kms:k"}
    assert inputs(graph, "backup/vault:Vault", "backup-vault")["kmsKeyArn"] == "arn:aws:kms:k"
    rights = document(inputs(graph, "iam/rolePolicy:RolePolicy", "backup-dump-task-role-policy")["policy"])
    assert rights[1]["Action"] == ["kms:Decrypt", "kms:GenerateDataKey"]


@pytest.mark.parametrize(("protect", "force"), [(True, False), (False, True)])
def test_protection_keeps_the_copies(make: Make, protect: bool, force: bool) -> None:
    change = f"{{'protect': {protect}}}"
    graph = make(dump=change, vault=change)
    assert inputs(graph, "s3/bucket:Bucket", "backup-bucket")["forceDestroy"] is force
    assert inputs(graph, "backup/vault:Vault", "backup-vault")["forceDestroy"] is force


def test_the_containers_run_one_after_the_other(make: Make) -> None:
    found = containers(make())
    assert {name: each["essential"] for name, each in found.items()} == {
        "certificates": False,
        "dump": False,
        "upload": True,
    }
    after = {name: each.get("dependsOn") for name, each in found.items()}
    assert after == {
        "certificates": None,
        "dump": [{"containerName": "certificates", "condition": "SUCCESS"}],
        "upload": [{"containerName": "dump", "condition": "SUCCESS"}],
    }


def test_each_container_gets_no_more_than_it_needs(make: Make) -> None:
    found = containers(make())
    secrets = {name: {each["name"] for each in one["secrets"]} for name, one in found.items()}
    assert secrets["certificates"] == {"PGSSLROOTCERT"}
    assert "PGPASSWORD" in secrets["dump"]
    assert secrets["upload"] == set()
    for one in found.values():
        assert one["readonlyRootFilesystem"] is True
        assert one["linuxParameters"]["capabilities"]["drop"] == ["ALL"]
        assert one["mountPoints"] == [{"sourceVolume": "dump", "containerPath": "/dump", "readOnly": False}]
        plain = {each["name"] for each in one["environment"]}
        assert not {name for name in plain if "PASS" in name or name.startswith("PG")}


def test_the_images_and_their_words(make: Make) -> None:
    found = containers(make())
    assert found["certificates"]["image"] == DIGEST
    assert found["dump"]["entryPoint"] == ["sh", "-c"]
    assert found["dump"]["command"][1:] == ["dump", "pg_dump", "--format=custom"]
    environment = {each["name"]: each["value"] for each in found["upload"]["environment"]}
    assert environment["DUMP_BUCKET"] == "the-dumps"
    assert environment["DUMP_PREFIX"] == "slipway/prod"
    assert (environment["DUMP_STACK"], environment["AWS_REGION"]) == ("prod", "eu-central-1")


def test_the_task_adds_and_can_neither_read_nor_delete(make: Make) -> None:
    rights = document(inputs(make(), "iam/rolePolicy:RolePolicy", "backup-dump-task-role-policy")["policy"])
    (add,) = rights
    assert add["Action"] == ["s3:AbortMultipartUpload", "s3:PutObject"]
    assert add["Resource"] == ["arn:aws:s3:::the-dumps/slipway/prod/*"]


def test_the_schedule_starts_this_task_and_no_other(make: Make) -> None:
    graph = make()
    schedule = inputs(graph, "scheduler/schedule:Schedule", "backup-schedule")
    assert (schedule["scheduleExpression"], schedule["scheduleExpressionTimezone"]) == ("cron(0 3 * * ? *)", "UTC")
    assert schedule["flexibleTimeWindow"] == {"mode": "OFF"}
    target = schedule["target"]
    assert target["arn"] == CLUSTER
    assert target["ecsParameters"]["taskDefinitionArn"] == OUTPUTS[TASK]["arn"]
    assert target["ecsParameters"]["networkConfiguration"] == {
        "subnets": ["subnet-a"],
        "securityGroups": ["sg-backup"],
        "assignPublicIp": False,
    }
    rights = document(inputs(graph, "iam/rolePolicy:RolePolicy", "backup-schedule-role-policy")["policy"])
    by_action = {statement["Action"][0]: statement for statement in rights}
    run = by_action["ecs:RunTask"]
    assert run["Resource"] == ["arn:aws:ecs:eu-central-1:123456789012:task-definition/slipway-prod-backup:*"]
    assert run["Condition"] == {"ArnEquals": {"ecs:cluster": CLUSTER}}
    passing = by_action["iam:PassRole"]
    assert passing["Condition"] == {"StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}}
    assert len(passing["Resource"]) == 2
    assert all("*" not in each for each in passing["Resource"])


def test_the_schedulers_role_is_this_accounts(make: Make) -> None:
    (trust,) = document(inputs(make(), "iam/role:Role", "backup-schedule-role")["assumeRolePolicy"])
    assert trust["Principal"] == {"Service": "scheduler.amazonaws.com"}
    # Scheduler names the group, never the schedule.
    group = "arn:aws:scheduler:eu-central-1:123456789012:schedule-group/default"
    assert trust["Condition"] == {
        "StringEquals": {"aws:SourceAccount": "123456789012"},
        "ArnLike": {"aws:SourceArn": group},
    }


def test_the_copiers_role_is_this_accounts_where_aws_backup_says_whose_it_is(make: Make) -> None:
    (trust,) = document(inputs(make(), "iam/role:Role", "backup-role")["assumeRolePolicy"])
    assert trust["Principal"] == {"Service": "backup.amazonaws.com"}
    assert trust["Condition"] == {
        "StringEqualsIfExists": {"aws:SourceAccount": "123456789012"},
        "ArnLikeIfExists": {"aws:SourceArn": "arn:aws:backup:eu-central-1:123456789012:*"},
    }


def test_only_the_container_that_opens_the_volume_is_root(make: Make) -> None:
    found = containers(make())
    assert {name: each["user"] for name, each in found.items()} == {
        "certificates": "0:0",
        "dump": "10001:10001",
        "upload": "10001:10001",
    }


@pytest.mark.parametrize("key", ["upload_image", "dump_image"])
def test_what_sees_the_data_is_named_by_digest(key: str) -> None:
    """A tag can come to mean another image, which would get the whole database."""
    with pytest.raises(SettingsError, match="sha256"):
        parse({**TREE, "backup": {key: "public.ecr.aws/aws-cli/aws-cli:2.31.23"}}, stack="prod")
    assert re.fullmatch(r".+@sha256:[0-9a-f]{64}", parse(TREE, stack="prod").backup.upload_image)


def test_the_metric_is_the_one_that_the_script_writes(make: Make) -> None:
    namespace, name, dimensions, statistic = make().outputs["metric"]
    script = containers(make())["upload"]["command"][0]
    assert f'"Namespace":"{namespace}"' in script
    assert f'"Name":"{name}"' in script
    assert f'"{name}":1' in script
    assert (dimensions, statistic) == ({"Stack": "prod"}, "Sum")


def test_the_vault_keeps_daily_snapshots_and_leaves_rds_its_own(make: Make) -> None:
    (rule,) = inputs(make(), "backup/plan:Plan", "backup-plan")["rules"]
    assert rule["schedule"] == "cron(0 7 * * ? *)"
    assert rule["lifecycle"] == {"deleteAfter": 35}
    assert rule["enableContinuousBackup"] is False
    selection = inputs(make(), "backup/selection:Selection", "backup-selection")
    assert selection["resources"] == ["arn:aws:rds:eu-central-1:123456789012:db:main"]


@pytest.mark.parametrize(
    ("often", "when", "days"), [("weekly", "cron(0 19 ? * SUN *)", 7), ("monthly", "cron(0 19 1 * ? *)", 31)]
)
def test_restores_are_tried_inside_the_stacks_network(make: Make, often: str, when: str, days: int) -> None:
    graph = make(vault=f"{{'restore_test': {often!r}}}")
    plan = inputs(graph, "backup/restoreTestingPlan:RestoreTestingPlan", "backup-restore-test")
    assert plan["scheduleExpression"] == when
    assert plan["recoveryPointSelection"]["selectionWindowDays"] == days
    assert plan["recoveryPointSelection"]["algorithm"] == "LATEST_WITHIN_WINDOW"
    chosen = inputs(graph, "backup/restoreTestingSelection:RestoreTestingSelection", "backup-restore-test-selection")
    assert chosen["protectedResourceType"] == "RDS"
    assert chosen["restoreMetadataOverrides"] == {
        "dbSubnetGroupName": "data",
        "vpcSecurityGroupIds": '["sg-postgres"]',
    }


def test_a_database_of_another_origin_is_tested_under_another_name(make: Make) -> None:
    """The provider sends no change of the instance's ARN alone."""
    kind, name = "backup/restoreTestingSelection:RestoreTestingSelection", "backup-restore-test-selection"
    before, after = (inputs(make(vault=f"{{'origin_mark': {mark!r}}}"), kind, name)["name"] for mark in ("", "0a1b2c"))
    assert (before, after) == ("slipway_prod_postgres", "slipway_prod_postgres_0a1b2c")


def test_names_of_restore_tests_fit(make: Make) -> None:
    graph = make(stack="a-very-long-name.of_a-stack-that-somebody-chose")
    plan = inputs(graph, "backup/restoreTestingPlan:RestoreTestingPlan", "backup-restore-test")["name"]
    assert len(plan) <= 50
    assert plan.replace("_", "").isalnum()


def test_no_test_no_right_to_restore(make: Make) -> None:
    graph = make(vault="{'restore_test': 'never'}")
    assert not graph.of_type("aws:backup/restoreTestingPlan:RestoreTestingPlan")
    attached = graph.of_type("aws:iam/rolePolicyAttachment:RolePolicyAttachment")
    assert [r.name for r in attached] == ["backup-role-copies"]


def test_parts_can_be_left_out(make: Make) -> None:
    assert not make(dump=None).of_type("aws:s3/bucket:Bucket")
    assert not make(vault=None).of_type("aws:backup/vault:Vault")
    assert "metric" not in make(dump=None).outputs


def test_the_graph_is_whole_before_anything_is_known(make: Make) -> None:
    names = [{r.name for r in make(known=known).resources} for known in (False, True)]
    assert names[0] == names[1]


def test_times_in_awss_form() -> None:
    assert aws_cron("15 3 * * *") == "cron(15 3 * * ? *)"
    with pytest.raises(ValueError, match="days of the week"):
        aws_cron("0 3 * * 1")


@pytest.mark.parametrize(("database", "disk"), [(None, 21), (20, 21), (100, 50), (10_000, 200)])
def test_disk_for_the_archive(database: int | None, disk: int) -> None:
    assert disk_gib(database) == disk


@pytest.mark.parametrize("stack", ["prod", "staging"])
def test_every_role_is_taken_in_this_accounts_name_only(planned_aws: Callable[..., Plan], stack: str) -> None:
    """A service that takes a role for somebody in another account is the confused deputy."""
    graph = planned_aws(stack, known=True, backup={"dumps": True})
    roles = graph.of_type("aws:iam/role:Role")
    assert len(roles) > 5
    for role in roles:
        (trust,) = json.loads(role.inputs["assumeRolePolicy"])["Statement"]
        conditions = {key: value for test in trust["Condition"].values() for key, value in test.items()}
        assert conditions["aws:SourceAccount"] == "123456789012", role.name
        assert re.fullmatch(r"arn:aws:[a-z0-9-]+:eu-central-1:123456789012:.+", conditions["aws:SourceArn"]), role.name
