"""Secrets Manager: one secret for each concern, pinned versions, and rotation that changes one thing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from infra.engine.plan import Plan
from infra.engine.values import Secret

Planned = Callable[..., Plan]

SECRET = "aws:secretsmanager/secret:Secret"
VERSION = "aws:secretsmanager/secretVersion:SecretVersion"
PASSWORD = "random:index/randomPassword:RandomPassword"
KEY = "random:index/randomBytes:RandomBytes"
TASK = "aws:ecs/taskDefinition:TaskDefinition"


def program(*, generation: int = 1, floor: int | None = None, given: str = "{}", more: str = "") -> str:
    return (
        "import pulumi\n"
        "from infra.aws.secrets import Secrets, SecretsArgs\n"
        "from infra.rotation import ring\n"
        f"secrets = Secrets('secrets', SecretsArgs(ring=ring({generation}, floor={floor}), given={given}{more}))\n"
        "pulumi.export('refs', {name: ref.value for name, ref in secrets.refs.items()})\n"
    )


def plain(value: Any) -> Any:
    return value.value if isinstance(value, Secret) else value


def test_each_concern_has_a_secret_of_its_own(planned_program: Planned) -> None:
    graph = planned_program(program(given="{'OPENAI_API_KEY': pulumi.Output.secret('planted-openai')}"), known=True)
    assert [r.name for r in graph.of_type(SECRET)] == ["secrets-jwt-keys", "secrets-openai-api-key"]
    values = {r.name: r.inputs["secretString"] for r in graph.of_type(VERSION)}
    assert all(isinstance(value, Secret) for value in values.values())
    assert plain(values["secrets-openai-api-key-version"]) == "planted-openai"
    ring = json.loads(plain(values["secrets-jwt-keys-version"]))
    assert (ring["active"], sorted(ring["keys"])) == ("g1", ["g1", "g2"])
    assert "planted" not in json.dumps(graph.to_json())


def test_tasks_get_one_version_of_the_whole_value(planned_program: Planned) -> None:
    (address,) = planned_program(program(), known=True).outputs["refs"].values()
    # After the secret's ARN: the key in its JSON, the stage and the version, of which the first two are empty.
    arn = "arn:aws:secretsmanager:eu-central-1:123456789012:secret:secrets-jwt-keys-AbCdEf"
    assert plain(address) == f"{arn}:::00000000-0000-4000-8000-000000000001"


def test_the_version_before_stays_for_a_rollback(planned_program: Planned) -> None:
    (version,) = planned_program(program()).of_type(VERSION)
    assert version.registration.retain_on_delete is True


def test_names_do_not_come_back_while_a_deleted_secret_waits(planned_program: Planned) -> None:
    (secret,) = planned_program(program(), stack="staging").of_type(SECRET)
    assert "name" not in secret.inputs
    assert secret.inputs["namePrefix"] == "slipway-staging-jwt-keys-"


def test_key_and_recovery_window_are_choices(planned_program: Planned) -> None:
    (secret,) = planned_program(program()).of_type(SECRET)
    assert secret.inputs["recoveryWindowInDays"] == 30
    assert "kmsKeyId" not in secret.inputs
    (secret,) = planned_program(program(more=", key='arn:key', recovery_window=0")).of_type(SECRET)
    assert (secret.inputs["recoveryWindowInDays"], secret.inputs["kmsKeyId"]) == (0, "arn:key")


def test_a_given_signing_key_takes_the_place_of_the_ring(planned_program: Planned) -> None:
    graph = planned_program(program(given="{'JWT_SECRET': 'x'}"))
    assert not graph.of_type(KEY)
    assert [r.name for r in graph.of_type(SECRET)] == ["secrets-jwt-secret"]


@pytest.mark.parametrize("generation", [1, 2, 7])
def test_a_step_of_the_signing_key_adds_one_and_drops_one(planned_program: Planned, generation: int) -> None:
    def keys(at: int) -> dict[str, Any]:
        return {r.name: dict(r.inputs) for r in planned_program(program(generation=at)).of_type(KEY)}

    before, after = keys(generation), keys(generation + 1)
    assert set(after) - set(before) == {f"secrets-jwt-g{generation + 2}"}
    assert set(before) - set(after) == ({f"secrets-jwt-g{generation - 1}"} if generation > 1 else set())
    assert all(before[name] == after[name] for name in set(before) & set(after))


def test_a_floor_drops_the_compromised_key(planned_program: Planned) -> None:
    names = [r.name for r in planned_program(program(generation=3, floor=3)).of_type(KEY)]
    assert names == ["secrets-jwt-g3", "secrets-jwt-g4"]


# -- in the whole stack


@pytest.mark.parametrize("stack", ["prod", "staging"])
@pytest.mark.parametrize(("key", "slots"), [("db", "postgres-app"), ("redis", "redis-app")])
@pytest.mark.parametrize("generation", [1, 4])
def test_a_step_of_a_login_renews_the_idle_slot_alone(
    planned: Planned, stack: str, key: str, slots: str, generation: int
) -> None:
    def passwords(at: int) -> dict[str, Any]:
        return {r.name: dict(r.inputs) for r in planned(stack, rotation={key: at}).of_type(PASSWORD)}

    before, after = passwords(generation), passwords(generation + 1)
    idle = "b" if generation % 2 == 0 else "a"
    assert {name for name in before if before[name] != after[name]} == {f"{slots}-{idle}-password"}
    assert set(before) == set(after)


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
@pytest.mark.parametrize("stack", ["prod", "staging"])
def test_no_secret_shows_in_the_plan(planned_aws: Planned, stack: str, known: bool) -> None:
    webhooks = "whsec_cGxhbnRlZC13ZWJob29rLXNlY3JldA=="
    keys = {"replicate_api_key": "planted-replicate", "openai_api_key": "planted-openai"}
    graph = planned_aws(stack, known=known, secrets={**keys, "webhook_secret_replicate": webhooks})
    text = json.dumps(graph.to_json())
    assert "planted" not in text
    assert webhooks not in text
    if known:
        stored = {r.name: plain(r.inputs["secretString"]) for r in graph.of_type(VERSION)}
        assert stored["secrets-openai-api-key-version"] == "planted-openai"
        assert stored["secrets-webhook-secret-replicate-version"] == webhooks


@pytest.mark.parametrize("stack", ["prod", "staging"])
def test_containers_get_addresses_of_pinned_versions(planned_aws: Planned, stack: str) -> None:
    graph = planned_aws(stack, known=True)
    definitions = graph.of_type(TASK)
    assert len(definitions) >= 4
    for definition in definitions:
        for container in json.loads(definition.inputs["containerDefinitions"]):
            for secret in container.get("secrets", []):
                arn = secret["valueFrom"].split(":")
                assert arn[:3] == ["arn", "aws", "secretsmanager"], secret
                if secret["name"] != "BOOTSTRAP_MASTER":  # RDS renews it by itself, and its task reads it once
                    assert arn[-1], f"{secret['name']} of {definition.name} is not pinned"


def test_the_master_password_reaches_the_bootstrap_task_alone(planned_aws: Planned) -> None:
    graph = planned_aws("prod", known=True)
    readers = {
        definition.name
        for definition in graph.of_type(TASK)
        if "BOOTSTRAP_MASTER" in definition.inputs["containerDefinitions"]
    }
    assert readers == {"preparation-bootstrap-task"}
