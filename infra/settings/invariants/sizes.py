"""What the providers sell: sizes of servers and processes, and where replicas can be added."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from infra.settings import tables
from infra.settings.invariants.broken import Broken, Context, Found, needless
from infra.settings.rules import nearest
from infra.settings.tree import Target
from infra.settings.units import format_cpu, format_size

_AUTOSCALING: Final[Mapping[str, tuple[Target, ...]]] = {"api": ("aws", "digitalocean"), "worker": ("aws",)}


def database_sizes(context: Context) -> Found:
    """Instance classes and sizes exist, and only where a size is sold."""
    for group, on_aws in (("postgres", tables.RDS_MEMORY_GIB), ("redis", tables.ELASTICACHE_NODE_TYPES)):
        server = context.settings.postgres if group == "postgres" else context.settings.redis
        where, provider, standby = f"{group}.size", f"{group}.provider", f"{group}.high_availability"
        names = {"aws": on_aws, "digitalocean": tables.DO_DATABASE_MEMORY_GIB}.get(server.provider)
        if server.size is None:
            continue
        if names is None:
            yield needless(where, f"means nothing with provider {server.provider}", provider)
        elif server.size not in names:
            message, near = f"is no size of provider {server.provider}", nearest(server.size, names, cutoff=0.5)
            yield Broken(where, message, allowed=", ".join(names), suggestion=near, also=(provider,))
        elif server.size == "db-s-1vcpu-1gb" and server.high_availability:
            yield Broken(
                where,
                f"has no standby, and {standby} is on",
                allowed=f"a larger size, or {standby}: false",
                suggestion="db-s-1vcpu-2gb",
                also=(provider, standby),
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
            message = "means nothing on App Platform, which sells sizes: size decides there"
            yield from context.needless((f"{path}.cpu", f"{path}.memory"), message)


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
        if ceiling < (least := max(process.replicas, 1)):
            message, replicas = f"is below {path}.replicas ({process.replicas})", f"{path}.replicas"
            yield Broken(where, message, allowed=f"{least} or more", suggestion=str(least), also=(replicas,))
        size = tables.DO_APP_SIZES.get(process.size or "")
        if settings.target == "digitalocean" and size is not None and not size.dedicated:
            dedicated = {name: each.memory for name, each in tables.DO_APP_SIZES.items() if each.dedicated}
            yield Broken(
                f"{path}.size",
                "has a shared processor, and App Platform scales dedicated ones only",
                allowed=", ".join(dedicated),
                suggestion=next(name for name, memory in dedicated.items() if memory >= size.memory),
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
    combined = context.settings.api.mode == "all"
    if combined:
        message = "would not be used: with api.mode all, each API replica holds one worker"
        yield from context.needless(("worker.replicas", "worker.scaling"), message, "api.mode")
    queues: dict[str, str] = {}
    for path, group in context.workers():
        if group.replicas == 0 and group.scaling.max_replicas is None and not (combined and path == "worker"):
            yield Broken(
                f"{path}.replicas",
                "is 0, and no scaling would ever wake a worker: its jobs would wait for ever",
                allowed=f"1 or more, {path}.scaling.max_replicas on AWS, or api.mode all",
                suggestion="1",
                also=(f"{path}.scaling.max_replicas", "api.mode"),
            )
        if group.queue in queues:
            message = f"is the queue of {queues[group.queue]} already"
            yield Broken(f"{path}.queue", message, allowed="a queue of its own", also=("worker.queue",))
        queues[group.queue] = path


def _memory_range(legal: tuple[int, ...]) -> str:
    """All values where there are few, else the range and its step."""
    if len(legal) <= 4:
        return ", ".join(format_size(memory * tables.MIB) for memory in legal)
    step = format_size((legal[1] - legal[0]) * tables.MIB)
    return f"{format_size(legal[0] * tables.MIB)} to {format_size(legal[-1] * tables.MIB)} in steps of {step}"


RULES: Final = (database_sizes, process_sizes, scaling, instances, workers)
