"""The AWS stacks lived through: applied, changed, rolled back, destroyed; after each step the APIs say what runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from emulator import seen
from emulator.cloud import Cloud
from emulator.kinds import KINDS
from emulator.stack import Stack

from infra.engine.urns import package_of

pytestmark = pytest.mark.timeout(600)

MakeStack = Callable[[str], Stack]

REGISTRY = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/slipway"
FIRST, SECOND, BROKEN = (f"{REGISTRY}@sha256:{digit * 64}" for digit in "12b")
COMBINED = {"api": {"mode": "all", "replicas": 1}, "network": {"nat": "none", "flow_logs": False, "waf": False}}
SECRET_CALLS = ("PutSecretValue", "CreateUser", "ModifyUser")
WORLD = ("0.0.0.0/0", "::/0")


def intended(*, api_port: int = 3000, delivering: tuple[str, ...] = ("worker",)) -> set[tuple[str, str, str, str]]:
    """Every path there should be, written down apart from the program."""
    paths = {("balancer", "in", world, f"tcp:{port}") for world in WORLD for port in (80, 443)}
    links = [("balancer", "api", api_port)]
    links += [(task, "postgres", 5432) for task in ("api", "worker", "migrate", "backup")]
    links += [(task, "redis", 6379) for task in ("api", "worker")]
    for client, server, port in links:
        paths |= {(client, "out", server, f"tcp:{port}"), (server, "in", client, f"tcp:{port}")}
    paths |= {(task, "out", "0.0.0.0/0", "tcp:443") for task in ("api", "worker", "migrate", "backup")}
    return paths | {(task, "out", "0.0.0.0/0", "tcp:1024-65535") for task in delivering}


def assert_serves(account: Cloud, image: str, *, names: set[str], db_slot: str = "b", redis_slot: str = "b") -> None:
    """All services run this digest, and their secrets make working URLs of the servers that there are."""
    running = seen.services(account)
    assert set(running) == names
    database = account.client("rds").describe_db_instances()["DBInstances"][0]
    group = account.client("elasticache").describe_replication_groups()["ReplicationGroups"][0]
    plan = bootstrap_plan(account)
    for name, service in running.items():
        assert service.images == {image}, name
        assert (service.running, service.rollout) == (service.desired, "COMPLETED"), name
        url = service.url("DATABASE_URL")
        assert url.scheme == "postgresql"
        assert (url.hostname, url.port) == (database["Endpoint"]["Address"], database["Endpoint"]["Port"])
        assert url.path == f"/{database['DBName']}"
        assert "sslmode=verify-full" in url.query
        assert url.username == f"slipway_{db_slot}"
        # The login that the bootstrap task makes is the one that the service uses.
        assert plan[str(url.username)] == url.password
        redis = service.url("REDIS_URL")
        assert (redis.scheme, redis.port) == ("rediss", 6379)
        assert redis.hostname == f"master.{group['ReplicationGroupId']}.abc123.euc1.cache.amazonaws.com"
        assert redis.username == f"app_{redis_slot}"
        assert redis.password in seen.redis_passwords(account)[str(redis.username)]
        assert not {"DATABASE_URL", "REDIS_URL", "JWT_KEYS"} & set(service.environment)


def assert_no_secret_escapes(account: Cloud, live: Stack) -> None:
    """Passwords and keys go to Secrets Manager and to Redis's own users, and into no other call and no message."""
    secrets = set()
    for service in seen.services(account).values():
        secrets |= {str(service.url(variable).password) for variable in ("DATABASE_URL", "REDIS_URL")}
        secrets |= set(json.loads(service.secrets.get("JWT_KEYS", '{"keys": {}}'))["keys"].values())
    assert len(secrets) >= 4
    told = [json.dumps(call.params, default=str) for call in account.calls if call.operation not in SECRET_CALLS]
    told += live.log.messages()
    assert not [text[:200] for text in told if any(secret in text for secret in secrets)]


