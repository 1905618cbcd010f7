"""The image by digest, its repository, and a lifecycle that cannot reach what runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from infra.aws.image import Build, ImageArgs, ecr_arn, lifecycle
from infra.engine.plan import Plan
from infra.engine.values import UNKNOWN
from infra.fingerprint import fingerprint

Planned = Callable[..., Plan]

DIGEST = "sha256:" + "ab" * 32
ACCOUNT = "123456789012"
BUILD = "build=Build(context='..', dockerfile='../app/Dockerfile', tag='1.2.0-0a1b', architecture='arm64')"
DOCKER = "docker:index/image:Image"
REPOSITORY = "aws:ecr/repository:Repository"


def program(args: str = BUILD) -> str:
    return (
        "import pulumi\n"
        "from infra.aws.image import Build, Image, ImageArgs\n"
        f"image = Image('image', ImageArgs({args}))\n"
        "pulumi.export('reference', image.contract.reference)\n"
        "pulumi.export('repository_arn', image.repository_arn)\n"
    )


@pytest.mark.parametrize("args", [BUILD, f"reference='ghcr.io/acme/app@{DIGEST}'"], ids=["built", "given"])
def test_the_repository_is_the_same_either_way(planned_program: Planned, args: str) -> None:
    repository = planned_program(program(args)).find(REPOSITORY, "image-repository").inputs
    assert repository["imageTagMutability"] == "IMMUTABLE"
    assert repository["imageScanningConfiguration"] == {"scanOnPush": True}
    assert repository["encryptionConfigurations"] == [{"encryptionType": "AES256"}]
    assert repository["forceDelete"] is False


def test_a_key_encrypts_the_repository(planned_program: Planned) -> None:
    repository = planned_program(program(f"{BUILD}, key='arn:key'")).find(REPOSITORY, "image-repository").inputs
    assert repository["encryptionConfigurations"] == [{"encryptionType": "KMS", "kmsKey": "arn:key"}]


def test_a_built_image_runs_by_its_digest(planned_program: Planned) -> None:
    overrides = {
        REPOSITORY: {
            "repositoryUrl": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app",
            "registryId": "123456789012",
        },
        DOCKER: {"repoDigest": f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/app@{DIGEST}"},
    }
    graph = planned_program(program(), known=True, overrides=overrides)
    build = graph.find(DOCKER, "image-build").inputs
    assert build["imageName"] == "123456789012.dkr.ecr.eu-central-1.amazonaws.com/app:1.2.0-0a1b"
    assert build["build"]["platform"] == "linux/arm64"
    assert graph.outputs["reference"] == f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/app@{DIGEST}"
    # The login to the registry is no less a secret for being short-lived.
    assert "planted" not in json.dumps(graph.to_json())


def test_a_plan_asks_nobody_for_the_registry_login(planned_program: Planned) -> None:
    graph = planned_program(program())
    assert graph.invokes == ()
    assert graph.outputs["reference"] is UNKNOWN


def test_a_given_digest_builds_nothing(planned_program: Planned) -> None:
    reference = f"210987654321.dkr.ecr.us-east-1.amazonaws.com/team/app@{DIGEST}"
    graph = planned_program(program(f"reference='{reference}'"))
    assert not graph.of_type(DOCKER)
    assert graph.outputs["reference"] == reference
    assert graph.outputs["repository_arn"] == "arn:aws:ecr:us-east-1:210987654321:repository/team/app"


@pytest.mark.parametrize(
    ("reference", "arn"),
    [
        (
            f"{ACCOUNT}.dkr.ecr.us-gov-west-1.amazonaws.com/a@{DIGEST}",
            f"arn:aws-us-gov:ecr:us-gov-west-1:{ACCOUNT}:repository/a",
        ),
        (f"ghcr.io/acme/app@{DIGEST}", None),
        (f"public.ecr.aws/acme/app@{DIGEST}", None),
    ],
)
def test_where_an_image_comes_from(reference: str, arn: str | None) -> None:
    assert ecr_arn(reference) == arn


def test_an_image_is_built_or_given_never_both() -> None:
    build = Build(context=".", dockerfile="Dockerfile", tag="1", architecture="arm64")
    for args in ({}, {"build": build, "reference": f"r/a@{DIGEST}"}):
        with pytest.raises(ValueError, match="exactly one of build and reference"):
            ImageArgs(**args)
    with pytest.raises(ValueError, match="is no digest"):
        ImageArgs(reference="ghcr.io/acme/app:latest")


# -- lifecycle, by the rules of ECR: a rule takes images by tag and age or count, and an image falls to one rule at most


def expired(policy: Mapping[str, Any], *, tags: list[str], age: int) -> bool:
    """Whether an image with these tags goes at that age in days."""
    for rule in sorted(policy["rules"], key=lambda rule: rule["rulePriority"]):
        selection = rule["selection"]
        assert selection["countType"] == "sinceImagePushed", "a count takes images however young they are"
        if selection["tagStatus"] == "untagged":
            matches = not tags
        else:
            # An image falls to a rule only when it has a tag for each of its prefixes.
            matches = all(any(tag.startswith(prefix) for tag in tags) for prefix in selection["tagPrefixList"])
        if matches:
            return bool(age > selection["countNumber"])
    return False


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("age", [1, 100, 10_000])
def test_what_a_stack_can_run_never_expires(built: bool, age: int) -> None:
    assert not expired(lifecycle(built=built), tags=["1.2.0-0a1b2c3d4e5f6071"], age=age)
    assert not expired(lifecycle(built=built), tags=["main-4f2a"], age=age)
    if not built:
        # CI may push by digest alone: what runs then has no tag.
        assert not expired(lifecycle(built=False), tags=[], age=age)


def test_trial_images_and_remains_of_pushes_expire() -> None:
    assert expired(lifecycle(built=True), tags=["pr-17"], age=15)
    assert not expired(lifecycle(built=True), tags=["pr-17"], age=13)
    assert expired(lifecycle(built=True), tags=[], age=15)


def test_the_policy_is_what_the_repository_gets(planned_program: Planned) -> None:
    graph = planned_program(program())
    policy = graph.find("aws:ecr/lifecyclePolicy:LifecyclePolicy", "image-lifecycle").inputs["policy"]
    assert json.loads(policy) == lifecycle(built=True)


# -- tags


def test_another_content_is_another_tag(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "main.py").write_text("print(1)")
    sources = [folder, tmp_path / "requirements.txt"]
    first = fingerprint(sources, root=tmp_path)
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "main.pyc").write_bytes(b"x")
    assert fingerprint(sources, root=tmp_path) == first
    (tmp_path / "requirements.txt").write_text("starlette")
    second = fingerprint(sources, root=tmp_path)
    (folder / "main.py").rename(folder / "other.py")
    assert len({first, second, fingerprint(sources, root=tmp_path)}) == 3


def test_the_stack_takes_the_image_that_ci_gives(planned_aws: Planned) -> None:
    reference = f"123456789012.dkr.ecr.eu-central-1.amazonaws.com/app@{DIGEST}"
    graph = planned_aws("prod", known=True, image={"reference": reference})
    assert not graph.of_type(DOCKER)
    for definition in graph.of_type("aws:ecs/taskDefinition:TaskDefinition"):
        images = {container["image"] for container in json.loads(definition.inputs["containerDefinitions"])}
        assert reference in images
        assert not [image for image in images if image.endswith(":latest")]
