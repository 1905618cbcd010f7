"""The bucket in which the load balancer writes down every request."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from infra.aws.buckets import NOT_PUBLIC, OWNER_ENFORCED, tls_only
from infra.aws.iam import Statement, place, policy
from infra.component import Component

WRITER = "logdelivery.elasticloadbalancing.amazonaws.com"
PREFIX = "alb"


def access_log_bucket(
    owner: Component, *, retention_days: int, neighbour_arn: pulumi.Input[str], keep: bool
) -> tuple[pulumi.Output[str], pulumi.Resource]:
    """Make the bucket; its name, and the policy without which the balancer refuses to use it.

    `neighbour_arn` is of any resource in the same account. Without `keep` it is deleted with its contents.
    """
    bucket = owner.inner("logs", aws.s3.Bucket, {"force_destroy": not keep})
    closed = owner.inner(
        "logs-closed",
        aws.s3.BucketPublicAccessBlock,
        {"bucket": bucket.id, **NOT_PUBLIC},
    )
    owner.inner(
        "logs-ownership",
        aws.s3.BucketOwnershipControls,
        {"bucket": bucket.id, "rule": OWNER_ENFORCED},
    )
    owner.inner(
        "logs-encryption",
        aws.s3.BucketServerSideEncryptionConfiguration,
        {
            "bucket": bucket.id,
            # Load balancers cannot write with a KMS key.
            "rules": [{"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}}],
        },
    )
    owner.inner(
        "logs-lifecycle",
        aws.s3.BucketLifecycleConfiguration,
        {
            "bucket": bucket.id,
            "rules": [
                {
                    "id": "expire",
                    "status": "Enabled",
                    "filter": {"prefix": ""},
                    "expiration": {"days": retention_days},
                    "abort_incomplete_multipart_upload": {"days_after_initiation": 1},
                }
            ],
        },
    )
    # Under another account's folder somebody else's balancer could fill this bucket.
    account = pulumi.Output.from_input(neighbour_arn).apply(lambda arn: place(arn).account)
    writing = Statement(
        sid="Balancer",
        principal={"Service": WRITER},
        actions=("s3:PutObject",),
        resources=(pulumi.Output.concat(bucket.arn, f"/{PREFIX}/AWSLogs/", account, "/*"),),
    )
    allowed = owner.inner(
        "logs-policy",
        aws.s3.BucketPolicy,
        {"bucket": bucket.id, "policy": policy(writing, tls_only(bucket.arn))},
        # Two changes of one bucket's access at a time: S3 answers the second with a conflict.
        depends_on=[closed],
    )
    return bucket.bucket, allowed
