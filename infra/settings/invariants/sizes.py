"""What the providers sell: sizes of servers and processes, and where replicas can be added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from infra.settings import tables
from infra.settings.invariants.broken import Broken, Context, Found, needless
from infra.settings.tree import Target
from infra.settings.units import format_cpu, format_size

_AUTOSCALING: Final[Mapping[str, tuple[Target, ...]]] = {"api": ("aws", "digitalocean"), "worker": ("aws",)}


def database_sizes(context: Context) -> Found:
    """Instance classes and sizes exist, and only where a size is sold."""
    settings = context.settings
    sold: Mapping[str, Mapping[str, tuple[str, ...]]] = {
        "postgres": {"aws": tuple(tables.RDS_MEMORY_GIB), "digitalocean": tuple(tables.DO_DATABASE_MEMORY_GIB)},
        "redis": {"aws": tables.ELASTICACHE_NODE_TYPES, "digitalocean": tuple(tables.DO_DATABASE_MEMORY_GIB)},
    }
    servers = {
        "postgres": (settings.postgres.provider, settings.postgres.size, settings.postgres.high_availability),
        "redis": (settings.redis.provider, settings.redis.size, settings.redis.high_availability),
    }
    for group, (provider, size, standby) in servers.items():
        also = ("target", f"{group}.provider")
        names = sold[group].get(provider)
        if size is None:
            continue
        if names is None:
            yield needless(f"{group}.size", f"means nothing with provider {provider}", *also)
        elif size not in names:
            near = context.nearest(size, names)
            yield Broken(
                f"{group}.size",
                f"is no size of provider {provider}",
                allowed=", ".join(names),
                suggestion=near,
                also=also,
            )
        elif size == "db-s-1vcpu-1gb" and standby:
            yield Broken(
                f"{group}.size",
                f"has no standby, and {group}.high_availability is on",
                allowed=f"a larger size, or {group}.high_availability: false",
                suggestion="db-s-1vcpu-2gb",
                also=(*also, f"{group}.high_availability"),
            )


def process_sizes(context: Context) -> Found:
    """Fargate sells pairs of processor and memory; App Platform sells sizes."""
    settings = context.settings
    for path, process in context.processes():
        if settings.target == "aws":
            legal = tables.FARGATE_MEMORY_MIB.get(process.cpu)
            if legal is None:
                near = min(tables.FARGATE_MEMORY_MIB, key=lambda cpu: abs(cpu - process.cpu))
                yield Broken(
                    f"{path}.cpu",
                    "is not sold by Fargate",
                    allowed=", ".join(map(format_cpu, tables.FARGATE_MEMORY_MIB)),
                    suggestion=f"{near:g}",
                )
            elif (wanted := process.memory / tables.MIB) not in legal:
                near_memory = min(legal, key=lambda memory: (abs(memory - wanted), memory))
                yield Broken(
                    f"{path}.memory",
                    f"cannot go with {format_cpu(process.cpu)} on Fargate",
                    allowed=_memory_range(legal),
                    suggestion=format_size(near_memory * tables.MIB),
                    also=(f"{path}.cpu",),
                )
        if settings.target != "digitalocean" and process.size is not None:
            yield needless(f"{path}.size", f"means nothing with target {settings.target}: cpu and memory decide there")
        if settings.target == "digitalocean":
            for name in ("cpu", "memory"):
                if context.given(f"{path}.{name}"):
                    yield needless(
                        f"{path}.{name}", "means nothing on App Platform, which sells sizes: size decides there"
                    )


def scaling(context: Context) -> Found:
    """Scaling needs a target that can do it, a size that it can add to, and room above the floor."""
    settings = context.settings
    for path, process in context.processes():
        ceiling, where = process.scaling.max_replicas, f"{path}.scaling.max_replicas"
        if ceiling is None:
            continue
        kind = "api" if path == "api" else "worker"
        if settings.target not in _AUTOSCALING[kind]:
            yield needless(
                where,
                f"would not be used: target {settings.target} does not scale {kind} replicas by itself. "
                f"Set {path}.replicas",
            )
            continue
        if ceiling < max(process.replicas, 1):
            yield Broken(
                where,
                f"is below {path}.replicas ({process.replicas})",
                allowed=f"{max(process.replicas, 1)} or more",
                suggestion=str(max(process.replicas, 1)),
                also=(f"{path}.replicas",),
            )
        size = tables.DO_APP_SIZES.get(process.size or "")
        if settings.target == "digitalocean" and size is not None and not size.dedicated:
            yield Broken(
                f"{path}.size",
                "has a shared processor, and App Platform scales dedicated ones only",
                allowed=", ".join(name for name, each in tables.DO_APP_SIZES.items() if each.dedicated),
                suggestion=next(
                    n for n, each in tables.DO_APP_SIZES.items() if each.dedicated and each.memory >= size.memory
                ),
                also=(where,),
            )


def instances(context: Context) -> Found:
    """Some sizes of App Platform allow one instance; all have a limit."""
    if context.settings.target != "digitalocean":
        return
    for path, process in context.processes():
        size = tables.DO_APP_SIZES.get(process.size or "")
        most = process.scaling.max_replicas or process.replicas
        if size is not None and size.single and most > 1:
            yield Broken(
                f"{path}.size",
                f"allows one instance, and {path} has {most}",
                allowed="a size that is not single-instance, such as apps-s-1vcpu-1gb",
                suggestion="apps-s-1vcpu-1gb",
                also=(f"{path}.replicas", f"{path}.scaling.max_replicas"),
            )
        if most > tables.DO_APP_MAX_INSTANCES:
            yield Broken(
                f"{path}.replicas",
                "is more than App Platform runs of one component",
                allowed=f"up to {tables.DO_APP_MAX_INSTANCES}",
                suggestion=str(tables.DO_APP_MAX_INSTANCES),
                also=(f"{path}.scaling.max_replicas",),
            )


def workers(context: Context) -> Found:
    """Somebody must do the jobs: a worker that runs, or one that scaling wakes."""
    settings = context.settings
    combined = settings.api.mode == "all"
    if combined:
        for name in ("replicas", "scaling"):
            if context.given(f"worker.{name}"):
                yield needless(
                    f"worker.{name}",
                    "would not be used: with api.mode all, each API replica holds one worker",
                    "api.mode",
                )
    queues = {settings.worker.queue: "worker"}
    for path, group in context.processes():
        if path == "api":
            continue
        if group.replicas == 0 and group.scaling.max_replicas is None and not (combined and path == "worker"):
            yield Broken(
                f"{path}.replicas",
                "is 0, and no scaling would ever wake a worker: its jobs would wait for ever",
                allowed=f"1 or more, {path}.scaling.max_replicas on AWS, or api.mode all",
                suggestion="1",
                also=(f"{path}.scaling.max_replicas", "api.mode"),
            )
        queue = getattr(group, "queue", "")
        if path != "worker":
            if queue in queues:
                yield Broken(
                    f"{path}.queue",
                    f"is the queue of {queues[queue]} already",
                    allowed="a queue of its own",
                    also=("worker.queue",),
                )
            queues[queue] = path


def _memory_range(legal: tuple[int, ...]) -> str:
    """All values where there are few, else the range and its step."""
    if len(legal) <= 4:
        return ", ".join(format_size(memory * tables.MIB) for memory in legal)
    step = format_size((legal[1] - legal[0]) * tables.MIB)
    return f"{format_size(legal[0] * tables.MIB)} to {format_size(legal[-1] * tables.MIB)} in steps of {step}"


RULES: Final = (database_sizes, process_sizes, scaling, instances, workers)
