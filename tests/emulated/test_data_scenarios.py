"""Data on AWS lived through: a read replica, a key of the stack's own, a database that comes back from a snapshot."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable
from typing import Any

import pytest
from emulator import seen
from emulator.cloud import Cloud
from emulator.stack import Stack

from infra.engine.project.project import ProgramConfig

pytestmark = pytest.mark.timeout(600)

MakeStack = Callable[[str], Stack]
IMAGE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/slipway@sha256:" + "1" * 64

OLD = ("", "-log-postgresql", "-log-upgrade")
"""What goes with the database that there was: itself, and its logs."""


def instances(account: Cloud) -> dict[str, dict[str, Any]]:
    return {each["DBInstanceIdentifier"]: each for each in account.client("rds").describe_db_instances()["DBInstances"]}


def bootstrap(account: Cloud) -> dict[str, Any]:
    """The secrets of the last bootstrap task."""
    tasks = [task for task in account.fargate.tasks.values() if task["group"].endswith("-bootstrap")]
    resolved = account.fargate.resolved(tasks[-1]["taskDefinitionArn"])["bootstrap"]
    return {name: json.loads(resolved[name]) for name in ("BOOTSTRAP_MASTER", "BOOTSTRAP_PLAN")}


def test_a_read_replica_and_the_master_password_that_it_takes(account: Cloud, stack: MakeStack) -> None:
    live = stack("staging").set(image={"reference": IMAGE}, postgres={"read_replicas": 1})
    live.must_up()
    primary, replica = sorted(
        instances(account).values(), key=lambda each: "ReadReplicaSourceDBInstanceIdentifier" in each
    )
    assert replica["ReadReplicaSourceDBInstanceIdentifier"] == primary["DBInstanceIdentifier"]
    assert replica["VpcSecurityGroups"] == primary["VpcSecurityGroups"]
    master = bootstrap(account)["BOOTSTRAP_MASTER"]
    assert (master["username"], len(master["password"])) == (primary["MasterUsername"], 40)


def test_a_key_of_the_stacks_own_is_on_all_data(account: Cloud, stack: MakeStack) -> None:
    live = stack("staging").set(image={"reference": IMAGE}, encryption={"customer_key": True}, account="123456789012")
    live.must_up()
    (database,) = instances(account).values()
    (group,) = account.client("elasticache").describe_replication_groups()["ReplicationGroups"]
    (vault,) = account.client("backup").list_backup_vaults()["BackupVaultList"]
    keys = {database["KmsKeyId"], group["KmsKeyId"], vault["EncryptionKeyArn"]}
    assert len(keys) == 1
    assert ":key/" in keys.pop()


def test_a_database_comes_back_from_a_snapshot(account: Cloud, stack: MakeStack) -> None:
    """Never over the one that there is: that goes by its own name, after a permit, leaving its final snapshot."""
    live = stack("staging").set(image={"reference": IMAGE}, protect=True)
    live.must_up()
    (before,) = instances(account)
    rds = account.client("rds")
    rds.create_db_snapshot(DBSnapshotIdentifier="good", DBInstanceIdentifier=before)

    live.set(postgres={"restore": {"snapshot": "good"}})
    refused = live.up()
    assert not refused.succeeded
    assert "postgres-instance" in "\n".join(failure.message for failure in refused.failures)
    assert set(instances(account)) == {before}

    live.set(postgres={"restore": {"snapshot": None}})
    until = datetime.datetime.now(datetime.UTC).date().isoformat()
    permit = {"action": "delete", "until": until, "reason": "restore of good"}
    live.set(permits=[{**permit, "resource": f"postgres-instance{part}"} for part in OLD])
    live.must_up()
    assert instances(account)[before]["DeletionProtection"] is False

    live.set(postgres={"restore": {"snapshot": "good"}})
    live.must_up()

    (after,) = instances(account).values()
    assert after["DBInstanceIdentifier"] != before
    assert after["DeletionProtection"] is True
    kept = {each["DBSnapshotIdentifier"] for each in rds.describe_db_snapshots()["DBSnapshots"]}
    assert f"{before}-final" in kept
    assert bootstrap(account)["BOOTSTRAP_PLAN"]["host"] == after["Endpoint"]["Address"]
    for service in seen.services(account).values():
        assert service.url("DATABASE_URL").hostname == after["Endpoint"]["Address"]


def test_a_database_of_others(account: Cloud, stack: MakeStack, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neon, Supabase or any other: its URLs reach the tasks, and dumps go to the bucket all the same."""
    urls = {
        "database_url": "postgresql://shop:0c9f1b7ae2d4@ep-1-pooler.eu.neon.tech/shop?sslmode=verify-full&sslrootcert=system",
        "migration_database_url": "postgresql://shop:0c9f1b7ae2d4@ep-1.eu.neon.tech/shop?sslmode=require",
    }
    live = stack("staging").set(image={"reference": IMAGE}, backup={"dumps": True}, secrets=urls)
    usual = live.config

    def external() -> ProgramConfig:
        """The stack file says sizes, which mean nothing then."""
        config = usual()
        return ProgramConfig(
            values={**config.values, "slipway:postgres": '{"provider": "external"}'}, secret_keys=config.secret_keys
        )

    monkeypatch.setattr(live, "config", external)
    live.must_up()
    assert not instances(account)
    for service in seen.services(account).values():
        assert service.url("DATABASE_URL").hostname == "ep-1-pooler.eu.neon.tech"
    (definition,) = [
        arn for arn in account.client("ecs").list_task_definitions()["taskDefinitionArns"] if "-backup:" in arn
    ]
    assert account.fargate.resolved(definition)["dump"]["PGHOST"] == "ep-1.eu.neon.tech"


