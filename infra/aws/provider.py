"""The way into the account."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from infra.settings import Settings


def aws_provider(settings: Settings) -> aws.Provider:
    """The provider of the stack's region. Every resource gets the stack's tags; with `settings.account` a run with the
    credentials of another account stops before it changes anything."""
    if settings.region is None:
        raise ValueError("the AWS target needs a region")  # the settings refuse this with a better message
    return aws.Provider(
        "aws",
        region=settings.region,
        allowed_account_ids=[settings.account] if settings.account else None,
        default_tags={"tags": {**settings.tags, **stack_tags(settings)}},
        opts=pulumi.ResourceOptions(),
    )


def stack_tags(settings: Settings) -> dict[str, str]:
    """The tags by which the stack's resources are found; no tag of the user's takes their place."""
    return {"project": settings.project, "stack": settings.stack, "managed-by": "pulumi"}
