"""A simulation as text: the figures that decide, the scaling activities, and the course over time."""

from __future__ import annotations

from collections.abc import Sequence

from .simulation import Outcome, Sample
from .tasks import PRICES_AS_OF

_ROWS = 24
"""Most lines of the course: enough to see its shape on one screen."""
_ACTIVITIES = 12


def report(outcome: Outcome) -> str:
    """The whole text."""
    parts = [_title(outcome), _summary(outcome), _course(outcome.samples)]
    if outcome.changes:
        parts.append(_activities(outcome))
    return "\n\n".join(parts)


def _title(outcome: Outcome) -> str:
    service = outcome.service
    kind = f"queue {service.queue}" if service.queue else "requests"
    policies = len(service.tracking) + len(service.stepping)
    bounds = f"{service.minimum} to {service.maximum} tasks, {policies} policies" if policies else "no scaling"
    return f"{service.name} ({kind}; {bounds}) under {outcome.load.name} for {clock(outcome.duration)}"


def _summary(outcome: Outcome) -> str:
    waits = sorted(outcome.waits)
    p95 = waits[int(0.95 * (len(waits) - 1))] if waits else 0.0
    most = max(sample.paid for sample in outcome.samples)
    monthly = outcome.cost / outcome.duration * 3600 * 730
    rows = [
        ("longest wait", f"{outcome.longest_wait:.1f} s (95 % waited up to {p95:.1f} s)"),
        ("most tasks", f"{most}"),
        ("changes", f"{len(outcome.changes)}, {outcome.turns} of them against the one before"),
        ("cost", f"{outcome.cost:.2f} USD; {monthly:.0f} USD a month at this rate ({PRICES_AS_OF})"),
        *((("left waiting", f"{outcome.samples[-1].waiting:.0f}"),) if outcome.samples[-1].waiting >= 1 else ()),
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
            str(one.wanted),
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


def _activities(outcome: Outcome) -> str:
    shown = outcome.changes[:_ACTIVITIES]
    lines = [f"  {clock(one.at)}  {one.before} -> {one.after}  {one.because}" for one in shown]
    rest = len(outcome.changes) - len(shown)
    return "\n".join(["Scaling activities:", *lines, *([f"  and {rest} more"] if rest else [])])


def clock(seconds: float) -> str:
    """``h:mm``, or ``h:mm:ss`` where it is no whole minute."""
    whole = round(seconds)
    hours, minutes, rest = whole // 3600, whole // 60 % 60, whole % 60
    return f"{hours}:{minutes:02}" + (f":{rest:02}" if rest else "")


def to_json(outcome: Outcome) -> dict[str, object]:
    """The simulation in JSON types."""
    return {
        "service": outcome.service.name,
        "load": outcome.load.name,
        "duration_s": outcome.duration,
        "longest_wait_s": round(outcome.longest_wait, 3),
        "cost_usd": round(outcome.cost, 6),
        "turns": outcome.turns,
        "changes": [
            {"at_s": one.at, "before": one.before, "after": one.after, "because": one.because}
            for one in outcome.changes
        ],
        "samples": [
            {
                "at_s": one.at,
                "load_per_s": round(one.rate, 6),
                "wanted": one.wanted,
                "running": one.running,
                "paid": one.paid,
                "waiting": round(one.waiting, 3),
                "wait_s": round(one.wait, 3),
                "cost_usd": round(one.cost, 6),
            }
            for one in outcome.samples
        ],
    }