@pytest.mark.parametrize(
    ("group", "high", "low", "name"),
    [("redis", "9.0", "8.2", "redis-group-version"), ("postgres", 18, 17, "postgres-instance-version")],
)
def test_a_lower_version_is_refused_before_anything_is_made(
    account: Cloud, stack: MakeStack, group: str, high: object, low: object, name: str
) -> None:
    """ElastiCache's provider would replace the group under the identifier that it has; RDS refuses half way."""
    live = stack("staging").set(image={"reference": IMAGE}, **{group: {"version": high}})
    live.must_up()
    before = len(account.calls)
    live.set(**{group: {"version": low}})
    for result in (live.preview(), live.up()):
        assert not result.succeeded
        said = "\n".join(failure.message for failure in result.failures)
        assert f"{group}.version goes back from {high} to {low}" in said
        assert f"resource: {name}, action: replace" in said
    told = [call.operation for call in account.calls[before:]]
    assert not [operation for operation in told if operation.startswith(("Create", "Modify", "Delete"))], told

    # What it came from, and what is higher, goes through.
    assert set(live.set(**{group: {"version": high}}).must_up().changes) == {"same"}


def test_a_version_whose_upgrade_never_came_about_may_be_taken_back(account: Cloud, stack: MakeStack) -> None:
    live = stack("staging").set(image={"reference": IMAGE})
    live.must_up()
    account.refused["ModifyReplicationGroup"] = "InvalidParameterCombination"
    assert not live.set(redis={"version": "9.0"}).up().succeeded
    account.refused.clear()

    until = datetime.datetime.now(datetime.UTC).date().isoformat()
    back = {"resource": "redis-group-version", "action": "replace", "until": until, "reason": "9.0 is not to be had"}
    live.set(redis={"version": "8.2"})
    assert not live.up().succeeded
    live.set(permits=[back]).must_up()
    (group,) = account.client("elasticache").describe_replication_groups()["ReplicationGroups"]
    assert group["AutoMinorVersionUpgrade"] is False


def test_dumps_are_copied_to_another_region(account: Cloud, stack: MakeStack) -> None:
    live = stack("staging").set(image={"reference": IMAGE}, backup={"dumps": True, "copy_region": "eu-west-1"})
    live.must_up()
    s3 = account.client("s3")
    buckets = {each["Name"].rsplit("-", 1)[0]: each["Name"] for each in s3.list_buckets()["Buckets"]}
    own, copy = buckets["slipway-staging-dumps"], buckets["slipway-staging-copies"]
    assert s3.get_bucket_location(Bucket=copy)["LocationConstraint"] == "eu-west-1"
    (rule,) = s3.get_bucket_replication(Bucket=own)["ReplicationConfiguration"]["Rules"]
    assert rule["Destination"]["Bucket"] == f"arn:aws:s3:::{copy}"
    assert rule["DeleteMarkerReplication"] == {"Status": "Disabled"}

    live.set(backup={"copy_region": None}).must_up()
    assert copy not in {each["Name"] for each in s3.list_buckets()["Buckets"]}
    assert own in {each["Name"] for each in s3.list_buckets()["Buckets"]}