def assert_tagged(account: Cloud, name: str) -> None:
    """The stack's tags are on what costs most: by them its bill and its resources are found."""
    database = account.client("rds").describe_db_instances()["DBInstances"][0]["TagList"]
    stored = account.client("secretsmanager").list_secrets()["SecretList"]
    secrets = [item.get("Tags", []) for item in stored if not item["Name"].startswith("rds!")]  # that one is RDS's own
    services = [call.get("tags", []) for call in account.made("CreateService")]
    assert services
    assert secrets
    assert {"Key": "stack", "Value": name} in database
    assert all({"key": "stack", "value": name} in tags for tags in services)
    assert all({"Key": "stack", "Value": name} in tags for tags in secrets)


def bootstrap_plan(account: Cloud) -> dict[str, str]:
    """Users of the application, and their passwords, that the last bootstrap task was told to make."""
    return {login["user"]: login["password"] for login in last_plan(account)["app"]}


def bootstrap_logins(account: Cloud) -> dict[str, str]:
    """The same of all others."""
    return {login["user"]: login["password"] for login in last_plan(account).values() if isinstance(login, dict)}


def last_plan(account: Cloud) -> dict[str, Any]:
    tasks = [task for task in account.fargate.tasks.values() if task["group"].endswith("-bootstrap")]
    plan: dict[str, Any] = json.loads(
        account.fargate.resolved(tasks[-1]["taskDefinitionArn"])["bootstrap"]["BOOTSTRAP_PLAN"]
    )
    return plan


def runs(account: Cloud) -> list[str]:
    return [family.rsplit("-", 1)[-1] for family in seen.one_off_runs(account)]


@pytest.mark.parametrize("name", ["staging", "prod"])
def test_a_stack_from_nothing_through_its_changes(account: Cloud, stack: MakeStack, name: str) -> None:
    both = {"api", "worker"}
    live = stack(name).set(image={"reference": FIRST})
    preview = live.preview()
    assert preview.succeeded, preview.failures
    assert not account.calls[1:], "a preview makes no call"  # the first one made the hosted zone

    live.must_up()
    assert_serves(account, FIRST, names=both)
    assert runs(account) == ["bootstrap", "migrate"]
    assert seen.paths(account) == intended()
    assert_tagged(account, name)
    assert_no_secret_escapes(account, live)
    first = seen.services(account)
    assert seen.signing_keys(first["api"]) == ("g1", ["g1", "g2"])

    # Nothing to do: nothing is done, and no migration runs.
    before = len(account.calls)
    assert set(live.must_up().changes) == {"same"}
    assert len(account.calls) == before

    # Another image: migrations first, then both services.
    live.set(image={"reference": SECOND}).must_up()
    assert_serves(account, SECOND, names=both)
    assert runs(account)[2:] == ["bootstrap", "migrate"]
    assert seen.services(account)["api"].definition != first["api"].definition
    order = [call.operation for call in account.calls[before:] if call.operation in ("RunTask", "UpdateService")]
    assert order == ["RunTask", "RunTask", "UpdateService", "UpdateService"]

    # Rotation: the idle slot gets a new password and is then the one in use; what was in use before still works.
    old = seen.services(account)["api"]
    live.set(rotation={"jwt": 2, "db": 2, "redis": 2}).must_up()
    assert_serves(account, SECOND, names=both, db_slot="a", redis_slot="a")
    assert seen.signing_keys(seen.services(account)["api"]) == ("g2", ["g1", "g2", "g3"])
    kept = account.fargate.resolved(old.definition)["api"]
    assert kept == old.secrets, "a task of the definition before still finds its secrets"
    assert_no_secret_escapes(account, live)
    former = old.url("REDIS_URL")
    assert former.password in seen.redis_passwords(account)[str(former.username)]
    login = old.url("DATABASE_URL")
    assert bootstrap_plan(account)[str(login.username)] == login.password

    # Back to the image before, after the rotation.
    live.set(image={"reference": FIRST}).must_up()
    assert_serves(account, FIRST, names=both, db_slot="a", redis_slot="a")
    assert set(live.must_up().changes) == {"same"}


