"""The application image and where it is kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import pulumi
import pulumi_aws as aws

from infra import contracts
from infra.aws.naming import partition
from infra.component import Component, ComponentArgs

Architecture = Literal["arm64", "x86_64"]

PLATFORM: Final = {"arm64": "linux/arm64", "x86_64": "linux/amd64"}
TRIAL_PREFIX: Final = "pr-"
"""Tags of images that CI builds for pull requests: the only tagged ones that run out."""
_TRIAL_DAYS: Final = 14
_UNTAGGED_DAYS: Final = 14

_DIGEST: Final = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")
_ECR: Final = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.amazonaws\.com/(?P<name>[^@]+)@sha256:[0-9a-f]{64}"
)


@dataclass(frozen=True, kw_only=True)
class Build:
    """An image to build where the program runs, with Docker. Paths are relative to the program's folder, so that a plan
    is the same on every machine."""

    context: str
    dockerfile: str
    tag: str
    """Names what is in it. The repository takes a tag once: other content needs another tag."""
    architecture: Architecture


@dataclass(frozen=True, kw_only=True)
class ImageArgs(ComponentArgs):
    """Exactly one of `reference` and `build`."""

    reference: str | None = None
    """An image that CI has built: ``repository@sha256:...``."""
    build: Build | None = None
    key: pulumi.Input[str] | None = None
    """KMS key of the repository; None: the one that AWS manages for ECR."""

    def __post_init__(self) -> None:
        if (self.reference is None) == (self.build is None):
            raise ValueError("an image is either built or given by its digest: set exactly one of build and reference")
        if self.reference is not None and not _DIGEST.fullmatch(self.reference):
            raise ValueError(f"{self.reference} is no digest: give repository@sha256:<64 hexadecimal digits>")


class Image(Component):
    """The repository, and the image that everything runs, by digest.

    Creates: an ECR repository with immutable tags, a scan of each push and a lifecycle policy; with `build` the image
    itself, built and pushed where the program runs. The repository is there with a given `reference` too: CI pushes to
    it, and a stack can go from one to the other. Costs: 0.10 USD a GB and month. Exports: `contract`, `repository_arn`
    of the repository that the image comes from, and `repository_url` to push to. Replaces: another `key` the
    repository, with its images; another image nothing but what runs it.
    """

    contract: contracts.Image
    repository_arn: pulumi.Output[str]
    """For the execution role: what it may pull from."""
    repository_url: pulumi.Output[str]

    def __init__(self, name: str, args: ImageArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:Image", name, opts, args.transforms)
        repository = self.inner(
            "repository",
            aws.ecr.Repository,
            {
                "image_tag_mutability": "IMMUTABLE",
                "image_scanning_configuration": {"scan_on_push": True},
                "encryption_configurations": [_encryption(args.key)],
                "force_delete": False,
            },
        )
        self.inner(
            "lifecycle",
            aws.ecr.LifecyclePolicy,
            {
                "repository": repository.name,
                "policy": pulumi.Output.json_dumps(lifecycle(built=args.build is not None)),
            },
        )
        self.repository_url = repository.repository_url
        self.repository_arn = repository.arn
        if args.build is not None:
            self.contract = contracts.Image(reference=self._built(repository, args.build))
        else:
            assert args.reference is not None
            self.contract = contracts.Image(reference=args.reference)
            if origin := ecr_arn(args.reference):
                self.repository_arn = pulumi.Output.from_input(origin)
        self.finish({"reference": self.contract.reference, "repository_url": self.repository_url})

    def _built(self, repository: aws.ecr.Repository, build: Build) -> pulumi.Output[str]:
        import pulumi_docker as docker  # a stack with a given digest needs neither Docker nor its provider

        # Asked for only once the repository is known, so that a plan asks nobody.
        login = aws.ecr.get_authorization_token_output(
            registry_id=repository.registry_id, opts=pulumi.InvokeOutputOptions(parent=self)
        )
        image = self.inner(
            "build",
            docker.Image,
            {
                "image_name": pulumi.Output.concat(repository.repository_url, ":", build.tag),
                "build": {
                    "context": build.context,
                    "dockerfile": build.dockerfile,
                    "platform": PLATFORM[build.architecture],
                },
                "registry": {
                    "server": repository.repository_url,
                    "username": login.user_name,
                    "password": pulumi.Output.secret(login.password),
                },
            },
        )
        return image.repo_digest


def lifecycle(*, built: bool) -> dict[str, Any]:
    """What runs out. Rules count age and number, never use, so that none may reach an image that could be running.

    Trial images never run in a stack. An image without a tag is left from a failed push where this program builds, and
    tags; CI may push by digest alone, and then nothing without a tag may go.
    """
    trials = {"tagStatus": "tagged", "tagPrefixList": [TRIAL_PREFIX]}
    rules = [_expiry(1, f"Images of pull requests, after {_TRIAL_DAYS} days", trials, days=_TRIAL_DAYS)]
    if built:
        remains = f"Remains of failed pushes, after {_UNTAGGED_DAYS} days"
        rules.append(_expiry(2, remains, {"tagStatus": "untagged"}, days=_UNTAGGED_DAYS))
    return {"rules": rules}


def _expiry(priority: int, description: str, images: Mapping[str, Any], *, days: int) -> dict[str, Any]:
    age = {"countType": "sinceImagePushed", "countUnit": "days", "countNumber": days}
    return {
        "rulePriority": priority,
        "description": description,
        "selection": {**images, **age},
        "action": {"type": "expire"},
    }


def ecr_arn(reference: str) -> str | None:
    """The ARN of the ECR repository that an image comes from; None for another registry."""
    found = _ECR.fullmatch(reference)
    if found is None:
        return None
    return f"arn:{partition(found['region'])}:ecr:{found['region']}:{found['account']}:repository/{found['name']}"


def _encryption(key: pulumi.Input[str] | None) -> dict[str, Any]:
    return {"encryption_type": "AES256"} if key is None else {"encryption_type": "KMS", "kms_key": key}
