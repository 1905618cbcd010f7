"""RDS: how the instance is made, who gets which password, what a rotation changes, where restored data comes from."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from app import bootstrap
from infra.aws.postgres_instance import Origin, parameters, storage
from infra.aws.postgres_logins import CA_BUNDLE
from infra.contracts import postgres_url
from infra.engine.plan import Plan, PlannedResource
from infra.engine.values import Secret

INSTANCE = "aws:rds/instance:Instance"
VERSION = "aws:secretsmanager/secretVersion:SecretVersion"
GROUP = "aws:cloudwatch/logGroup:LogGroup"
PASSWORD = "random:index/randomPassword:RandomPassword"
MASTER_SECRET = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:rds!db-0123-abcdef"
OUTPUTS = {
    "random:index/randomId:RandomId": {"hex": "0011aabb"},
    INSTANCE: {
        "address": "db.internal",
        "port": 5432,
        "username": "slipway_master",
        "masterUserSecrets": [{"secretArn": MASTER_SECRET, "secretStatus": "active", "kmsKeyId": ""}],
    },
    VERSION: {"versionId": "0000-1111"},
    "aws:secretsmanager/secret:Secret": {"arn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:some-AbCdEf"},
}
PROGRAM = """
    from datetime import timedelta
    import pulumi
    from infra.aws.postgres import Postgres
    from infra.aws.postgres_instance import Origin, PostgresArgs
    from infra.rotation import slots
    args = dict(
        subnet_ids=["subnet-a", "subnet-b"], security_group_id="sg-postgres", region="eu-central-1",
        database="shop", owner_role="shop_owner", slots=slots(1), version=17, size="db.m7g.large",
        storage=100 * 1024**3, max_storage=500 * 1024**3,
    )
    args.update({changes})
    made = Postgres("postgres", PostgresArgs(**args))
    for login in ("app", "migrate"):
        pulumi.export(login, made.secret(login).value)
    for name, secret in made.bootstrap.items():
        pulumi.export(name, secret.value)
    pulumi.export("libpq", {{name: secret.value for name, secret in made.libpq.items()}})
    seen = made.monitored
    pulumi.export("figures", [seen.max_connections, seen.storage_gib, seen.memory_gib, seen.burstable])
