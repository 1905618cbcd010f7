"""What an RDS instance is made of, as data: its arguments, its parameters, and where its first data comes from."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import pulumi

from infra.component import ComponentArgs
from infra.rotation import Slots, slots
from infra.settings.units import milliseconds

ENGINE: Final = "postgres"
MASTER: Final = "slipway_master"
"""The master user, which nothing but the bootstrap task uses. `postgres` and `admin` are what is guessed first."""
LOGS: Final = ("postgresql", "upgrade")
"""The engine's logs, all of which go to CloudWatch."""
CERTIFICATE_AUTHORITY: Final = "rds-ca-rsa2048-g1"
"""Valid until 2061; its successor takes an `up` of its own."""
INSIGHTS_DAYS: Final = 7
"""Free of charge at this retention (RDS pricing)."""
_GIB: Final = 1024**3


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the first data comes from: a snapshot, or another instance at a time. Neither: an empty database."""

    snapshot: str | None = None
    instance: str | None = None
    time: str | None = None
    """``latest``, or a time in UTC."""

    @property
    def mark(self) -> str:
        """Tells databases of different origins apart; empty for one that started empty."""
        if self.snapshot is None and self.instance is None:
            return ""
        text = "\n".join((self.snapshot or "", self.instance or "", self.time or ""))
        return hashlib.sha256(text.encode()).hexdigest()[:6]

    @property
    def role(self) -> str:
        """The instance's role in its component. One of another origin is another database, not the same one changed:
        the one before is then deleted by its own name, for which the guard asks."""
        return f"instance-{self.mark}" if self.mark else "instance"

    def properties(self) -> dict[str, Any]:
        """Of `rds.Instance`."""
        if self.snapshot is not None:
            return {"snapshot_identifier": self.snapshot}
        if self.instance is None:
            return {}
        moment = {"use_latest_restorable_time": True} if self.time in (None, "latest") else {"restore_time": self.time}
        return {"restore_to_point_in_time": {"source_db_instance_identifier": self.instance, **moment}}


@dataclass(frozen=True, kw_only=True)
class PostgresArgs(ComponentArgs):
    """`slots` says which of the two application logins is in use, and the generation of each one's password;
    `backup_slots` the same of the dumps; `migrate` and `master` are generations."""

    subnet_ids: Sequence[pulumi.Input[str]]
    """At least two, in different zones."""
    security_group_id: pulumi.Input[str]
    region: str
    database: str
    owner_role: str
    slots: Slots
    backup_slots: Slots = field(default_factory=lambda: slots(1))
    migrate: int = 1
    master: int = 1
    """Of a master password that the program makes."""
    version: int
    lower_permitted: bool = False
    """A permit lets `version` go below the one that was asked for last."""
    size: str
    storage: int
    """Bytes at the start."""
    max_storage: int
    """Bytes up to which it grows."""
    multi_az: bool = True
    port: int = 5432
    sslmode: str = "verify-full"
    backup_retention_days: int = 7
    backup_window: str = "01:00-02:00"
    maintenance_window: str = "sun:04:30-sun:05:30"
    performance_insights: bool = True
    monitoring_interval: int = 60
    """Seconds; 0: no enhanced monitoring."""
    slow_query: timedelta = timedelta(seconds=1)
    apply_immediately: bool = False
    read_replicas: int = 0
    origin: Origin = field(default_factory=Origin)
    protect: bool = True
    """Deletion protection, a final snapshot, and automated backups that outlive the instance."""
    released: bool = False
    """A permit lets this instance go: RDS's own lock is off, so that an `up` after this one can delete it."""
    log_retention_days: int = 30
    key: pulumi.Input[str] | None = None
    """KMS key of disk, logs and secrets; None: AWS's own."""
    recovery_window: int = 30
    """Days for which a deleted secret can be had back."""


def family(version: int) -> str:
    """Of the parameter group. A group belongs to one family, so that an upgrade takes another group."""
    return f"{ENGINE}{version}"


_STATIC: Final = "pending-reboot"
_DYNAMIC: Final = "immediate"


def parameters(*, slow_query: timedelta) -> list[dict[str, str]]:
    """What differs from RDS's defaults, each with the apply method that RDS keeps for it.

    The method is not free to choose. RDS refuses `immediate` for a parameter that is static in the family, and a value
    that is the family's own default is stored as `pending-reboot` whatever was asked for, which the provider then
    reports as a change for ever. An instance takes its group along when it is made, so that none of these ever waits
    for a restart.
    """
    values = {
        # 1 already in the families from 15 on, and static in 14; said for all, so that nobody changes it unseen.
        "rds.force_ssl": ("1", _STATIC),
        "log_min_duration_statement": (str(max(1, milliseconds(slow_query))), _DYNAMIC),
        "log_lock_waits": ("1", _DYNAMIC),
        # A session that is forgotten in a transaction keeps vacuum from its work, and keeps its locks.
        "idle_in_transaction_session_timeout": ("300000", _DYNAMIC),
    }
    return [{"name": name, "value": value, "apply_method": method} for name, (value, method) in sorted(values.items())]


def gibibytes(size: int) -> int:
    """Bytes as RDS counts disk, rounded up."""
    return -(-size // _GIB)


def storage(*, start: int, most: int) -> dict[str, Any]:
    """Disk that grows by itself, in bytes. Without `iops`: below 400 GiB, gp3 has a fixed number and refuses any."""
    return {
        "storage_type": "gp3",
        "allocated_storage": gibibytes(start),
        "max_allocated_storage": gibibytes(most),
        "storage_encrypted": True,
    }
