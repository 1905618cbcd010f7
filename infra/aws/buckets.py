"""What every bucket of the stack has."""

from __future__ import annotations

from typing import Final

import pulumi

from infra.aws.iam import Statement

NOT_PUBLIC: Final = {
    "block_public_acls": True,
    "block_public_policy": True,
    "ignore_public_acls": True,
    "restrict_public_buckets": True,
}
"""Of a bucket's public access block."""
OWNER_ENFORCED: Final = {"object_ownership": "BucketOwnerEnforced"}
"""Of a bucket's ownership controls: no access control lists."""


def tls_only(bucket_arn: pulumi.Input[str]) -> Statement:
    """Refuses every request to a bucket that comes without TLS."""
    return Statement(
        sid="TlsOnly",
        effect="Deny",
        principal="*",
        actions=("s3:*",),
        resources=(bucket_arn, pulumi.Output.concat(bucket_arn, "/*")),
        conditions={"Bool": {"aws:SecureTransport": "false"}},
    )
