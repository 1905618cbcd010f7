"""The way into the account."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from infra.settings import Settings


def aws_provider(settings: Settings) -> aws.Provider:
    """The provider of the stack's region. Every resource gets the stack's tags; with `settings.account` a run with the
    credentials of another account stops before it changes anything."""
    return aws.Provider(
        "aws",
        region=region(settings),
        allowed_account_ids=[settings.account] if settings.account else None,
        default_tags={"tags": {**settings.tags, **stack_tags(settings)}},
        opts=pulumi.ResourceOptions(),
    )


def stack_tags(settings: Settings) -> dict[str, str]:
    """The tags by which the stack's resources are found; no tag of the user's takes their place."""
    return {"project": settings.project, "stack": settings.stack, "managed-by": "pulumi"}


def region(settings: Settings) -> str:
    """The stack's region; ValueError without one, which the settings refuse first with a better message."""
    if settings.region is None:
        raise ValueError("the AWS target needs a region")
    return settings.region