def test_replicas_and_scaling_change_without_a_rollout(account: Cloud, stack: MakeStack) -> None:
    # A database whose connections suffice for all the replicas that there may be.
    live = stack("staging").set(image={"reference": FIRST}, postgres={"size": "db.t4g.medium"})
    live.must_up()
    assert seen.scaling(account) == {}
    first = seen.services(account)
    assert (first["api"].desired, first["worker"].desired) == (2, 1)

    live.set(api={"replicas": 3}).must_up()
    changed = seen.services(account)
    assert (changed["api"].desired, changed["api"].running) == (3, 3)
    assert changed["api"].definition == first["api"].definition
    ran = len(runs(account))

    live.set(api={"scaling": {"max_replicas": 6}}, worker={"scaling": {"max_replicas": 4}}).must_up()
    assert seen.scaling(account) == {"api": (3, 6), "worker": (1, 4)}
    assert seen.services(account)["api"].definition == first["api"].definition

    live.set(api={"scaling": {"max_replicas": 9, "cpu": 55}}).must_up()
    assert seen.scaling(account)["api"] == (3, 9)
    policies = account.client("application-autoscaling").describe_scaling_policies(ServiceNamespace="ecs")
    targets = [
        policy["TargetTrackingScalingPolicyConfiguration"]["TargetValue"]
        for policy in policies["ScalingPolicies"]
        if policy.get("TargetTrackingScalingPolicyConfiguration", {})
        .get("PredefinedMetricSpecification", {})
        .get("PredefinedMetricType")
        == "ECSServiceAverageCPUUtilization"
    ]
    assert 55.0 in targets
    assert len(runs(account)) == ran, "no migration runs for a change of scaling"


def test_production_changes_the_bounds_and_leaves_the_count_to_scaling(account: Cloud, stack: MakeStack) -> None:
    live = stack("prod").set(image={"reference": FIRST})
    live.must_up()
    assert seen.scaling(account) == {"api": (3, 10), "worker": (2, 20)}
    first, ran = seen.services(account), len(runs(account))

    wider = {"replicas": 4, "scaling": {"max_replicas": 12}}
    live.set(api=wider, worker={"scaling": {"max_replicas": 24}}).must_up()
    assert seen.scaling(account) == {"api": (4, 12), "worker": (2, 24)}
    changed = seen.services(account)
    assert changed["api"].desired == first["api"].desired, "an up must not take replicas away under load"
    assert {name: service.definition for name, service in changed.items()} == {
        name: service.definition for name, service in first.items()
    }
    assert len(runs(account)) == ran


def scale(account: Cloud, **desired: int) -> None:
    """As Application Auto Scaling does: past the program, by the service's own API."""
    ecs = account.client("ecs")
    (cluster,) = ecs.list_clusters()["clusterArns"]
    for arn in ecs.list_services(cluster=cluster)["serviceArns"]:
        name = arn.rsplit("/", 1)[-1].split("-service-")[0]
        if name in desired:
            ecs.update_service(cluster=cluster, service=arn, desiredCount=desired[name])


def counts(account: Cloud) -> dict[str, int]:
    return {name: service.desired for name, service in seen.services(account).items()}


def scaling_calls(account: Cloud, name: str, *, since: int) -> list[str]:
    """What was done to the service's scaling and, apart from any rollout, to its number."""
    found = []
    for call in account.calls[since:]:
        if f"{name}-service-" not in str(call.params.get("ResourceId") or call.params.get("service")):
            continue
        bare = call.operation == "UpdateService" and set(call.params) == {"cluster", "service", "desiredCount"}
        if bare or call.operation in ("DeleteScalingPolicy", "DeregisterScalableTarget"):
            found.append(call.operation)
    return found


