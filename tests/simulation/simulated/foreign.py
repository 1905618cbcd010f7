"""A job of another function than ours, as somebody may put it on the queue with plain RQ."""

from __future__ import annotations

from simulated import world


def touch(name: str) -> str:
    here = world.current()
    here.foreign_runs.append((here.scheduler.now, name, here.scheduler.alive().process.name))
    here.scheduler.note(f"foreign job {name} runs")
    here.scheduler.sleep(here.scheduler.rng.choice([0.0005, 0.01, 0.5]))
    return name
