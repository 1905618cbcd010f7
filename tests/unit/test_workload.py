"""The environment contract: what the workload sets is what the application reads, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
import yaml

from app.environment import is_secret
from app.settings import Settings as AppSettings
from infra.contracts import CommandHealth, HttpHealth, ServiceSpec, TaskSpec
from infra.settings import Settings, defaults, parse
from infra.settings.describe import Key, keys, marker, write
from infra.settings.effects import effect
from infra.settings.rules import Between, Size, Span
from infra.settings.secrets import GIVEN_VARIABLES
from infra.settings.variables import Variable
from infra.workload import LIBPQ, Workload

ROOT = Path(__file__).parents[2]
KEY = "0123456789abcdef" * 4 + "ghijklmnop"
SECRETS = {
    "DATABASE_URL": "postgresql://app:0c9f1b7ae2@db.internal/slipway?sslmode=verify-full",
    "REDIS_URL": "rediss://app:0c9f1b7ae2@redis.internal:6379/0",
    "JWT_KEYS": json.dumps({"active": "g1", "keys": {"g1": KEY}}),
    "JWT_SECRET": KEY,
    "REPLICATE_API_KEY": "r8_0c9f1b7ae2",
    "OPENAI_API_KEY": "sk-0c9f1b7ae2",
    "WEBHOOK_SECRET_REPLICATE": "whsec_MDEyMzQ1Njc4OWFiY2RlZg==",
    "WEBHOOK_SECRET_OPENAI": "whsec_ZmVkY2JhOTg3NjU0MzIxMA==",
}
EVERY_SECRET = {
    "jwt": KEY,
    **{key: SECRETS[variable] for key, variable in GIVEN_VARIABLES.items() if key != "jwt"},
}
COLLECTOR = {"otlp_endpoint": "http://collector:4318"}
AWS = {"target": "aws", "region": "eu-central-1", "domain": {"name": "api.example.com"}}


def application_specs(workload: Workload) -> list[ServiceSpec | TaskSpec]:
    return [*workload.services, workload.migrate]


def variables(workload: Workload) -> set[str]:
    return {name for spec in application_specs(workload) for name in (*spec.environment, *spec.secrets)}


def load_app(spec: ServiceSpec | TaskSpec) -> AppSettings:
    return AppSettings.load({**spec.environment, **{name: SECRETS[name] for name in spec.secrets}})


def test_every_variable_of_the_application_can_be_set_and_no_other_is() -> None:
    """A variable on one side alone is a setting that does nothing, or one that nobody can reach."""
    generated = Workload.of(parse(AWS, stack="test"))
    given = Workload.of(parse({**AWS, "secrets": EVERY_SECRET}, stack="test"))
    assert variables(generated) | variables(given) == {name.upper() for name in AppSettings.model_fields}


def test_secrets_are_bound_and_never_plain() -> None:
    secret = {name.upper() for name, field in AppSettings.model_fields.items() if is_secret(field)}
    workload = Workload.of(parse({**AWS, "secrets": EVERY_SECRET}, stack="test"))
    for spec in application_specs(workload):
        assert not secret & set(spec.environment)
        assert set(spec.secrets) <= secret
        assert KEY not in repr(spec)


def test_defaults_are_the_applications_own() -> None:
    """Two defaults for one thing drift apart; the differences are named here with their reason."""
    meant = {
        "mode": "each spec has its own",
        "shutdown_timeout": "a worker finishes its jobs, an API its requests",
        "database_owner_role": "the stack makes an owner role",
        "health_file": "containers ask the worker by a file",
        "stack_name": "each stack has its own",
    }
    specs = Workload.of(parse({"target": "docker"}, stack="test"))
    for spec in application_specs(specs):
        loaded = load_app(spec)
        for name, field in AppSettings.model_fields.items():
            if name.upper() in spec.environment and name not in meant:
                assert getattr(loaded, name) == field.default, name
    assert load_app(specs.api).shutdown_timeout == AppSettings.model_fields["shutdown_timeout"].default


def test_the_application_accepts_what_every_stack_file_gives_it() -> None:
    files = sorted(ROOT.glob("Pulumi.*.yaml"))
    assert len(files) >= 5
    for file in files:
        config = yaml.safe_load(file.read_text())["config"]
        tree = {key.partition(":")[2]: value for key, value in config.items()}
        for spec in application_specs(Workload.of(parse(tree, stack="test"))):
            assert load_app(spec).mode == spec.mode


def other_value(key: Key) -> Any:
    """A legal value that is not the default."""
    default, rule = key.default, key.rule
    if key.kind is bool:
        return not default
    if get_origin(key.kind) is Literal:
        return next(choice for choice in get_args(key.kind) if choice != default)
    if isinstance(rule, Between):
        return default + 1 if default < rule.high else default - 1
    if isinstance(rule, Span):
        return write(default + timedelta(seconds=1))
    if isinstance(rule, Size):
        return write(max(default // 2, 1024), rule)
    if key.path == ("cors_origins",):
        return ["https://other.example.com"]
    if key.path == ("api", "trusted_proxies"):
        return ["192.168.0.0/16"]
    if str(key.path[-1]).endswith("base_url"):
        return "https://other.example.com/v2"
    if key.path[-1] in ("isolated_kinds", "urgent_kinds"):
        return ["delivery"]
    return {"version": "1.2.3", "owner_role": "other_owner", "host": "127.0.0.1", **COLLECTOR}.get(
        str(key.path[-1]), "other"
    )


def changed_by(key: Key) -> set[str]:
    """What another value of the key changes, as ``service/VARIABLE``."""
    changed: dict[str, Any] = {"target": "docker"}
    place = changed
    for part in key.path[:-1]:
        place = place.setdefault(str(part), {})
    place[str(key.path[-1])] = other_value(key)
    before, after = _environments({"target": "docker"}), _environments(changed)
    return {name for name in before | after if before.get(name) != after.get(name)}


def named(key: Key) -> set[str]:
    """The variables of the application that a key's description names."""
    return set(re.findall(r"\(`([A-Z_]+)`\)", key.field.description or ""))


