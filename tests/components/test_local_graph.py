"""What the local stack asks for: its whole graph, and what each setting changes in it.

``UPDATE_GOLDEN=1 pytest tests/components`` writes the golden files anew; look at their difference before committing.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from infra.engine.errors import EngineError
from infra.engine.plan import Plan, PlannedResource, plan
from infra.engine.project.project import ProgramConfig, Project
from infra.engine.values import Secret

GOLDEN = Path(__file__).with_name("golden")
DYNAMIC = "pulumi-python:dynamic/slipway:"
Planned = Callable[..., Plan]


def service(graph: Plan, name: str) -> PlannedResource:
    return graph.find(f"{DYNAMIC}Service", f"{name}-service")


def plain(value: Any) -> Any:
    return value.value if isinstance(value, Secret) else value


def steady(graph: dict[str, Any]) -> dict[str, Any]:
    """Without what varies and means nothing: the application's fingerprint, and the order that the SDK's sets have."""
    for resource in graph["resources"]:
        for key, urns in resource["options"].get("propertyDependencies", {}).items():
            resource["options"]["propertyDependencies"][key] = sorted(urns)
    text = re.sub(r"source:[0-9a-f]{16}", "source:FINGERPRINT", json.dumps(graph, sort_keys=True))
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
def test_the_graph_is_as_reviewed(planned: Planned, known: bool) -> None:
    graph = steady(planned(known=known).to_json())
    file = GOLDEN / f"local-{'known' if known else 'unknown'}.json"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(json.dumps(graph, indent=2) + "\n")
    assert graph == json.loads(file.read_text())


def test_every_resource_hangs_under_its_component(planned: Planned) -> None:
    graph = planned()
    components = {r.urn: r for r in graph.resources if not r.custom}
    for resource in graph.resources:
        if not resource.custom:
            continue
        parent = components[str(resource.parent)]
        assert parent.type.startswith("slipway:local:")
        assert resource.name.startswith(f"{parent.name}-")


@pytest.mark.parametrize("known", [False, True])
def test_no_secret_shows(planned: Planned, known: bool) -> None:
    webhooks = "whsec_cGxhbnRlZC13ZWJob29rLXNlY3JldA=="
    keys = {"replicate_api_key": "planted-replicate", "openai_api_key": "planted-openai"}
    graph = planned(known=known, secrets={**keys, "webhook_secret_openai": webhooks})
    text = json.dumps(graph.to_json())
    assert "planted" not in text
    assert webhooks not in text
    secrets = service(graph, "api").inputs["secrets"]
    if known:
        bound = {name: plain(value) for name, value in plain(secrets).items()}
        assert bound["REPLICATE_API_KEY"] == "planted-replicate"
        assert bound["WEBHOOK_SECRET_OPENAI"] == webhooks
        assert bound["DATABASE_URL"].startswith("postgresql://slipway_b:planted-password@")
        assert json.loads(bound["JWT_KEYS"])["active"] == "g1"


def test_nothing_serves_before_the_migration(planned: Planned) -> None:
    graph = planned()
    migration = graph.find(f"{DYNAMIC}Migration", "migrate-run")
    roles = graph.find(f"{DYNAMIC}DatabaseRoles", "postgres-roles")
    assert roles.urn in migration.dependencies
    for name in ("api", "worker"):
        assert migration.urn in service(graph, name).dependencies


@pytest.mark.parametrize(("generation", "ring"), [(1, ["g1", "g2"]), (2, ["g1", "g2", "g3"]), (8, ["g7", "g8", "g9"])])
def test_a_step_of_the_signing_key_moves_the_ring(planned: Planned, generation: int, ring: list[str]) -> None:
    graph = planned(rotation={"jwt": generation}, known=True)
    names = [r.name for r in graph.of_type("random:index/randomBytes:RandomBytes")]
    assert names == [f"secrets-jwt-{key}" for key in ring]
    keys = json.loads(plain(plain(service(graph, "api").inputs["secrets"])["JWT_KEYS"]))
    assert (keys["active"], sorted(keys["keys"])) == (f"g{generation}", ring)


def test_a_floor_drops_the_compromised_key(planned: Planned) -> None:
    graph = planned(rotation={"jwt": 3, "jwt_min": 3})
    names = [r.name for r in graph.of_type("random:index/randomBytes:RandomBytes")]
    assert names == ["secrets-jwt-g3", "secrets-jwt-g4"]


@pytest.mark.parametrize(("key", "component"), [("db", "postgres"), ("redis", "redis")])
def test_a_step_of_a_login_renews_the_idle_slot_alone(planned: Planned, key: str, component: str) -> None:
    def keepers(generation: int) -> dict[str, Any]:
        graph = planned(rotation={key: generation})
        passwords = graph.of_type("random:index/randomPassword:RandomPassword")
        return {r.name: r.inputs.get("keepers") for r in passwords if r.name.startswith(component)}

    before, after = keepers(3), keepers(4)
    changed = [name for name in before if before[name] != after[name]]
    assert changed == [f"{component}-app-a-password"]


def test_an_external_database_is_not_made(planned: Planned) -> None:
    urls = {
        "database_url": "postgresql://u:planted-a@db.example.com/app?sslmode=verify-full",
        "migration_database_url": "postgresql://u:planted-b@direct.example.com/app?sslmode=verify-full",
        "redis_url": "rediss://u:planted-c@redis.example.com:6379/0",
    }
    external = {"provider": "external"}
    graph = planned(known=True, secrets=urls, postgres=external, redis=external)
    assert not graph.of_type(f"{DYNAMIC}PostgresServer")
    assert not graph.of_type(f"{DYNAMIC}ValkeyServer")
    api = {k: plain(v) for k, v in plain(service(graph, "api").inputs["secrets"]).items()}
    assert (api["DATABASE_URL"], api["REDIS_URL"]) == (urls["database_url"], urls["redis_url"])
    migration = plain(graph.find(f"{DYNAMIC}Migration", "migrate-run").inputs["secrets"])
    assert plain(migration["DATABASE_URL"]) == urls["migration_database_url"]
    assert "planted" not in json.dumps(graph.to_json())


def test_a_given_signing_key_takes_the_place_of_the_ring(planned: Planned) -> None:
    graph = planned(secrets={"jwt": "k7Hq" * 16 + "planted"})
    assert not graph.of_type("random:index/randomBytes:RandomBytes")
    assert set(plain(service(graph, "api").inputs["secrets"])) == {"DATABASE_URL", "REDIS_URL", "JWT_SECRET"}


def test_a_combined_api_needs_no_worker(planned: Planned) -> None:
    graph = planned(api={"mode": "all"})
    assert [r.name for r in graph.of_type(f"{DYNAMIC}Service")] == ["api-service"]
    assert service(graph, "api").inputs["heartbeat"] == "HEALTH_FILE"


def test_services_take_their_settings(planned: Planned) -> None:
    graph = planned(
        api={"replicas": 4, "port": 4000},
        worker={"groups": {"slow": {"queue": "slow", "replicas": 3}}},
        postgres={"port": 5499, "max_connections": 200},
        redis={"port": 6399},
        features={"health_check": False, "swagger": False, "metrics": False},
    )
    api = service(graph, "api").inputs
    assert (api["replicas"], api["port"]) == (4, 4000)
    assert api["health"]["ready_path"] == "/health/live"
    assert {r.name: r.inputs["replicas"] for r in graph.of_type(f"{DYNAMIC}Service")}["worker-slow-service"] == 3
    server = graph.find(f"{DYNAMIC}PostgresServer", "postgres-server").inputs
    assert (server["port"], server["max_connections"]) == (5499, 200)
    assert graph.find(f"{DYNAMIC}ValkeyServer", "redis-server").inputs["port"] == 6399
    assert not {"docs_url", "metrics_url", "health_url"} & set(graph.outputs)


def test_paths_are_the_same_on_every_machine(planned: Planned) -> None:
    folders = {r.inputs["folder"] for r in planned().resources if "folder" in r.inputs}
    assert folders == {f".slipway/local/{name}" for name in ("postgres", "redis", "migrate", "api", "worker")}


@pytest.mark.parametrize("stack", ["digitalocean", "docker"])
def test_a_target_that_is_not_there_yet_says_so(planned: Planned, stack: str) -> None:
    with pytest.raises(EngineError, match="is not available in this version, which has aws, local"):
        planned(stack)


def test_a_transform_reaches_an_inner_resource(project: Project, tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text(
        "from infra.local.redis import Redis, RedisArgs\n"
        "from infra.rotation import slots\n"
        "more = lambda props, opts: ({**props, 'max_memory': 1}, opts)\n"
        "Redis('redis', RedisArgs(slots=slots(1), transforms={'server': more}))\n"
    )
    graph = _plan_of(project, tmp_path)
    assert graph.find(f"{DYNAMIC}ValkeyServer", "redis-server").inputs["max_memory"] == 1


def test_a_transform_of_nothing_is_refused(project: Project, tmp_path: Path) -> None:
    (tmp_path / "__main__.py").write_text(
        "from infra.local.redis import Redis, RedisArgs\n"
        "from infra.rotation import slots\n"
        "Redis('redis', RedisArgs(slots=slots(1), transforms={'sever': lambda p, o: (p, o)}))\n"
    )
    with pytest.raises(EngineError, match=r"no inner resource sever to transform; it has .*server"):
        _plan_of(project, tmp_path)


def _plan_of(project: Project, folder: Path) -> Plan:
    lone = dataclasses.replace(project, root=folder, main=folder)
    return plan(project=lone, stack="local", config=ProgramConfig(values={}, secret_keys=frozenset()))


def test_a_preview_knows_the_urls(planned: Planned) -> None:
    """They showed as unknown whenever the API's resource changed, as by fewer replicas, which changes none of them."""
    graph = planned(known=False, features={"metrics": True, "swagger": True, "health_check": True})
    urls = {name: graph.outputs[name] for name in ("url", "docs_url", "metrics_url", "health_url")}
    assert urls == {
        "url": "http://127.0.0.1:3000",
        "docs_url": "http://127.0.0.1:3000/docs",
        "metrics_url": "http://127.0.0.1:3000/metrics",
        "health_url": "http://127.0.0.1:3000/health",
    }


def test_the_program_itself_refuses_a_file_that_does_not_mean_what_it_says(
    project: Project, stack_config: Callable[..., ProgramConfig], tmp_path: Path
) -> None:
    """Started by the CLI it gets 1.1 for 1.10: it looks at the file."""
    for name in ("Pulumi.yaml", "Pulumi.local.yaml"):
        (tmp_path / name).write_text((project.root / name).read_text())
    elsewhere = dataclasses.replace(project, root=tmp_path)
    plan(project=elsewhere, stack="local", config=stack_config("local"))
    (tmp_path / "Pulumi.local.yaml").write_text("config:\n  slipway:image: {version: 1.10}\n")
    with pytest.raises(EngineError, match=r"Pulumi\.local\.yaml:2:28: slipway:image\.version: 1\.10 is a number"):
        plan(project=elsewhere, stack="local", config=stack_config("local"))
    (tmp_path / "Pulumi.local.yaml").unlink()
    plan(project=elsewhere, stack="local", config=stack_config("local"))
