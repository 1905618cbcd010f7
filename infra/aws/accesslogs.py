"""The bucket in which the load balancer writes down every request."""

from __future__ import annotations

import pulumi

from infra.aws.buckets import private_bucket, tls_only
from infra.aws.iam import Statement, place
from infra.component import Component

WRITER = "logdelivery.elasticloadbalancing.amazonaws.com"
PREFIX = "alb"


def access_log_bucket(
    owner: Component, *, retention_days: int, neighbour_arn: pulumi.Input[str], keep: bool
) -> tuple[pulumi.Output[str], pulumi.Resource]:
    """Make the bucket; its name, and the policy without which the balancer refuses to use it.

    `neighbour_arn` is of any resource in the same account. Without `keep` it is deleted with its contents.
    """
    account = pulumi.Output.from_input(neighbour_arn).apply(lambda arn: place(arn).account)

    def writing(bucket_arn: pulumi.Output[str]) -> Statement:
        # Under another account's folder somebody else's balancer could fill this bucket.
        folder = pulumi.Output.concat(bucket_arn, f"/{PREFIX}/AWSLogs/", account, "/*")
        return Statement(sid="Balancer", principal={"Service": WRITER}, actions=("s3:PutObject",), resources=(folder,))

    bucket, parts = private_bucket(
        owner,
        "logs",
        {"force_destroy": not keep},
        statements=lambda arn: (writing(arn), tls_only(arn)),
        # Load balancers cannot write with a KMS key.
        encryption={"apply_server_side_encryption_by_default": {"sse_algorithm": "AES256"}},
        ageing={"id": "expire", "expiration": {"days": retention_days}},
        access_role="closed",
    )
    return bucket.bucket, parts["policy"]
