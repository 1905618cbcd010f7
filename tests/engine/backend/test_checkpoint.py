from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.engine.errors import StateError
from infra.engine.state.checkpoint import ENGINE_VERSION, Checkpoint, magic, timestamp
from infra.engine.state.crypto import PassphraseSecretsManager
from infra.engine.state.snapshot import PendingOperation, ResourceState, Snapshot
from infra.engine.values import BLINDED, UNKNOWN, Secret

_TIME = re.compile(rb'"time":"[^"]*"')
STACK_URN = "urn:pulumi:dev::demo::pulumi:pulumi:Stack::demo-dev"


def load(content: bytes, secrets: PassphraseSecretsManager | None) -> tuple[Checkpoint, Snapshot]:
    checkpoint = Checkpoint(project="demo", stack="dev")
    return checkpoint, checkpoint.decode(content, open_secrets=lambda _: secrets)


def resource(name: str, **values: Any) -> ResourceState:
    return ResourceState(
        urn=f"urn:pulumi:dev::demo::demo:index:Thing::{name}", type="demo:index:Thing", custom=True, **values
    )


def round_trip(snapshot: Snapshot, secrets: PassphraseSecretsManager) -> Snapshot:
    content = Checkpoint(project="demo", stack="dev").encode(snapshot, secrets)
    return load(content, secrets)[1]


def test_what_the_cli_wrote_comes_back_byte_for_byte(recorded: bytes, secrets: PassphraseSecretsManager) -> None:
    checkpoint, snapshot = load(recorded, secrets)
    again = checkpoint.encode(snapshot, secrets)
    assert _TIME.sub(b"", again, count=1) == _TIME.sub(b"", recorded, count=1)


def test_values_are_read_with_their_marks(recorded: bytes, secrets: PassphraseSecretsManager) -> None:
    _, snapshot = load(recorded, secrets)
    assert snapshot.outputs["greeting"] == "hello <you> & all"
    key = snapshot.outputs["key"]
    assert isinstance(key, Secret)
    assert len(key.value) == 24
    paper = next(r for r in snapshot.resources if r.urn.endswith("::paper"))
    assert paper.inputs["list"] == Secret([1, 2.5, {"inner": key.value}, None, True])
    assert paper.protect
    assert paper.custom_timeouts == {"create": 90}
    slip = next(r for r in snapshot.resources if r.urn.endswith("::slip"))
    assert slip.retain_on_delete
    assert slip.extra["replacementTrigger"] == Secret("one")
    assert slip.extra["resourceHooks"] == {"AfterCreate": ["after"]}
    assert slip.additional_secret_outputs == ["big"]


def test_without_secrets_they_are_blinded(recorded: bytes) -> None:
    _, snapshot = load(recorded, None)
    assert snapshot.outputs["key"] == Secret(BLINDED)


def test_an_unchanged_secret_keeps_its_ciphertext_and_a_changed_one_does_not(
    recorded: bytes, secrets: PassphraseSecretsManager
) -> None:
    checkpoint, snapshot = load(recorded, secrets)
    snapshot.resources[0].outputs["key"] = Secret("new")
    before, after = json.loads(recorded), json.loads(checkpoint.encode(snapshot, secrets))
    old, new = (d["checkpoint"]["latest"]["resources"][0]["outputs"] for d in (before, after))
    assert new["key"] != old["key"]
    assert new["nested"] == old["nested"]


def test_equal_secrets_in_two_places_have_different_ciphertexts(secrets: PassphraseSecretsManager) -> None:
    snapshot = Snapshot(
        stack="dev", project="demo", resources=[resource("a", inputs={"x": Secret("s"), "y": Secret("s")})]
    )
    inputs = json.loads(Checkpoint(project="demo", stack="dev").encode(snapshot, secrets))["checkpoint"]["latest"][
        "resources"
    ][0]["inputs"]
    assert inputs["x"]["ciphertext"] != inputs["y"]["ciphertext"]


def test_a_changed_salt_encrypts_everything_anew(recorded: bytes, secrets: PassphraseSecretsManager) -> None:
    checkpoint, snapshot = load(recorded, secrets)
    other = PassphraseSecretsManager.create("another")
    content = checkpoint.encode(snapshot, other)
    assert load(content, other)[1].resources == snapshot.resources


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        "text",
        3,
        -2.5,
        1e300,
        math.inf,
        [],
        {},
        [1, [None, {"a": "b"}]],
        UNKNOWN,
        Secret("s"),
        Secret(None),
        Secret({"a": [1, Secret("inner"), UNKNOWN, math.inf]}),
        {"deep": [Secret(1), UNKNOWN]},
        "  <&>",
        {"4dabf18193072939515e22adb298388d": "c44067f5952c0a294b673a41bacd8c17", "text": "an asset"},
    ],
)
def test_every_kind_of_value_survives(value: Any, secrets: PassphraseSecretsManager) -> None:
    snapshot = Snapshot(stack="dev", project="demo", resources=[resource("a", id="1", outputs={"value": value})])
    assert round_trip(snapshot, secrets).resources == snapshot.resources


def test_not_a_number_survives(secrets: PassphraseSecretsManager) -> None:
    snapshot = Snapshot(stack="dev", project="demo", resources=[resource("a", outputs={"value": math.nan})])
    assert math.isnan(round_trip(snapshot, secrets).resources[0].outputs["value"])


