"""Where dumps are kept, and the copy of each in another region that S3 itself makes."""

from __future__ import annotations

from typing import Final

import pulumi
import pulumi_aws as aws

from infra.aws.buckets import private_bucket, recent_tls_only, tls_only
from infra.aws.iam import Statement, service_trust
from infra.aws.naming import description, hyphenated_prefix
from infra.aws.roles import role_with_policy
from infra.component import Component

_LONGEST: Final = 37
"""Characters of a prefix: a bucket's name has 63, of which the provider takes 26."""
_OLD_VERSION_DAYS: Final = 7
"""Days for which an overwritten or deleted dump can be had back."""


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
    """The bucket, versioned and for recent TLS only. With it what makes it so: nothing is to be written before that is
    done. `region` is another than the stack's."""
    default = {"sse_algorithm": "aws:kms", "kms_master_key_id": key} if key else {"sse_algorithm": "AES256"}
    made, parts = private_bucket(
        owner,
        role,
        {"bucket_prefix": bucket_prefix(stem), "force_destroy": not protect},
        statements=lambda arn: (tls_only(arn), recent_tls_only(arn)),
        encryption={"apply_server_side_encryption_by_default": default, "bucket_key_enabled": True},
        ageing={
            "id": "age",
            "expiration": {"days": retention_days},
            "noncurrent_version_expiration": {"noncurrent_days": _OLD_VERSION_DAYS},
        },
        versioned=True,
        region=region,
    )
    return made, list(parts.values())


def copies(
    owner: Component,
    *,
    region: str,
    of: aws.s3.Bucket,
    settled: list[pulumi.Resource],
    neighbour_arn: pulumi.Input[str],
    retention_days: int,
    protect: bool,
) -> pulumi.Resource:
    """Make a bucket like `of` in `region`, and have S3 write to it what comes into `of` from then on; what to wait for
    before the first dump. `settled` is what makes `of` what it is.

    Deletions are not copied: whoever empties the one bucket leaves the other. Both forget by age.
    """
    to, there = bucket(
        owner, retention_days=retention_days, key=None, protect=protect, role="copy", stem="copies", region=region
    )
    inside, outside = (pulumi.Output.concat(arn, "/*") for arn in (of.arn, to.arn))
    writer, allowed = role_with_policy(
        owner,
        "copy-role",
        # S3's documentation does not promise that replication says for whom it acts.
        service_trust(
            "s3.amazonaws.com",
            neighbour_arn,
            source=f"arn:{{partition}}:s3:::{bucket_prefix('dumps')}*",
            if_sent=True,
        ),
        description("copies dumps to another region"),
        Statement(sid="Look", actions=("s3:GetReplicationConfiguration", "s3:ListBucket"), resources=(of.arn,)),
        Statement(
            sid="Read",
            actions=("s3:GetObjectVersionAcl", "s3:GetObjectVersionForReplication", "s3:GetObjectVersionTagging"),
            resources=(inside,),
        ),
        Statement(sid="Copy", actions=("s3:ReplicateObject", "s3:ReplicateTags"), resources=(outside,)),
    )
    copying: pulumi.Resource = owner.inner(
        "copy-rule",
        aws.s3.BucketReplicationConfig,
        {
            "bucket": of.id,
            "role": writer.arn,
            "rules": [
                {
                    "id": "elsewhere",
                    "status": "Enabled",
                    "priority": 1,
                    "filter": {"prefix": ""},
                    "delete_marker_replication": {"status": "Disabled"},
                    "destination": {"bucket": to.arn, "storage_class": "STANDARD"},
                }
            ],
        },
        # S3 takes the rule only between two buckets that keep versions, and tries the role.
        depends_on=[allowed, *settled, *there],
    )
    return copying


def bucket_prefix(stem: str) -> str:
    """What the name of the bucket begins with."""
    return hyphenated_prefix(stem, limit=_LONGEST)
