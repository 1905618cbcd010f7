"""ElastiCache: a queue that evicts nothing, two users of which one is in use, and what a rotation changes."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis as client

from infra.aws.redis import APPLICATION, NOBODY
from infra.engine.plan import Plan, PlannedResource
from infra.engine.values import Secret
from infra.local import binaries

GROUP = "aws:elasticache/replicationGroup:ReplicationGroup"
USER = "aws:elasticache/user:User"
VERSION = "aws:secretsmanager/secretVersion:SecretVersion"
OUTPUTS = {
    "random:index/randomId:RandomId": {"hex": "0011aabb"},
    GROUP: {"primaryEndpointAddress": "queue.internal"},
    VERSION: {"versionId": "0000-1111"},
    "aws:secretsmanager/secret:Secret": {"arn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:url-AbCdEf"},
}
PROGRAM = """
    import pulumi
    from infra.aws.redis import Redis, RedisArgs
    from infra.rotation import slots
    args = dict(
        subnet_ids=["subnet-a", "subnet-b"], security_group_id="sg-redis", slots=slots(1), version="8.2",
        size="cache.t4g.small",
    )
    args.update({changes})
    made = Redis("redis", RedisArgs(**args))
    pulumi.export("url", made.secret.value)
    pulumi.export("members", list(made.monitored.member_ids))
