"""The tables: every resource type that the emulation knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from emulator.kinds import account, data, ec2, platform
from emulator.mapping import Kind

KINDS: Final[Mapping[str, Kind]] = {
    kind.type: kind for module in (ec2, data, platform, account) for kind in module.KINDS
}

COMPARED: Final = (
    "aws:backup/plan:Plan",
    "aws:elasticache/replicationGroup:ReplicationGroup",
    "aws:elasticache/user:User",
    "aws:lb/loadBalancer:LoadBalancer",
    "aws:lb/targetGroup:TargetGroup",
    "aws:secretsmanager/secretVersion:SecretVersion",
)
"""The types whose `replaces` were compared with the schema in the source of the Terraform provider that Pulumi's is
made from. All others are written from general knowledge of the provider."""
