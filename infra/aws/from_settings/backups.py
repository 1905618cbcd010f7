"""Dumps of the database, and its copies in AWS Backup."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import pulumi

from infra.aws.backup import BackupArgs, disk_gib
from infra.aws.backup_plan import BackupPlanArgs
from infra.aws.cluster import Cluster
from infra.aws.dump import DumpArgs
from infra.aws.image import Image
from infra.aws.keys import Key
from infra.aws.network import Network
from infra.aws.postgres import ExternalPostgresSecrets, Postgres
from infra.aws.provider import region
from infra.settings import Settings
from infra.workload import Workload

_GIB: Final = 1024**3


def backup(
    settings: Settings,
    app: Workload,
    cluster: Cluster,
    image: Image,
    postgres: Postgres | ExternalPostgresSecrets,
    key: Key,
    *,
    after: Sequence[pulumi.Resource] = (),
) -> BackupArgs:
    """Dumps of any database, once `after` has made their login; AWS Backup for one that the stack runs itself."""
    return BackupArgs(
        dump=_dump(settings, app, cluster, image, postgres, after) if settings.backup.dumps else None,
        plan=_backup_plan(settings, cluster.network, postgres, key)
        if isinstance(postgres, Postgres) and settings.backup.vault
        else None,
    )


def _dump(
    settings: Settings,
    app: Workload,
    cluster: Cluster,
    image: Image,
    postgres: Postgres | ExternalPostgresSecrets,
    after: Sequence[pulumi.Resource],
) -> DumpArgs:
    chosen, network, reference = settings.backup, cluster.network, image.contract.reference
    own_gib = settings.postgres.max_storage // _GIB if isinstance(postgres, Postgres) else None
    assert app.backup.schedule is not None
    return DumpArgs(
        platform=cluster.platform,
        spec=app.backup,
        schedule=app.backup.schedule,
        libpq=postgres.libpq,
        application_image=reference,
        dump_image=chosen.dump_image or reference,
        upload_image=chosen.upload_image,
        repository_arns=[image.repository_arn],
        subnet_ids=network.task_subnets,
        security_group_id=network.groups.backup,
        assign_public_ip=network.assign_public_ip,
        retention_days=chosen.dump_retention_days,
        copy_region=chosen.copy_region,
        disk_gib=disk_gib(own_gib),
        after=after,
        protect=settings.protect,
    )


def _backup_plan(settings: Settings, network: Network, postgres: Postgres, key: Key) -> BackupPlanArgs:
    chosen = settings.backup
    return BackupPlanArgs(
        instance_arn=postgres.arn,
        origin_mark=postgres.origin_mark,
        subnet_group_name=postgres.subnet_group_name,
        security_group_id=network.groups.postgres,
        region=region(settings),
        hour=chosen.vault_hour,
        retention_days=chosen.vault_retention_days,
        restore_test=chosen.restore_test,
        key=key,
        protect=settings.protect,
    )