"""

Make = Callable[..., Plan]


@pytest.fixture
def make(planned_program: Callable[..., Plan]) -> Make:
    """The plan of one component with some arguments changed, each as Python text."""

    def plan(*, known: bool = False, **changes: str) -> Plan:
        text = "{" + ", ".join(f"{name!r}: {value}" for name, value in changes.items()) + "}"
        return planned_program(PROGRAM.format(changes=text), known=known, overrides=OUTPUTS)

    return plan


def group(graph: Plan) -> PlannedResource:
    return graph.find(GROUP, "redis-group")


def plain(value: Any) -> Any:
    return value.value if isinstance(value, Secret) else value


def test_the_group_is_safe_by_default(make: Make) -> None:
    inputs = group(make()).inputs
    wanted = {
        "engine": "valkey",
        "engineVersion": "8.2",
        "clusterMode": "disabled",
        "numCacheClusters": 2,
        "automaticFailoverEnabled": True,
        "multiAzEnabled": True,
        "transitEncryptionEnabled": True,
        "transitEncryptionMode": "required",
        "atRestEncryptionEnabled": True,
        "snapshotRetentionLimit": 7,
        "autoMinorVersionUpgrade": False,
        "securityGroupIds": ["sg-redis"],
    }
    assert {key: inputs.get(key) for key in wanted} == wanted
    assert not {"authToken", "numNodeGroups", "durability"} & set(inputs)


def test_nothing_is_evicted(make: Make) -> None:
    (parameters,) = make().of_type("aws:elasticache/parameterGroup:ParameterGroup")
    assert parameters.inputs["parameters"] == [{"name": "maxmemory-policy", "value": "noeviction"}]
    assert parameters.inputs["family"] == "valkey8"


def test_an_upgrade_brings_a_parameter_group_of_its_family(make: Make) -> None:
    (parameters,) = make(version="'9.0'").of_type("aws:elasticache/parameterGroup:ParameterGroup")
    assert (parameters.name, parameters.inputs["family"]) == ("redis-parameters-valkey9", "valkey9")


def test_logs_are_delivered_and_kept_for_a_time(make: Make) -> None:
    graph = make(known=True, log_retention_days="90")
    groups = {r.inputs["name"]: r.inputs["retentionInDays"] for r in graph.of_type("aws:cloudwatch/logGroup:LogGroup")}
    delivered = group(graph).inputs["logDeliveryConfigurations"]
    assert {each["logType"]: each["destinationType"] for each in delivered} == {
        "slow-log": "cloudwatch-logs",
        "engine-log": "cloudwatch-logs",
    }
    assert {each["logFormat"] for each in delivered} == {"json"}
    assert set(groups.values()) == {90}
    assert {name.rpartition("/")[2] for name in groups} == {"slow-log", "engine-log"}


@pytest.mark.parametrize(
    ("argument", "value", "key", "seen"),
    [
        ("high_availability", "False", "numCacheClusters", 1),
        ("high_availability", "False", "automaticFailoverEnabled", False),
        ("high_availability", "False", "multiAzEnabled", False),
        ("port", "6380", "port", 6380),
        ("snapshot_days", "0", "snapshotRetentionLimit", 0),
        ("snapshot_days", "0", "snapshotWindow", None),
        ("snapshot_window", "'05:00-06:00'", "snapshotWindow", "05:00-06:00"),
        ("maintenance_window", "'mon:01:00-mon:02:00'", "maintenanceWindow", "mon:01:00-mon:02:00"),
        ("protect", "False", "finalSnapshotIdentifier", None),
        ("key", "'arn:aws:kms:x'", "kmsKeyId", "arn:aws:kms:x"),
    ],
)
def test_each_argument_reaches_the_group(make: Make, argument: str, value: str, key: str, seen: Any) -> None:
    assert group(make(known=True, **{argument: value})).inputs.get(key) == seen
    assert group(make(known=True)).inputs.get(key) != seen


@pytest.mark.parametrize("generation", range(1, 7))
def test_a_rotation_touches_the_idle_user_alone(make: Make, generation: int) -> None:
    def seen(graph: Plan) -> tuple[dict[str, Any], Any]:
        passwords = graph.of_type("random:index/randomPassword:RandomPassword")
        return {r.name: r.inputs.get("keepers") for r in passwords}, group(graph).inputs

    before, after = (seen(make(slots=f"slots({n})", known=True)) for n in (generation, generation + 1))
    changed = {name for name, kept in before[0].items() if after[0][name] != kept}
    assert changed == {f"redis-app-{'a' if generation % 2 else 'b'}-password"}
    assert before[1] == after[1], "a rotation must not change the group itself"


@pytest.mark.parametrize(("generation", "user"), [(1, "app_b"), (2, "app_a"), (3, "app_b")])
def test_the_url_is_of_the_user_in_use(make: Make, generation: int, user: str) -> None:
    graph = make(slots=f"slots({generation})", known=True)
    (version,) = graph.of_type(VERSION)
    assert plain(version.inputs["secretString"]) == f"rediss://{user}:planted-password@queue.internal:6379/0"
    assert plain(graph.outputs["url"]).endswith("url-AbCdEf:::0000-1111")
    assert "planted" not in json.dumps(graph.to_json())


def test_users_change_one_after_the_other_in_a_group_that_stays(make: Make) -> None:
    graph = make(known=True)
    users = {r.name: r for r in graph.of_type(USER)}
    assert {r.inputs["userName"] for r in users.values()} == {"default", "app_a", "app_b"}
    assert users["redis-user-default"].urn in users["redis-user-a"].dependencies
    assert users["redis-user-a"].urn in users["redis-user-b"].dependencies
    (members,) = graph.of_type("aws:elasticache/userGroup:UserGroup")
    assert (members.inputs["engine"], len(members.inputs["userIds"])) == ("valkey", 3)
    assert len(group(graph).inputs["userGroupIds"]) == 1
    for user in users.values():
        mode = plain(user.inputs["authenticationMode"])
        assert mode["type"] == "password"
        assert len(plain(mode["passwords"])) == 1


def test_names_fit(make: Make) -> None:
    graph = make(known=True)
    assert all(len(str(user.inputs["userId"])) <= 40 for user in graph.of_type(USER))
    assert len(str(group(graph).inputs["replicationGroupId"])) <= 40


def test_the_nodes_for_alarms(make: Make) -> None:
    assert make(known=True).outputs["members"] == ["slipway-prod-redis-0011aabb-001", "slipway-prod-redis-0011aabb-002"]
    assert make(known=True, high_availability="False").outputs["members"] == ["slipway-prod-redis-0011aabb-001"]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[client.Redis]:
    """A real Valkey with the users that ElastiCache would have."""

    folder = Path(tempfile.mkdtemp(prefix="slipway-acl-"))
    socket = folder / "valkey.sock"
    (folder / "users.acl").write_text(
        f"user default {NOBODY}\nuser app_a {APPLICATION} >secret\nuser admin on ~* &* +@all >admin\n"
    )
    command = [
        *(str(binaries.valkey()), "--port", "0", "--unixsocket", str(socket), "--dir", str(folder)),
        *("--save", "", "--appendonly", "no", "--aclfile", str(folder / "users.acl")),
    ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not socket.exists():
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        with client.Redis(unix_socket_path=str(socket), username="app_a", password="secret") as connection:
            yield connection
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_the_access_string_is_enough_for_rq(valkey: client.Redis) -> None:
    """Jobs, workers, their lists and names, locks and scripts: on a real server with that very rule."""
    from rq import Queue, SimpleWorker
    from rq.registry import StartedJobRegistry

    queue = Queue("mail", connection=valkey)
    job = queue.enqueue("builtins.len", "four")
    worker = SimpleWorker([queue], connection=valkey)
    assert worker.work(burst=True)
    assert job.return_value() == 4
    assert StartedJobRegistry(queue=queue).count == 0
    assert valkey.client_setname("worker") is True
    assert "worker" in [each["name"] for each in valkey.client_list()]
    assert valkey.eval("return redis.call('INCR', KEYS[1])", 1, "counter") == 1


@pytest.mark.parametrize("command", ["CONFIG SET maxmemory 1", "ACL SETUSER other on", "SHUTDOWN", "REPLICAOF h 1"])
def test_the_access_string_is_no_more_than_that(valkey: client.Redis, command: str) -> None:
    with pytest.raises(client.exceptions.NoPermissionError):
        valkey.execute_command(*command.split())


def test_nobody_gets_in_without_a_name(valkey: client.Redis) -> None:
    path = valkey.connection_pool.connection_kwargs["path"]
    with client.Redis(unix_socket_path=path) as nameless, pytest.raises(client.AuthenticationError):
        nameless.ping()


EXTERNAL = """
    import pulumi
    from infra.aws.redis import ExternalRedisArgs, ExternalRedisSecret
    made = ExternalRedisSecret("redis", ExternalRedisArgs(url=pulumi.Output.secret("rediss://u:planted@r.net:6379/0")))
    pulumi.export("url", made.secret.value)
"""


def test_a_redis_of_others_is_bound_and_not_made(planned_program: Callable[..., Plan]) -> None:
    graph = planned_program(EXTERNAL, known=True, overrides=OUTPUTS)
    assert not graph.of_type(GROUP)
    (version,) = graph.of_type(VERSION)
    assert plain(version.inputs["secretString"]) == "rediss://u:planted@r.net:6379/0"
    assert "planted" not in json.dumps(graph.to_json())
