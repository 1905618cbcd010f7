"""A bucket of the stack: closed to the public, without access control lists, encrypted, emptied by age."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import pulumi
import pulumi_aws as aws

from infra.aws.iam import Statement, policy
from infra.component import Component

_NOT_PUBLIC: Final = {
    "block_public_acls": True,
    "block_public_policy": True,
    "ignore_public_acls": True,
    "restrict_public_buckets": True,
}


def private_bucket(
    owner: Component,
    role: str,
    properties: Mapping[str, Any],
    *,
    statements: Callable[[pulumi.Output[str]], Sequence[Statement]],
    encryption: Mapping[str, Any],
    ageing: Mapping[str, Any],
    versioned: bool = False,
    access_role: str = "access",
    region: str | None = None,
) -> tuple[aws.s3.Bucket, dict[str, pulumi.Resource]]:
    """Make the bucket, and what makes it private, by the ends of their roles: nothing is to be written before that is
    done. `statements` are those of its policy, by its ARN; `ageing` is of its lifecycle rule; `region` is another than
    the stack's."""
    there = {"region": region} if region else {}
    made = owner.inner(role, aws.s3.Bucket, {**there, **properties})
    parts: dict[str, pulumi.Resource] = {}

    def part(suffix: str, kind: Callable[..., pulumi.Resource], properties: Mapping[str, Any], *after: str) -> None:
        first = [parts[name] for name in after]
        parts[suffix] = owner.inner(
            f"{role}-{suffix}", kind, {**there, "bucket": made.id, **properties}, depends_on=first
        )

    part("ownership", aws.s3.BucketOwnershipControls, {"rule": {"object_ownership": "BucketOwnerEnforced"}})
    part(access_role, aws.s3.BucketPublicAccessBlock, _NOT_PUBLIC)
    part("encryption", aws.s3.BucketServerSideEncryptionConfiguration, {"rules": [encryption]})
    if versioned:
        part("versions", aws.s3.BucketVersioning, {"versioning_configuration": {"status": "Enabled"}})
    rule = {
        "status": "Enabled",
        "filter": {"prefix": ""},
        "abort_incomplete_multipart_upload": {"days_after_initiation": 1},
        **ageing,
    }
    # S3 refuses rules about old versions before there can be any.
    part("lifecycle", aws.s3.BucketLifecycleConfiguration, {"rules": [rule]}, *(["versions"] if versioned else []))
    # Two changes of one bucket's access at a time: S3 answers the second with a conflict.
    part("policy", aws.s3.BucketPolicy, {"policy": policy(*statements(made.arn))}, access_role)
    return made, parts


def tls_only(bucket_arn: pulumi.Input[str]) -> Statement:
    """Refuses every request to a bucket that comes without TLS."""
    return _refusal("TlsOnly", bucket_arn, {"Bool": {"aws:SecureTransport": "false"}})


def recent_tls_only(bucket_arn: pulumi.Input[str]) -> Statement:
    """Refuses TLS before 1.2."""
    return _refusal("RecentTlsOnly", bucket_arn, {"NumericLessThan": {"s3:TlsVersion": "1.2"}})


def _refusal(sid: str, bucket_arn: pulumi.Input[str], conditions: Mapping[str, Mapping[str, str]]) -> Statement:
    return Statement(
        sid=sid,
        effect="Deny",
        principal="*",
        actions=("s3:*",),
        resources=(bucket_arn, pulumi.Output.concat(bucket_arn, "/*")),
        conditions=conditions,
    )
