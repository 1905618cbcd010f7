"""What RDS and ElastiCache want: windows that are long enough and apart, and one origin for restored data."""

from __future__ import annotations

from typing import Final

from infra.settings.invariants.broken import Broken, Context, Found, needless

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY: Final = 24 * 60
_WEEK: Final = 7 * _DAY
_WINDOWS: Final = (("postgres", "backup_window", 30), ("redis", "snapshot_window", 60))
"""The daily window of each server, and the minutes that this and its maintenance window have at least (API references:
ModifyDBInstance, ModifyReplicationGroup). A day is the most."""


def windows(context: Context) -> Found:
    """Too short a window is refused by the API, and so is maintenance during a backup."""
    for group, daily, least in _WINDOWS:
        if _provider(context, group) != "aws":
            continue
        server = getattr(context.settings, group)
        for key in (daily, "maintenance_window"):
            _, length = _read(getattr(server, key))
            if not least <= length <= _DAY:
                message, provider = f"lasts {length} minutes", f"{group}.provider"
                yield Broken(f"{group}.{key}", message, allowed=f"{least} minutes to 24 hours", also=(provider,))
        if _overlap(getattr(server, daily), server.maintenance_window):
            yield Broken(
                f"{group}.maintenance_window",
                f"overlaps {group}.{daily} ({getattr(server, daily)}), which AWS refuses",
                allowed="another time",
                also=(f"{group}.{daily}", f"{group}.provider"),
            )


def vault(context: Context) -> Found:
    """Jobs of AWS Backup that start in a window of RDS, or within an hour before, fail."""
    settings = context.settings
    start = settings.backup.vault_hour
    if _provider(context, "postgres") != "aws" or not settings.backup.vault:
        return
    snapshot = f"{(start - 1) % 24:02}:00-{(start + 1) % 24:02}:00"
    for key in ("backup_window", "maintenance_window"):
        window = getattr(settings.postgres, key)
        if _overlap(snapshot, window):
            yield Broken(
                "backup.hour",
                f"lets AWS Backup start at {start:02}:00, which is within an hour of postgres.{key} ({window})",
                allowed="another hour, or another window",
                also=(f"postgres.{key}", "postgres.provider", "backup.vault"),
            )


def restore(context: Context) -> Found:
    """Data comes from one place."""
    origin = context.settings.postgres.restore
    if origin.snapshot is not None and origin.instance is not None:
        yield Broken("postgres.restore", "names both a snapshot and an instance", allowed="one of them")
    if (origin.instance is None) != (origin.time is None) and origin.snapshot is None:
        missing = "time" if origin.time is None else "instance"
        yield Broken(
            f"postgres.restore.{missing}",
            "is missing: a moment is a time of an instance",
            allowed="latest, or a time in UTC" if missing == "time" else "the identifier of an RDS instance",
            suggestion="latest" if missing == "time" else None,
        )
    if origin.snapshot is not None and origin.time is not None:
        yield needless(
            "postgres.restore.time",
            "means nothing with a snapshot, which is of one moment",
            "postgres.restore.snapshot",
        )


def external(context: Context) -> Found:
    """What only a server of the stack's own has."""
    for group, keys in (
        ("postgres", ("restore", "read_replicas", "backup_window", "maintenance_window", "monitoring_interval")),
        ("redis", ("snapshot_days", "snapshot_window", "maintenance_window")),
    ):
        if context.settings.target == "aws" and _provider(context, group) == "external":
            message = "means nothing with provider external: whoever runs that server decides it"
            yield from context.needless((f"{group}.{key}" for key in keys), message, f"{group}.provider")


def _provider(context: Context, group: str) -> str:
    return str(getattr(context.settings, group).provider)


def _minutes(text: str) -> int:
    hours, minutes = text.split(":")
    return int(hours) * 60 + int(minutes)


def _read(window: str) -> tuple[int, int]:
    """Start and length in minutes, the start counted from Monday or, in a daily window, from midnight."""
    start, end = window.split("-")
    if start[0].isdigit():
        return _minutes(start), (_minutes(end) - _minutes(start)) % _DAY
    first, last = (_DAYS.index(text[:3]) * _DAY + _minutes(text[4:]) for text in (start, end))
    return first, (last - first) % _WEEK


def _overlap(daily: str, other: str) -> bool:
    """Whether a daily window meets another one, daily or weekly."""
    (start, length), (first, lasts) = _read(daily), _read(other)
    begins = [day * _DAY + start for day in range(-1, 9)]
    return any(begin < at + lasts and at < begin + length for begin in begins for at in (first, first - _WEEK))


RULES: Final = (windows, vault, restore, external)
