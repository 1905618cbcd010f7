"""The `random` package: values of the right form, made once, replaced when what made them changes."""

from __future__ import annotations

import base64
import string
from typing import Any

import bcrypt
import pytest

from infra.engine.values import Secret

PASSWORD = """
import pulumi_random as random
p = random.RandomPassword("p", {args})
pulumi.export("p", p.result)
"""


def password(stack: Any, args: str) -> Any:
    return stack.program(PASSWORD.replace("{args}", args))


def test_a_password_as_the_real_provider_writes_it(stack: Any) -> None:
    result = password(stack, "length=20, special=False, min_numeric=5, min_upper=3").must_up()
    state = stack.state("p")
    text = state.outputs["result"].value
    assert len(text) == 20
    assert sum(c in string.digits for c in text) >= 5
    assert sum(c in string.ascii_uppercase for c in text) >= 3
    assert set(text) <= set(string.ascii_letters + string.digits)
    assert bcrypt.checkpw(text.encode(), state.outputs["bcryptHash"].value.encode())
    assert isinstance(result.outputs["p"], Secret)
    assert state.id == "none"
    shown = {key: value for key, value in state.outputs.items() if not isinstance(value, Secret)}
    assert shown == {
        "id": "none",
        "length": 20,
        "lower": True,
        "upper": True,
        "numeric": True,
        "number": True,
        "special": False,
        "minLower": 0,
        "minUpper": 3,
        "minNumeric": 5,
        "minSpecial": 0,
        "__meta": '{"schema_version":"3"}',
    }


def test_stays_until_what_made_it_changes(stack: Any) -> None:
    password(stack, 'length=20, keepers={"a": "1"}').must_up()
    first = stack.state("p").outputs["result"]
    assert stack.must_up().changes == {"same": 2}
    # Writing a default out changes nothing.
    assert password(stack, 'length=20, upper=True, keepers={"a": "1"}').must_up().changes == {"same": 2}
    assert stack.state("p").outputs["result"] == first
    assert password(stack, 'length=20, keepers={"a": "2"}').must_up().changes == {"replace": 1, "same": 1}
    assert stack.state("p").outputs["result"] != first


def test_special_characters_can_be_chosen(stack: Any) -> None:
    args = 'length=30, lower=False, upper=False, numeric=False, override_special="-_"'
    password(stack, args).must_up()
    assert set(stack.state("p").outputs["result"].value) <= set("-_")


def test_a_password_longer_than_bcrypt_reads(stack: Any) -> None:
    password(stack, "length=100").must_up()
    assert len(stack.state("p").outputs["result"].value) == 100


def test_bytes_are_no_id(stack: Any) -> None:
    stack.program('import pulumi_random as random\nrandom.RandomBytes("b", length=32)').must_up()
    state = stack.state("b")
    raw = base64.b64decode(state.outputs["base64"].value)
    assert len(raw) == 32
    assert state.outputs["hex"] == Secret(raw.hex())
    assert state.id == "none"


def test_an_id(stack: Any) -> None:
    stack.program('import pulumi_random as random\nrandom.RandomId("id", byte_length=4, prefix="x-")').must_up()
    outputs = stack.state("id").outputs
    assert outputs["hex"] == f"x-{base64.urlsafe_b64decode(outputs['id'] + '==').hex()}"
    assert outputs["dec"] == f"x-{int(outputs['hex'][2:], 16)}"
    assert stack.must_up().changes == {"same": 2}


def test_a_kind_that_the_engine_does_not_make_is_named(stack: Any) -> None:
    result = stack.program('import pulumi_random as random\nrandom.RandomUuid("u")').up()
    assert "random:index/randomUuid:RandomUuid" in result.failures[0].message


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ("length=0", "length: is 0; must be a whole number of at least 1"),
        ("length=3, min_numeric=2, min_upper=2", "length: is 3, less than the least numbers need: 4"),
        ("length=3, lower=False, upper=False, numeric=False, special=False", "no characters"),
    ],
)
def test_impossible_inputs_are_refused(stack: Any, args: str, told: str) -> None:
    result = password(stack, args).up()
    assert told in result.failures[0].message


def test_a_stash_keeps_its_first_value(stack: Any) -> None:
    program = 's = pulumi.Stash("s", input={x})\npulumi.export("s", s.output)'
    assert stack.program(program.replace("{x}", '"one"')).must_up().outputs == {"s": "one"}
    result = stack.program(program.replace("{x}", '"two"')).must_up()
    assert result.changes == {"update": 1, "same": 1}
    assert result.outputs == {"s": "one"}
    assert stack.program(program.replace("{x}", 'Output.secret("two")')).must_up().changes == {"same": 2}