def test_secrets_do_not_stand_in_the_text(secrets: PassphraseSecretsManager) -> None:
    snapshot = Snapshot(
        stack="dev",
        project="demo",
        resources=[
            resource(
                "a", inputs={"list": [{"x": Secret("swordfish")}]}, extra={"replacementTrigger": Secret("swordfish")}
            )
        ],
        pending=[PendingOperation(resource=resource("b", inputs={"x": Secret("swordfish")}), kind="creating")],
    )
    assert b"swordfish" not in Checkpoint(project="demo", stack="dev").encode(snapshot, secrets)


def test_pending_operations_and_replaced_resources_survive_beside_the_live_one(
    secrets: PassphraseSecretsManager,
) -> None:
    states = [
        resource("a", id="2", outputs={"x": Secret("new")}),
        resource("a", id="1", outputs={"x": Secret("old")}, delete=True),
    ]
    pending = [PendingOperation(resource=resource("a", id="2", outputs={"x": Secret("pending")}), kind="updating")]
    snapshot = Snapshot(stack="dev", project="demo", resources=states, pending=pending)
    again = round_trip(snapshot, secrets)
    assert again.resources == states
    assert again.pending == pending


def test_whole_floats_are_written_as_go_writes_them(secrets: PassphraseSecretsManager) -> None:
    snapshot = Snapshot(stack="dev", project="demo", resources=[resource("a", inputs={"n": 2.0, "m": 2.5})])
    assert b'"inputs":{"m":2.5,"n":2}' in Checkpoint(project="demo", stack="dev").encode(snapshot, secrets)


def test_unknown_fields_are_kept_everywhere(recorded: bytes, secrets: PassphraseSecretsManager) -> None:
    document = json.loads(recorded)
    latest = document["checkpoint"]["latest"]
    latest["resources"][0]["futureField"] = {"a": 1}
    latest["futureField"] = [1, 2]
    latest["manifest"]["plugins"] = [{"name": "random", "path": "", "type": "resource", "version": "4.21.4"}]
    latest["metadata"] = {"integrity_error": {"version": "v3"}}
    document["checkpoint"]["config"] = {"demo:a": "b"}
    checkpoint, snapshot = load(json.dumps(document).encode(), secrets)
    again = json.loads(checkpoint.encode(snapshot, secrets))
    document["checkpoint"]["latest"]["manifest"]["time"] = again["checkpoint"]["latest"]["manifest"]["time"]
    assert again == document


def test_features_follow_from_the_fields_in_use(secrets: PassphraseSecretsManager) -> None:
    def written(**values: Any) -> Mapping[str, Any]:
        snapshot = Snapshot(stack="dev", project="demo", resources=[resource("a", **values)])
        document: Mapping[str, Any] = json.loads(Checkpoint(project="demo", stack="dev").encode(snapshot, secrets))
        return document

    assert written()["version"] == 3
    assert "features" not in written()
    hooked = written(extra={"resourceHooks": {"beforeCreate": ["h"]}, "taint": True})
    assert (hooked["version"], hooked["features"]) == (4, ["hooks", "taint"])
    byte_string = {"4dabf18193072939515e22adb298388d": "803fd3297a5875dc03ca845dda5d2a98", "value": "/w=="}
    assert written(inputs={"x": Secret([byte_string])})["features"] == ["byteString"]


def test_an_empty_stack_has_no_resources(secrets: PassphraseSecretsManager) -> None:
    empty = Snapshot(stack="dev", project="demo")
    assert round_trip(empty, secrets) == empty
    no_update_yet = b'{"version":3,"checkpoint":{"stack":"organization/demo/dev"}}'
    assert load(no_update_yet, secrets)[1] == empty


def test_magic_is_that_of_the_recorded_manifest(recorded: bytes) -> None:
    manifest = json.loads(recorded)["checkpoint"]["latest"]["manifest"]
    assert manifest["version"] == ENGINE_VERSION
    assert magic(manifest["version"]) == manifest["magic"]


def test_times_read_as_go_writes_them() -> None:
    assert timestamp(datetime(2026, 1, 2, 3, 4, 5, 120_000, UTC)) == "2026-01-02T03:04:05.12Z"
    assert timestamp(datetime(2026, 1, 2, 3, 4, 5, 0, UTC)) == "2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "not valid JSON"),
        (b'{"version":3,"checkpo', "not valid JSON"),
        (b"[]", "not a checkpoint"),
        (b'{"version":3,"checkpoint":7}', "not a checkpoint"),
        (b'{"version":3}', "checkpoint version is 3"),
        (b'{"version":5,"checkpoint":{}}', "checkpoint version is 5"),
        (b'{"version":1,"checkpoint":{}}', "a very old one"),
        (b'{"checkpoint":{}}', "checkpoint version is None"),
        (b'{"version":4,"features":["hooks","telepathy"],"checkpoint":{}}', "it uses telepathy"),
        (b'{"version":3,"checkpoint":{"latest":{"resources":[7]}}}', "not a checkpoint"),
        (b'{"version":3,"checkpoint":{"latest":{"resources":[{"urn":"u"}]}}}', "not a checkpoint"),
    ],
)
def test_what_cannot_be_read_is_refused(content: bytes, told: str, secrets: PassphraseSecretsManager) -> None:
    with pytest.raises(StateError, match=told):
        load(content, secrets)
