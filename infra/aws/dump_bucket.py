"""Where dumps are kept."""

from __future__ import annotations

from typing import Any, Final

import pulumi
import pulumi_aws as aws

from infra.aws.iam import Statement, policy, tls_only
from infra.aws.naming import hyphenated_prefix
from infra.component import Component

_LONGEST: Final = 37
"""Characters of a prefix: a bucket's name has 63, of which the provider takes 26."""
_OLD_VERSION_DAYS: Final = 7
"""Days for which an overwritten or deleted dump can be had back."""
_TLS_1_2: Final = "1.2"


def bucket(
    owner: Component,
    *,
    retention_days: int,
    key: pulumi.Input[str] | None,
    protect: bool,
    role: str = "bucket",
    stem: str = "dumps",
    region: str | None = None,
) -> tuple[aws.s3.Bucket, list[pulumi.Resource]]:
    """The bucket: encrypted, versioned, closed to the public, over TLS only, emptied by age. With it what makes it so:
    nothing is to be written before that is done. `region` is another than the stack's."""
    start = bucket_prefix(stem)
    there = {"region": region} if region else {}
    made = owner.inner(role, aws.s3.Bucket, {**there, "bucket_prefix": start, "force_destroy": not protect})
    default = {"sse_algorithm": "aws:kms", "kms_master_key_id": key} if key else {"sse_algorithm": "AES256"}
    owned = owner.inner(
        f"{role}-ownership",
        aws.s3.BucketOwnershipControls,
        {**there, "bucket": made.id, "rule": {"object_ownership": "BucketOwnerEnforced"}},
    )
    closed = owner.inner(
        f"{role}-access",
        aws.s3.BucketPublicAccessBlock,
        {
            **there,
            "bucket": made.id,
            "block_public_acls": True,
            "block_public_policy": True,
            "ignore_public_acls": True,
            "restrict_public_buckets": True,
        },
    )
    encrypted = owner.inner(
        f"{role}-encryption",
        aws.s3.BucketServerSideEncryptionConfiguration,
        {
            **there,
            "bucket": made.id,
            "rules": [{"apply_server_side_encryption_by_default": default, "bucket_key_enabled": True}],
        },
    )
    versions = owner.inner(
        f"{role}-versions",
        aws.s3.BucketVersioning,
        {**there, "bucket": made.id, "versioning_configuration": {"status": "Enabled"}},
    )
    aged = owner.inner(
        f"{role}-lifecycle",
        aws.s3.BucketLifecycleConfiguration,
        {**there, "bucket": made.id, "rules": [_lifecycle(retention_days)]},
        # S3 refuses rules about old versions before there can be any.
        depends_on=[versions],
    )
    governed = owner.inner(
        f"{role}-policy",
        aws.s3.BucketPolicy,
        {**there, "bucket": made.id, "policy": policy(tls_only(made.arn), _recent_tls(made.arn))},
        # Both change the bucket's policy state; at the same time one of them fails.
        depends_on=[closed],
    )
    return made, [owned, closed, encrypted, versions, aged, governed]


def bucket_prefix(stem: str) -> str:
    """What the name of the bucket begins with."""
    return hyphenated_prefix(stem, limit=_LONGEST)


def _lifecycle(days: int) -> dict[str, Any]:
    return {
        "id": "age",
        "status": "Enabled",
        "filter": {"prefix": ""},
        "expiration": {"days": days},
        "noncurrent_version_expiration": {"noncurrent_days": _OLD_VERSION_DAYS},
        "abort_incomplete_multipart_upload": {"days_after_initiation": 1},
    }


def _recent_tls(bucket_arn: pulumi.Input[str]) -> Statement:
    return Statement(
        sid="RecentTlsOnly",
        effect="Deny",
        principal="*",
        actions=("s3:*",),
        resources=(bucket_arn, pulumi.Output.concat(bucket_arn, "/*")),
        conditions={"NumericLessThan": {"s3:TlsVersion": _TLS_1_2}},
    )
