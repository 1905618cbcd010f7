"""A simulation as text: the figures that decide, the scaling activities, and the course over time."""

from __future__ import annotations

from collections.abc import Sequence

from infra.simulation.simulator import Result, Sample
from infra.simulation.tasks import PRICES_AS_OF

_ROWS = 24
"""Most lines of the course: enough to see its shape on one screen."""
_ACTIVITIES = 12


def report(result: Result) -> str:
    """The whole text."""
    parts = [_title(result), _summary(result), _course(result.samples)]
    if result.activities:
        parts.append(_activities(result))
    return "\n\n".join(parts)


def _title(result: Result) -> str:
    service = result.service
    kind = f"queue {service.queue}" if service.queue else "requests"
    policies = len(service.target_tracking) + len(service.step_scaling)
    bounds = (
        f"{service.min_capacity} to {service.max_capacity} tasks, {policies} policies" if policies else "no scaling"
    )
    return f"{service.name} ({kind}; {bounds}) under {result.load.name} for {clock(result.duration)}"


def _summary(result: Result) -> str:
    waits = sorted(result.waits)
    p95 = waits[int(0.95 * (len(waits) - 1))] if waits else 0.0
    most = max(sample.paid for sample in result.samples)
    monthly = result.cost / result.duration * 3600 * 730
    rows = [
        ("longest wait", f"{result.longest_wait:.1f} s (95 % waited up to {p95:.1f} s)"),
        ("most tasks", f"{most}"),
        ("changes", f"{len(result.activities)}, {result.turns} of them against the one before"),
        ("cost", f"{result.cost:.2f} USD; {monthly:.0f} USD a month at this rate ({PRICES_AS_OF})"),
        *((("left waiting", f"{result.samples[-1].waiting:.0f}"),) if result.samples[-1].waiting >= 1 else ()),
    ]
    return "\n".join(f"{name + ':':<14}{value}" for name, value in rows)


def _course(samples: Sequence[Sample]) -> str:
    stride = max(1, -(-len(samples) // _ROWS))
    # The last sample of each stride, so that the end of the simulation always shows.
    shown = [samples[0], *samples[stride::stride]]
    if shown[-1] is not samples[-1]:
        shown.append(samples[-1])
    head = ("time", "load/s", "wanted", "running", "waiting", "wait s", "USD")
    rows = [
        (
            clock(one.at),
            f"{one.rate:.1f}",
            str(one.desired),
            str(one.running),
            f"{one.waiting:.0f}",
            f"{one.wait:.0f}",
            f"{one.cost:.3f}",
        )
        for one in shown
    ]
    widths = [max(len(row[place]) for row in [head, *rows]) for place in range(len(head))]
    return "\n".join(
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [head, *rows]
    )


def _activities(result: Result) -> str:
    shown = result.activities[:_ACTIVITIES]
    lines = [f"  {clock(one.at)}  {one.before} -> {one.after}  {one.cause}" for one in shown]
    rest = len(result.activities) - len(shown)
    return "\n".join(["Scaling activities:", *lines, *([f"  and {rest} more"] if rest else [])])


def clock(seconds: float) -> str:
    """``h:mm``, or ``h:mm:ss`` where it is no whole minute."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}" + (f":{rest:02}" if rest else "")


def to_json(result: Result) -> dict[str, object]:
    """The simulation in JSON types."""
    return {
        "service": result.service.name,
        "load": result.load.name,
        "duration_s": result.duration,
        "longest_wait_s": round(result.longest_wait, 3),
        "cost_usd": round(result.cost, 6),
        "turns": result.turns,
        "changes": [
            {"at_s": one.at, "before": one.before, "after": one.after, "because": one.cause}
            for one in result.activities
        ],
        "samples": [
            {
                "at_s": one.at,
                "load_per_s": round(one.rate, 6),
                "wanted": one.desired,
                "running": one.running,
                "paid": one.paid,
                "waiting": round(one.waiting, 3),
                "wait_s": round(one.wait, 3),
                "cost_usd": round(one.cost, 6),
            }
            for one in result.samples
        ],
    }