"""

Make = Callable[..., Plan]


@pytest.fixture
def make(planned_program: Callable[..., Plan]) -> Make:
    """The plan of one component with some arguments changed, each as Python text."""

    def plan(*, known: bool = False, **changes: str) -> Plan:
        text = "{" + ", ".join(f"{name!r}: {value}" for name, value in changes.items()) + "}"
        return planned_program(PROGRAM.format(changes=text), known=known, overrides=OUTPUTS)

    return plan


def instance(graph: Plan, name: str = "postgres-instance") -> PlannedResource:
    return graph.find(INSTANCE, name)


def plain(value: Any) -> Any:
    return value.value if isinstance(value, Secret) else value


def stored(graph: Plan, role: str) -> str:
    return str(plain(graph.find(VERSION, f"postgres-{role}-version").inputs["secretString"]))


def test_the_instance_is_safe_by_default(make: Make) -> None:
    inputs = instance(make()).inputs
    wanted = {
        "engine": "postgres",
        "engineVersion": "17",
        "instanceClass": "db.m7g.large",
        "allocatedStorage": 100,
        "maxAllocatedStorage": 500,
        "storageType": "gp3",
        "storageEncrypted": True,
        "multiAz": True,
        "publiclyAccessible": False,
        "vpcSecurityGroupIds": ["sg-postgres"],
        "username": "slipway_master",
        "manageMasterUserPassword": True,
        "backupRetentionPeriod": 7,
        "deleteAutomatedBackups": False,
        "copyTagsToSnapshot": True,
        "deletionProtection": True,
        "skipFinalSnapshot": False,
        "performanceInsightsEnabled": True,
        "performanceInsightsRetentionPeriod": 7,
        "monitoringInterval": 60,
        "enabledCloudwatchLogsExports": ["postgresql", "upgrade"],
        "autoMinorVersionUpgrade": True,
        "caCertIdentifier": "rds-ca-rsa2048-g1",
        "engineLifecycleSupport": "open-source-rds-extended-support-disabled",
    }
    assert {key: inputs.get(key) for key in wanted} == wanted
    assert not {"iops", "password", "blueGreenUpdate"} & set(inputs)


def test_a_moment_of_another_instance_is_asked_for_in_the_providers_words(make: Make) -> None:
    """Names inside a property are not checked by the SDK."""
    (restored,) = make(origin="Origin(instance='old', time='latest')").of_type(INSTANCE)
    assert restored.inputs["restoreToPointInTime"] == {
        "sourceDbInstanceIdentifier": "old",
        "useLatestRestorableTime": True,
    }


def test_tls_is_forced_and_slow_statements_are_logged(make: Make) -> None:
    graph = make(slow_query="timedelta(milliseconds=250)")
    group = graph.find("aws:rds/parameterGroup:ParameterGroup", "postgres-parameters-postgres17").inputs
    values = {each["name"]: each["value"] for each in group["parameters"]}
    assert group["family"] == "postgres17"
    assert (values["rds.force_ssl"], values["log_min_duration_statement"]) == ("1", "250")
    # By hand from RDS's list of parameters: what it says of `rds.force_ssl` differs between the families.
    assert {each["name"]: each["applyMethod"] for each in group["parameters"]} == {
        "idle_in_transaction_session_timeout": "immediate",
        "log_lock_waits": "immediate",
        "log_min_duration_statement": "immediate",
        "rds.force_ssl": "pending-reboot",
    }


def test_parameters_never_log_everything() -> None:
    values = {each["name"]: each["value"] for each in parameters(slow_query=timedelta(microseconds=1))}
    assert values["log_min_duration_statement"] == "1", "0 would log every statement"


def test_an_upgrade_brings_a_parameter_group_of_its_family(make: Make) -> None:
    before, after = make(version="17"), make(version="18")
    kind = "aws:rds/parameterGroup:ParameterGroup"
    assert [r.name for r in before.of_type(kind)] == ["postgres-parameters-postgres17"]
    assert [r.name for r in after.of_type(kind)] == ["postgres-parameters-postgres18"]
    assert instance(after).inputs["allowMajorVersionUpgrade"] is True


def test_the_log_groups_are_there_before_rds_makes_its_own(make: Make) -> None:
    graph = make(known=True, log_retention_days="90")
    groups = graph.of_type(GROUP)
    identifier = instance(graph).inputs["identifier"]
    assert {r.inputs["name"] for r in groups} == {
        f"/aws/rds/instance/{identifier}/{log}" for log in ("postgresql", "upgrade")
    }
    assert {r.inputs["retentionInDays"] for r in groups} == {90}
    assert {r.urn for r in groups} <= set(instance(graph).dependencies)


def test_the_final_snapshot_has_a_name_that_no_successor_has(make: Make) -> None:
    graph = make(known=True)
    suffix = graph.find("random:index/randomId:RandomId", "postgres-instance-suffix")
    inputs = instance(graph).inputs
    assert inputs["finalSnapshotIdentifier"] == f"{inputs['identifier']}-final"
    assert inputs["identifier"] == "slipway-prod-postgres-0011aabb"
    assert set(suffix.inputs["keepers"]) == {"database", "origin"}


def test_without_protection_it_goes_without_a_trace(make: Make) -> None:
    inputs = instance(make(protect="False")).inputs
    wanted = {"deletionProtection": False, "skipFinalSnapshot": True, "deleteAutomatedBackups": True}
    assert {key: inputs.get(key) for key in wanted} == wanted
    assert "finalSnapshotIdentifier" not in inputs


def test_a_permit_lifts_the_lock_of_rds_and_keeps_the_final_snapshot(make: Make) -> None:
    inputs = instance(make(released="True")).inputs
    assert (inputs["deletionProtection"], inputs["skipFinalSnapshot"]) == (False, False)


@pytest.mark.parametrize(
    ("argument", "value", "key", "seen"),
    [
        ("multi_az", "False", "multiAz", False),
        ("port", "5433", "port", 5433),
        ("backup_retention_days", "35", "backupRetentionPeriod", 35),
        ("backup_window", "'03:00-04:00'", "backupWindow", "03:00-04:00"),
        ("maintenance_window", "'mon:01:00-mon:02:00'", "maintenanceWindow", "mon:01:00-mon:02:00"),
        ("performance_insights", "False", "performanceInsightsEnabled", False),
        ("monitoring_interval", "5", "monitoringInterval", 5),
        ("apply_immediately", "True", "applyImmediately", True),
        ("key", "'arn:aws:kms:x'", "kmsKeyId", "arn:aws:kms:x"),
        ("key", "'arn:aws:kms:x'", "masterUserSecretKmsKeyId", "arn:aws:kms:x"),
        ("key", "'arn:aws:kms:x'", "performanceInsightsKmsKeyId", "arn:aws:kms:x"),
    ],
)
def test_each_argument_reaches_the_instance(make: Make, argument: str, value: str, key: str, seen: Any) -> None:
    changed, usual = instance(make(**{argument: value})).inputs, instance(make()).inputs
    assert changed[key] == seen
    assert usual.get(key) != seen


def test_no_role_without_enhanced_monitoring(make: Make) -> None:
    graph = make(monitoring_interval="0")
    assert not graph.of_type("aws:iam/role:Role")
    assert "monitoringRoleArn" not in instance(graph).inputs
    policy = make().find("aws:iam/rolePolicyAttachment:RolePolicyAttachment", "postgres-monitoring-policy")
    assert policy.inputs["policyArn"] == "arn:aws:iam::aws:policy/service-role/AmazonRDSEnhancedMonitoringRole"
    assert policy.urn in instance(make()).dependencies


@pytest.mark.parametrize("generation", range(1, 7))
def test_a_rotation_changes_the_idle_password_and_nothing_that_is_in_use(make: Make, generation: int) -> None:
    def keepers(graph: Plan) -> dict[str, Any]:
        return {r.name: r.inputs.get("keepers") for r in graph.of_type(PASSWORD)}

    before, after = (make(slots=f"slots({n})", known=True) for n in (generation, generation + 1))
    changed = {name for name, kept in keepers(before).items() if keepers(after)[name] != kept}
    slot = "a" if generation % 2 else "b"
    assert changed == {f"postgres-app-{slot}-password"}
    assert f"shop_{slot}:" in stored(after, "app-url")
    assert f"shop_{slot}:" not in stored(before, "app-url")
    assert instance(before).inputs == instance(after).inputs


@pytest.mark.parametrize("generation", range(1, 7))
def test_a_step_of_the_dumps_leaves_the_login_of_a_dump_under_way(make: Make, generation: int) -> None:
    def passwords(graph: Plan) -> dict[str, Any]:
        return {r.name: r.inputs.get("keepers") for r in graph.of_type(PASSWORD)}

    before, after = (make(backup_slots=f"slots({n})", known=True) for n in (generation, generation + 1))
    users = [json.loads(stored(graph, "backup-login"))["PGUSER"] for graph in (before, after)]
    assert users == (["shop_backup", "shop_backup2"] if generation % 2 else ["shop_backup2", "shop_backup"])
    kept = "backup" if generation % 2 else "backup2"
    changed = {name for name, made in passwords(after).items() if passwords(before).get(name, "none") != made}
    assert changed == {f"postgres-{'backup2' if generation % 2 else 'backup'}-password"}
    # The bootstrap goes on to make the one before, so that dumps can go back to it.
    assert json.loads(stored(after, "bootstrap-plan"))[kept]["user"] == f"shop_{kept}"


@pytest.mark.parametrize("key", ["migrate", "master"])
def test_a_step_of_a_single_login_renews_it(make: Make, key: str) -> None:
    before, after = (make(read_replicas="1", **{key: number}) for number in ("1", "2"))
    made = {r.name: r.inputs.get("keepers") for r in after.of_type(PASSWORD)}
    assert made[f"postgres-{key}-password"] == {"generation": "2"}
    assert {name: kept for name, kept in made.items() if name != f"postgres-{key}-password"} == {
        r.name: r.inputs.get("keepers") for r in before.of_type(PASSWORD) if r.name != f"postgres-{key}-password"
    }


def test_a_master_password_that_rds_keeps_is_not_ours_to_renew(make: Make) -> None:
    before, after = make(), make(master="2")
    assert [r.inputs for r in before.of_type(PASSWORD)] == [r.inputs for r in after.of_type(PASSWORD)]
    assert instance(before).inputs == instance(after).inputs
    assert instance(after).inputs["manageMasterUserPassword"] is True


def test_urls_are_complete_and_pinned(make: Make) -> None:
    graph = make(known=True)
    wanted = postgres_url(
        user="shop_b",
        password="planted-password",
        host="db.internal",
        port=5432,
        database="shop",
        sslmode="verify-full",
        options={"sslrootcert": CA_BUNDLE},
    )
    assert stored(graph, "app-url") == wanted
    assert "shop_migrate:" in stored(graph, "migrate-url")
    address = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:some-AbCdEf"
    assert plain(graph.outputs["app"]) == f"{address}:::0000-1111"
    assert plain(graph.outputs["libpq"]["PGHOST"]) == f"{address}:PGHOST::0000-1111"


def test_versions_outlive_their_successors(make: Make) -> None:
    for version in make().of_type(VERSION):
        assert version.registration.options()["retainOnDelete"] is True


def test_the_dump_gets_variables_that_libpq_knows(make: Make) -> None:
    graph = make(known=True)
    values = json.loads(stored(graph, "backup-login"))
    assert values["PGUSER"] == "shop_backup"
    assert (values["PGPORT"], values["PGSSLMODE"], values["PGSSLROOTCERT"]) == ("5432", "verify-full", CA_BUNDLE)
    assert set(values) == set(graph.outputs["libpq"])


def test_the_bootstrap_can_read_its_plan(make: Make) -> None:
    """What is stored is what the program takes, and the master password comes from RDS, whichever is the current."""
    graph = make(known=True)
    plan = json.loads(stored(graph, "bootstrap-plan"))
    for login in (plan["migrate"], plan["backup"], *plan["app"]):
        # Planted ones are all the same, which the program refuses.
        login["password"] += login["user"]
    environ = {
        "BOOTSTRAP_PLAN": json.dumps(plan),
        "BOOTSTRAP_MASTER": '{"username": "slipway_master", "password": "x"}',
    }
    read, _ = bootstrap.load(environ)
    assert (read.host, read.port, read.owner, read.sslrootcert) == ("db.internal", 5432, "shop_owner", CA_BUNDLE)
    assert [login.user for login in read.logins] == ["shop_migrate", "shop_backup", "shop_a", "shop_b"]
    assert plain(graph.outputs["BOOTSTRAP_MASTER"]) == f"{MASTER_SECRET}:::"


@pytest.mark.parametrize("known", [False, True])
def test_no_secret_shows(make: Make, known: bool) -> None:
    graph = make(known=known, read_replicas="1")
    assert "planted" not in json.dumps(graph.to_json())


def test_read_replicas_follow_the_instance(make: Make) -> None:
    graph = make(known=True, read_replicas="2")
    replica = instance(graph, "postgres-replica-2")
    assert replica.inputs["replicateSourceDb"] == instance(graph).outputs["identifier"]
    wanted = {"skipFinalSnapshot": True, "backupRetentionPeriod": 0, "publiclyAccessible": False}
    assert {key: replica.inputs[key] for key in wanted} == wanted
    assert replica.inputs["parameterGroupName"] == instance(graph).inputs["parameterGroupName"]
    assert not {"username", "dbName", "password", "engineVersion"} & set(replica.inputs)
    assert instance(graph).urn in replica.dependencies


def test_with_replicas_the_program_keeps_the_master_password(make: Make) -> None:
    """RDS refuses replicas of an instance whose password it keeps itself."""
    graph = make(known=True, read_replicas="1")
    inputs = instance(graph).inputs
    assert "manageMasterUserPassword" not in inputs
    assert isinstance(inputs["password"], Secret)
    assert json.loads(stored(graph, "master")) == {"username": "slipway_master", "password": "planted-password"}
    assert plain(graph.outputs["BOOTSTRAP_MASTER"]).endswith(":::0000-1111")


@pytest.mark.parametrize(
    ("origin", "properties"),
    [
        (Origin(snapshot="before-the-accident"), {"snapshot_identifier": "before-the-accident"}),
        (
            Origin(instance="old", time="latest"),
            {
                "restore_to_point_in_time": {
                    "source_db_instance_identifier": "old",
                    "use_latest_restorable_time": True,
                }
            },
        ),
        (
            Origin(instance="old", time="2026-11-01T00:00:00Z"),
            {
                "restore_to_point_in_time": {
                    "source_db_instance_identifier": "old",
                    "restore_time": "2026-11-01T00:00:00Z",
                }
            },
        ),
        (Origin(), {}),
    ],
)
def test_origins(origin: Origin, properties: dict[str, Any]) -> None:
    assert origin.properties() == properties
    assert bool(origin.mark) == bool(properties)


def test_restored_data_is_another_database(make: Make) -> None:
    """Under a name of its own: the one before is deleted by name, which the guard sees, and never overwritten."""
    graph = make(origin="Origin(snapshot='before-the-accident')", known=True, key="'arn:aws:kms:x'")
    (restored,) = graph.of_type(INSTANCE)
    assert restored.name != "postgres-instance"
    assert restored.inputs["snapshotIdentifier"] == "before-the-accident"
    # What the snapshot brings along; other values would have the provider replace it at once.
    assert not {"dbName", "username", "kmsKeyId"} & set(restored.inputs)
    assert restored.inputs["manageMasterUserPassword"] is True
    assert restored.inputs["storageEncrypted"] is True


def test_figures_for_alarms(make: Make) -> None:
    assert make().outputs["figures"] == [901, 100, 8, False]
    assert make(size="'db.t4g.small'").outputs["figures"][3] is True


def test_disk_is_rounded_up() -> None:
    assert storage(start=20 * 1024**3 + 1, most=10**12)["allocated_storage"] == 21


EXTERNAL = """
    import pulumi
    from infra.aws.postgres import ExternalPostgresArgs, ExternalPostgresSecrets
    urls = {{name: pulumi.Output.secret(url) for name, url in {urls}.items()}}
    made = ExternalPostgresSecrets("postgres", ExternalPostgresArgs(urls=urls))
    pulumi.export("app", made.secret("app").value)
    pulumi.export("bootstrap", list(made.bootstrap))
"""


def test_a_database_of_others_is_bound_and_not_made(planned_program: Callable[..., Plan]) -> None:
    urls = {
        "app": "postgresql://u:planted-1@ep-1-pooler.eu.neon.tech/shop?sslmode=verify-full&sslrootcert=system",
        "migrate": "postgresql://u:planted-2@ep-1.eu.neon.tech/shop?sslmode=require&channel_binding=require",
    }
    graph = planned_program(EXTERNAL.format(urls=urls), known=True, overrides=OUTPUTS)
    assert not graph.of_type(INSTANCE)
    assert graph.outputs["bootstrap"] == []
    assert (stored(graph, "app-url"), stored(graph, "migrate-url")) == (urls["app"], urls["migrate"])
    libpq = json.loads(stored(graph, "backup-login"))
    assert (libpq["PGHOST"], libpq["PGSSLMODE"], libpq["PGCHANNELBINDING"]) == (
        "ep-1.eu.neon.tech",
        "require",
        "require",
    ), "a dump needs a session of its own: the direct address"
    assert "planted" not in json.dumps(graph.to_json())