def test_a_service_without_scaling_goes_back_to_its_number(account: Cloud, stack: MakeStack) -> None:
    """The number that scaling had last set would otherwise run for good, at the price of it."""
    mail = {"queue": "mail", "replicas": 0, "scaling": {"max_replicas": 5}}
    live = stack("prod").set(image={"reference": FIRST}, worker={"groups": {"mail": mail}})
    live.must_up()
    scale(account, api=9, worker=1, **{"worker-mail": 4})
    ran, before = len(runs(account)), len(account.calls)

    live.set(
        api={"scaling": {"max_replicas": None}},
        worker={
            "scaling": {"max_replicas": None},
            "groups": {"mail": {"replicas": 1, "scaling": {"max_replicas": None}}},
        },
    ).must_up()

    assert seen.scaling(account) == {}
    assert counts(account) == {"api": 3, "worker": 2, "worker-mail": 1}
    # While a policy is there, it may set another number: the fixed one comes after the last, and before the target
    # goes, which is what the next `up` knows of it by.
    for name in counts(account):
        own = scaling_calls(account, name, since=before)
        assert own[-2:] == ["UpdateService", "DeregisterScalableTarget"], name
        assert set(own[:-2]) == {"DeleteScalingPolicy"}, name
    assert len(runs(account)) == ran
    assert set(live.must_up().changes) == {"same"}


def test_a_number_that_could_not_be_set_is_set_by_the_next_up(account: Cloud, stack: MakeStack) -> None:
    live = stack("prod").set(image={"reference": FIRST})
    live.must_up()
    scale(account, api=9)
    account.refused["UpdateService"] = "AccessDeniedException"

    live.set(api={"scaling": {"max_replicas": None}})
    failed = live.up()
    assert not failed.succeeded
    assert "ecs:UpdateService" in "\n".join(failure.message for failure in failed.failures)
    assert "api" in seen.scaling(account)

    account.refused.clear()
    live.must_up()
    assert "api" not in seen.scaling(account)
    assert counts(account)["api"] == 3


def test_a_stack_that_scales_is_destroyed_without_setting_a_number(account: Cloud, stack: MakeStack) -> None:
    live = stack("staging").set(image={"reference": FIRST}, worker={"scaling": {"max_replicas": 4}})
    live.must_up()
    scale(account, worker=3)
    before = len(account.calls)
    live.unprotect()
    destroyed = live.destroy()
    assert destroyed.succeeded, destroyed.failures
    set_ = [call.params["desiredCount"] for call in account.calls[before:] if call.operation == "UpdateService"]
    assert set(set_) <= {0}


def test_a_migration_that_fails_changes_nothing_that_serves(account: Cloud, stack: MakeStack) -> None:
    live = stack("staging").set(image={"reference": FIRST})
    live.must_up()
    account.fargate.exit_codes["slipway-staging-migrate"] = 1
    account.fargate.output["slipway-staging-migrate"] = ["revision 0002 could not take its lock"]

    result = live.set(image={"reference": SECOND}).up()

    assert not result.succeeded
    assert "revision 0002 could not take its lock" in "\n".join(failure.message for failure in result.failures)
    assert_serves(account, FIRST, names={"api", "worker"})

    account.fargate.exit_codes.clear()
    live.must_up()
    assert_serves(account, SECOND, names={"api", "worker"})


def test_the_dumps_keep_a_login_that_works_while_its_step_fails(account: Cloud, stack: MakeStack) -> None:
    """A dump may start at any time, also between two attempts at a step that are days apart."""
    live = stack("staging").set(image={"reference": FIRST}, backup={"dumps": True})
    live.must_up()
    assert dump_login(account)[0] == "slipway_backup"
    first = dump_login(account)

    account.fargate.exit_codes["slipway-staging-migrate"] = 1
    assert not live.set(rotation={"backup": 2, "migrate": 2}).up().succeeded
    # The bootstrap has made the second login by then; nothing uses it yet.
    assert dump_login(account) == first
    assert dict(bootstrap_logins(account)).items() >= dict([first]).items()

    account.fargate.exit_codes.clear()
    live.must_up()
    assert dump_login(account)[0] == "slipway_backup2"
    assert dict(bootstrap_logins(account)).items() >= dict([first, dump_login(account)]).items()
    assert set(live.must_up().changes) == {"same"}

    # The next step renews the one that no dump uses any more.
    second = dump_login(account)
    live.set(rotation={"backup": 3, "migrate": 2}).must_up()
    assert (dump_login(account)[0], dump_login(account)[1] != first[1]) == ("slipway_backup", True)
    assert dict(bootstrap_logins(account)).items() >= dict([second]).items()