READ = [
    (key, variable.name)
    for key in keys(Settings)
    if "<name>" not in key.path and key.path[0] != "secrets" and (variable := marker(key.markers, Variable))
]


def test_every_description_names_the_keys_variable() -> None:
    for key in keys(Settings):
        variable = marker(key.markers, Variable)
        assert named(key) - {"QUEUE_ROUTES"} == ({variable.name} if variable else set()), key.path


def test_every_variable_has_a_key() -> None:
    described = {variable for _, variable in READ}
    derived = {"MODE", "ENVIRONMENT", "SERVICE_NAME", "HEALTH_FILE", "STACK_NAME", "EMF_QUEUES", "QUEUE_ROUTES"}
    secret = set(SECRETS)
    assert described | derived | secret == {name.upper() for name in AppSettings.model_fields}


@pytest.mark.parametrize(("key", "variable"), READ, ids=[f"{'.'.join(map(str, k.path))}-{v}" for k, v in READ])
def test_each_setting_reaches_its_variable(key: Key, variable: str) -> None:
    differing = changed_by(key)
    assert variable in {name.split("/")[1] for name in differing}
    assert {name.split("/")[1] for name in differing} == {variable}, "one key changes one variable"


def _environments(tree: Mapping[str, Any]) -> dict[str, str]:
    settings = Settings.model_validate({**defaults.complete(tree), "project": "slipway", "stack": "test"})
    specs = application_specs(Workload.of(settings))
    return {f"{spec.name}/{name}": value for spec in specs for name, value in spec.environment.items()}


def test_the_effect_in_the_reference_is_what_rolls() -> None:
    """`rolls the API` and `rolls the workers` are said of exactly the services whose variables change."""
    for key, variable in READ:
        rolled = {name.split("/")[0] for name in changed_by(key)}
        text = effect(key.path)
        assert ("api" in rolled) == ("rolls the API" in text), (key.path, rolled, text, variable)
        assert ("worker" in rolled) == ("workers" in text), (key.path, rolled, text, variable)


def test_modes_and_commands() -> None:
    workload = Workload.of(parse(AWS, stack="test"))
    assert [(spec.name, spec.mode) for spec in application_specs(workload)] == [
        ("api", "api"),
        ("worker", "worker"),
        ("migrate", "migrate"),
    ]
    for spec in application_specs(workload):
        assert spec.command == ("python", "-m", "app")
        assert spec.environment["MODE"] == spec.mode
    assert [spec.database_login for spec in application_specs(workload)] == ["app", "app", "migrate"]


