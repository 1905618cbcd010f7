"""A copy of every dump in another region, kept by S3 itself."""

from __future__ import annotations

import pulumi
import pulumi_aws as aws

from infra.aws.dump_bucket import bucket, bucket_prefix
from infra.aws.iam import Statement, policy, service_trust
from infra.aws.naming import description
from infra.component import Component


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
    role = owner.inner(
        "copy-role",
        aws.iam.Role,
        {
            # S3's documentation does not promise that replication says for whom it acts.
            "assume_role_policy": service_trust(
                "s3.amazonaws.com",
                neighbour_arn,
                source=f"arn:{{partition}}:s3:::{bucket_prefix('dumps')}*",
                if_sent=True,
            ),
            "description": description("copies dumps to another region"),
        },
    )
    inside, outside = (pulumi.Output.concat(arn, "/*") for arn in (of.arn, to.arn))
    allowed = owner.inner(
        "copy-role-policy",
        aws.iam.RolePolicy,
        {
            "role": role.id,
            "policy": policy(
                Statement(sid="Look", actions=("s3:GetReplicationConfiguration", "s3:ListBucket"), resources=(of.arn,)),
                Statement(
                    sid="Read",
                    actions=(
                        "s3:GetObjectVersionAcl",
                        "s3:GetObjectVersionForReplication",
                        "s3:GetObjectVersionTagging",
                    ),
                    resources=(inside,),
                ),
                Statement(sid="Copy", actions=("s3:ReplicateObject", "s3:ReplicateTags"), resources=(outside,)),
            ),
        },
    )
    copying = owner.inner(
        "copy-rule",
        aws.s3.BucketReplicationConfig,
        {
            "bucket": of.id,
            "role": role.arn,
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
