"""Where dumps are kept, and the copy of each in another region that S3 itself makes."""

from __future__ import annotations

from typing import Any, Final

import pulumi
import pulumi_aws as aws

from infra.aws.buckets import NOT_PUBLIC, OWNER_ENFORCED, tls_only
from infra.aws.iam import Statement, policy, service_trust
from infra.aws.naming import description, hyphenated_prefix
from infra.aws.roles import role_with_policy
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

    def part(suffix: str, resource: Any, properties: dict[str, Any], **options: Any) -> Any:
        return owner.inner(f"{role}-{suffix}", resource, {**there, "bucket": made.id, **properties}, **options)

    owned = part("ownership", aws.s3.BucketOwnershipControls, {"rule": OWNER_ENFORCED})
    closed = part("access", aws.s3.BucketPublicAccessBlock, NOT_PUBLIC)
    encrypted = part(
        "encryption",
        aws.s3.BucketServerSideEncryptionConfiguration,
        {"rules": [{"apply_server_side_encryption_by_default": default, "bucket_key_enabled": True}]},
    )
    versions = part("versions", aws.s3.BucketVersioning, {"versioning_configuration": {"status": "Enabled"}})
    aged = part(
        "lifecycle",
        aws.s3.BucketLifecycleConfiguration,
        {"rules": [_lifecycle(retention_days)]},
        # S3 refuses rules about old versions before there can be any.
        depends_on=[versions],
    )
    governed = part(
        "policy",
        aws.s3.BucketPolicy,
        {"policy": policy(tls_only(made.arn), _recent_tls(made.arn))},
        # Both change the bucket's policy state; at the same time one of them fails.
        depends_on=[closed],
    )
    return made, [owned, closed, encrypted, versions, aged, governed]


def copies(
    owner: Component,
    *,
    region: str,
    of: aws.s3.Bucket,
    settled: list[pulumi.Resource],
    neighbour_arn: pulumi.Input[str],
    retention_days: int,
    protect: bool,
) -> list[pulumi.Resource]:
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
    copying = owner.inner(
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
    return [copying]


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