def test_all_in_one() -> None:
    """One service, whose replicas hold a worker each: its pools count twice, its jobs get the time to finish."""
    workload = Workload.of(parse({**AWS, "api": {"mode": "all"}}, stack="test"))
    assert workload.workers == ()
    assert workload.api.mode == "all"
    assert workload.api.connections == 22
    assert workload.api.queue == "webhook-processor"
    assert workload.api.stop_timeout == 120
    assert load_app(workload.api).health_file is not None


def test_worker_groups_start_from_the_main_worker() -> None:
    tree = {
        **AWS,
        "worker": {
            "concurrency": 4,
            "replicas": 2,
            "groups": {"bulk": {"concurrency": 20}, "slow": {"cpu": 2, "memory": "4 GiB"}},
        },
    }
    main, bulk, slow = Workload.of(parse(tree, stack="test")).workers
    assert [main.name, bulk.name, slow.name] == ["worker", "worker-bulk", "worker-slow"]
    assert [main.queue, bulk.queue, slow.queue] == ["webhook-processor", "bulk", "slow"]
    assert [s.environment["QUEUE_CONCURRENCY"] for s in (main, bulk, slow)] == ["4", "20", "4"]
    assert [s.replicas for s in (main, bulk, slow)] == [2, 2, 2]
    assert slow.cpu == 2


def test_health() -> None:
    workload = Workload.of(parse(AWS, stack="test"))
    assert isinstance(workload.api.health, HttpHealth)
    assert workload.api.health.path == "/health/live"
    assert workload.api.readiness is not None
    assert workload.api.readiness.path == "/health"
    assert isinstance(workload.workers[0].health, CommandHealth)
    assert workload.workers[0].health.command == ("python", "-m", "app.healthcheck")
    without = Workload.of(parse({**AWS, "features": {"health_check": False}}, stack="test"))
    assert without.api.readiness is not None
    assert without.api.readiness.path == "/health/live", "a balancer must not ask a path that answers 404"


def test_scaling() -> None:
    fixed = Workload.of(parse(AWS, stack="test"))
    assert fixed.api.scaling is None
    assert fixed.workers[0].scaling is None
    assert not fixed.workers[0].spot
    limits = {"api": {"scaling": {"max_replicas": 9}}, "worker": {"scaling": {"max_replicas": 5}}}
    tree = {**AWS, "postgres": {"size": "db.t4g.large"}, **limits}
    scaled = Workload.of(parse(tree, stack="test"))
    assert scaled.api.scaling is not None
    assert (scaled.api.scaling.cpu_percent, scaled.api.scaling.memory_percent) == (70, 80)
    assert (scaled.api.scaling.latency_p95_ms, scaled.api.scaling.requests_per_second) == (500, 100)
    worker = scaled.workers[0].scaling
    assert worker is not None
    assert (worker.backlog_high, worker.backlog_low, worker.wait, worker.cpu_percent) == (100, 10, 60, 80)
    assert scaled.workers[0].spot


def test_backup_reads_what_libpq_reads() -> None:
    backup = Workload.of(parse(AWS, stack="test")).backup
    assert backup.secrets == LIBPQ
    assert backup.schedule == "0 3 * * *"
    assert Workload.of(parse({**AWS, "backup": {"hour": 5}}, stack="test")).backup.schedule == "0 5 * * *"
    assert Workload.of(parse({**AWS, "backup": {"dumps": False}}, stack="test")).backup.schedule is None


def test_the_local_stack_says_what_it_opens() -> None:
    local = Workload.of(parse({"target": "local"}, stack="local"))
    assert local.api.environment["ENVIRONMENT"] == "development"
    assert local.notices == ("Webhook deliveries may go to private networks and this machine, and over plain http.",)
    closed = {"allow_http": False, "allow_private_networks": False}
    assert Workload.of(parse({"target": "local", "deliveries": closed}, stack="local")).notices == ()
    assert Workload.of(parse(AWS, stack="test")).notices == ()


def test_webhooks_are_asked_for_at_the_public_name() -> None:
    def address(tree: dict[str, Any]) -> str | None:
        return Workload.of(parse(tree, stack="test")).workers[0].environment.get("WEBHOOK_BASE_URL")

    chosen = {"predictions": {"webhook_base_url": "https://hooks.example.com/in"}}
    assert address(AWS) == "https://api.example.com"
    assert address({**AWS, **chosen}) == "https://hooks.example.com/in"
    assert address({"target": "local"}) is None
