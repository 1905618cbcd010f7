"""Copies of the data, in places that do not go with it."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra.aws import dump_scripts, queue_metrics
from infra.aws.alarms.model import metrics
from infra.aws.alarms.monitored import MonitoredDumps
from infra.aws.backup_plan import BackupPlanArgs, backup_plan
from infra.aws.dump import EPHEMERAL_GIB, DumpArgs, schedule, task
from infra.aws.dump_buckets import bucket, copies
from infra.aws.task_definition import TaskDefinition
from infra.component import Component, ComponentArgs


@dataclass(frozen=True, kw_only=True)
class BackupArgs(ComponentArgs):
    """Either may be None: AWS Backup copies no external database, and dumps can be switched off."""

    dump: DumpArgs | None
    plan: BackupPlanArgs | None


class Backup(Component):
    """What there is to restore from, besides the database's own backups.

    Creates: with `dump` a bucket (encrypted, versioned, closed, TLS only, emptied by age), a task that writes a dump of
    the whole database to it, and a schedule; with `copy_region` a second such bucket there, to which S3 copies each
    dump; with `plan` a vault of AWS Backup, the plan that fills it every day, and a plan that restores the newest
    snapshot now and then to show that it can be done. Redis needs none of it: its
    snapshots are its own, and Postgres restores the queue.

    Costs: dumps 0.023 USD a GB and month and a few cents for the task; snapshots in the vault 0.095 USD a GB and month;
    a weekly test some hours of an instance like the database's.

    Exports: `bucket_name`, `dump` (the task, to start it by hand), `backup_vault_name`, and `monitored` for the alarm
    of a missing dump. That alarm stands until the first dump has come, a day at most: start it by hand.

    Replaces: nothing; another encryption key another vault and nothing of the bucket.
    """

    bucket_name: pulumi.Output[str] | None = None
    dump: TaskDefinition | None = None
    backup_vault_name: pulumi.Output[str] | None = None
    monitored: MonitoredDumps | None = None

    def __init__(self, name: str, args: BackupArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("slipway:aws:Backup", name, opts, args.transforms)
        if args.dump is not None:
            kept, settled = bucket(
                self,
                retention_days=args.dump.retention_days,
                key=args.dump.platform.key_arn,
                protect=args.dump.protect,
            )
            if args.dump.copy_region is not None:
                copying = copies(
                    self,
                    region=args.dump.copy_region,
                    of=kept,
                    settled=settled,
                    neighbour_arn=args.dump.platform.cluster_arn,
                    retention_days=args.dump.retention_days,
                    protect=args.dump.protect,
                )
                settled = [*settled, copying]
            self.bucket_name = kept.bucket
            self.dump = task(self, args.dump, kept)
            schedule(self, args.dump, self.dump, after=settled)
            stored = metrics(queue_metrics.NAMESPACE, {"Stack": pulumi.get_stack()})(dump_scripts.STORED, "Sum")
            self.monitored = MonitoredDumps(metric=stored)
        if args.plan is not None:
            self.backup_vault_name = backup_plan(self, args.plan).name
        self.finish({"bucket": self.bucket_name, "vault": self.backup_vault_name})


def disk_gib(max_storage_gib: int | None) -> int:
    """Disk for the archive: half of what the database may grow to, since archives are compressed."""
    least, most = EPHEMERAL_GIB
    return least if max_storage_gib is None else min(max(max_storage_gib // 2, least), most)