def dump_login(account: Cloud) -> tuple[str, str]:
    """User and password of a dump that starts now."""
    scheduler = account.client("scheduler")
    (named,) = [item for item in scheduler.list_schedules()["Schedules"] if "backup" in item["Name"]]
    target = scheduler.get_schedule(Name=named["Name"], GroupName=named["GroupName"])["Target"]
    dump = account.fargate.resolved(target["EcsParameters"]["TaskDefinitionArn"])["dump"]
    return dump["PGUSER"], dump["PGPASSWORD"]


def test_a_rollout_that_ecs_undoes_fails_the_command(account: Cloud, stack: MakeStack) -> None:
    live = stack("staging").set(image={"reference": FIRST})
    live.must_up()
    # The one-off tasks still start: what fails is the service's own deployment.
    account.fargate.broken_services.add(BROKEN)

    result = live.set(image={"reference": BROKEN}).up()

    assert not result.succeeded
    assert "CannotPullContainerError" in "\n".join(failure.message for failure in result.failures)
    assert_serves(account, FIRST, names={"api", "worker"})

    live.set(image={"reference": FIRST}).must_up()
    assert_serves(account, FIRST, names={"api", "worker"})
    live.set(image={"reference": SECOND}).must_up()
    assert_serves(account, SECOND, names={"api", "worker"})


def test_staging_goes_without_leaving_anything(account: Cloud, stack: MakeStack) -> None:
    live = stack("staging").set(image={"reference": FIRST})
    live.must_up()
    result = live.destroy()
    assert result.succeeded, result.failures
    assert live.resources == []
    assert seen.left_over(account) == {}


def test_production_goes_only_after_its_protection(account: Cloud, stack: MakeStack) -> None:
    live = stack("prod").set(image={"reference": FIRST})
    live.must_up()
    made = len(live.resources)

    assert not live.destroy().succeeded
    assert len(live.resources) == made, "a refused destroy deletes nothing"
    assert_serves(account, FIRST, names={"api", "worker"})

    live.set(protect=False).must_up()
    result = live.destroy()
    assert result.succeeded, result.failures
    assert live.resources == []
    left = seen.left_over(account)
    assert left == {}


def test_one_kind_of_replica_serves_alone(account: Cloud, stack: MakeStack) -> None:
    live = stack("staging").set(image={"reference": FIRST}, **COMBINED)
    live.must_up()
    assert_serves(account, FIRST, names={"api"})
    assert seen.paths(account) == intended(delivering=("api",))
    assert account.client("ec2").describe_nat_gateways()["NatGateways"] == []
    service = account.made("CreateService")[0]
    assert service["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"] == "ENABLED"
    assert live.destroy().succeeded
    assert seen.left_over(account) == {}


@pytest.mark.parametrize(("name", "more"), [("prod", {}), ("staging", {}), ("staging", COMBINED)])
def test_every_type_of_a_plan_is_emulated(account: Cloud, stack: MakeStack, name: str, more: dict[str, object]) -> None:
    """Nothing is skipped in silence: what has no emulation must be seen here."""
    served = {"random", "pulumi", "pulumi-python", "docker"}
    types = {item.type for item in stack(name).set(**more).plan().resources if item.custom}
    missing = {
        type_ for type_ in types if type_ not in KINDS and package_of(type_) not in served and "providers" not in type_
    }
    assert not missing


@pytest.mark.parametrize("name", ["staging", "prod"])
def test_nothing_new_serves_before_the_migration(stack: MakeStack, name: str) -> None:
    """By the graph: in a run the right order can also come about by chance."""
    graph = stack(name).set(image={"reference": FIRST}).plan()
    (run,) = [item.urn for item in graph.resources if item.name == "migrate-run"]
    services = graph.of_type("aws:ecs/service:Service")
    assert {service.name for service in services} == {"api-service", "worker-service"}
    for service in services:
        assert run in service.dependencies
