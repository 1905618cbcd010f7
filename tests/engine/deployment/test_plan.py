"""The plan: the graph of any stack with no provider at hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from infra.engine.errors import EngineError
from infra.engine.fakes import DeclaredFakes
from infra.engine.program.runner import ProgramError

AWS = """
import pulumi_random
class Foreign(pulumi.CustomResource):
    arn: pulumi.Output[str]
    def __init__(self, name, opts=None, **props):
        super().__init__("aws:s3/bucket:Bucket", name, {"arn": None, **props}, opts)
bucket = Foreign("bucket", label="b", opts=Opts(protect=True, retain_on_delete=True))
policy = Foreign("policy", of=bucket.arn, text=bucket.arn.apply(lambda arn: f"allow {arn}"))
password = pulumi_random.RandomPassword("password", length=20)
pulumi.export("arn", bucket.arn)
pulumi.export("password", password.result)
"""


def test_records_a_stack_of_packages_that_are_not_there(stack: Any) -> None:
    made = stack.program(AWS).plan().to_json()
    assert set(made) == {"stack", "resources", "outputs"}
    assert [resource["name"] for resource in made["resources"]] == ["proj-dev", "bucket", "policy", "password"]
    bucket, policy = made["resources"][1:3]
    assert set(bucket) == {"urn", "type", "name", "parent", "inputs", "dependencies", "options"}
    assert bucket["options"] == {"protect": True, "retainOnDelete": True}
    assert bucket["parent"] == "urn:pulumi:dev::proj::pulumi:pulumi:Stack::proj-dev"
    assert policy["dependencies"] == [bucket["urn"]]
    assert policy["options"]["propertyDependencies"] == {"of": [bucket["urn"]], "text": [bucket["urn"]]}
    assert policy["inputs"] == {"of": "[unknown]", "text": "[unknown]"}
    assert made["outputs"] == {"arn": "[unknown]", "password": "[secret]"}
    json.dumps(made)


def test_is_the_same_every_time(stack: Any) -> None:
    stack.program(AWS)
    first = json.dumps(stack.plan().to_json())
    assert all(json.dumps(stack.plan().to_json()) == first for _ in range(3))


def test_runs_with_known_outputs_too(stack: Any) -> None:
    fakes = DeclaredFakes(overrides={"aws:s3/bucket:Bucket": {"arn": "arn:any"}})
    planned = stack.program(AWS).plan(fakes)
    assert planned.find("aws:s3/bucket:Bucket", "policy").inputs == {"of": "arn:any", "text": "allow arn:any"}
    assert planned.to_json()["outputs"] == {"arn": "arn:any", "password": "[secret]"}
    # Declared by the SDK's class: no override needed.
    password = planned.find("random:index/randomPassword:RandomPassword", "password")
    assert password.outputs["result"].value == "password-result"


def test_functions_of_providers_are_named(stack: Any) -> None:
    source = 'zones = pulumi.runtime.invoke("aws:index/getZones:getZones", {})'
    assert stack.program(source).plan().invokes == ("aws:index/getZones:getZones",)


def test_finding_says_what_there_is(stack: Any) -> None:
    with pytest.raises(KeyError, match="bucket"):
        stack.program(AWS).plan().find("aws:s3/bucket:Bucket", "other")


def test_a_program_error_is_one_message(stack: Any) -> None:
    with pytest.raises(ProgramError, match="NameError"):
        stack.program("nonsense").plan()


def test_a_request_of_an_unknown_kind_is_refused(stack: Any) -> None:
    source = """
    from pulumi.runtime.proto import resource_pb2
    from pulumi.runtime.settings import get_monitor
    get_monitor().RegisterResource(resource_pb2.RegisterResourceRequest(type="a:b:C", name="x", snippetId="s"))
    """
    with pytest.raises(EngineError, match="snippetId"):
        stack.program(source).plan()


def test_the_version_that_a_program_requires_is_checked(stack: Any) -> None:
    stack.program('pulumi.require_pulumi_version(">=3.238.0")').plan()
    with pytest.raises(EngineError, match=">=99"):
        stack.program('pulumi.require_pulumi_version(">=99.0.0 || 1.0.0")').plan()
