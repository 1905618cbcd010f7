"""A simulation as an SVG plot: four panels over one time axis. Text stays text, and no library draws it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from infra.simulation.report import clock
from infra.simulation.simulator import Result, Sample

_WIDTH: Final = 860
_LEFT: Final = 72
_RIGHT: Final = 24
_TOP: Final = 56
_PANEL: Final = 120
_GAP: Final = 44
_BOTTOM: Final = 40


@dataclass(frozen=True, kw_only=True)
class _Line:
    label: str
    colour: str
    value: Callable[[Sample], float]
    stepped: bool = False
    """Whether it holds until the next sample, as a number of tasks does."""
    dashed: bool = False


@dataclass(frozen=True, kw_only=True)
class _Panel:
    title: str
    lines: tuple[_Line, ...]


_INK: Final = "#1f2933"
_GRID: Final = "#d9dee4"
# Blue, orange, green and grey of the Okabe-Ito palette, which also those see apart who do not see red from green.
_PANELS: Final = (
    _Panel(title="Load (arrivals a second)", lines=(_Line(label="load", colour="#0072b2", value=lambda s: s.rate),)),
    _Panel(
        title="Tasks",
        lines=(
            _Line(label="wanted", colour="#767f8a", value=lambda s: s.desired, stepped=True, dashed=True),
            _Line(label="running", colour="#009e73", value=lambda s: s.running, stepped=True),
        ),
    ),
    _Panel(
        title="Wait of the oldest (seconds)",
        lines=(_Line(label="wait", colour="#d55e00", value=lambda s: s.wait),),
    ),
    _Panel(title="Cost so far (USD)", lines=(_Line(label="cost", colour="#0072b2", value=lambda s: s.cost),)),
)


def plot(result: Result) -> str:
    """The SVG document."""
    height = _TOP + len(_PANELS) * (_PANEL + _GAP) - _GAP + _BOTTOM
    title = f"{result.service.name} under {result.load.name}: longest wait {result.longest_wait:.0f} s, " + (
        f"{len(result.activities)} changes, {result.cost:.2f} USD"
    )
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'font-family="system-ui, sans-serif" font-size="12" fill="{_INK}" role="img" aria-label={quoteattr(title)}>',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        _text(_LEFT, 24, title, size=15, weight="bold"),
    ]
    for place, panel in enumerate(_PANELS):
        last = place == len(_PANELS) - 1
        parts += _drawn(panel, result, _TOP + place * (_PANEL + _GAP), with_times=last)
    return "\n".join([*parts, "</svg>", ""])


def _drawn(panel: _Panel, result: Result, top: float, *, with_times: bool) -> list[str]:
    samples, right = result.samples, _WIDTH - _RIGHT
    highest = max(line.value(sample) for line in panel.lines for sample in samples)
    ticks = _ticks(highest)
    bottom, scale = top + _PANEL, _PANEL / ticks[-1]
    parts = [_text(_LEFT, top - 8, panel.title, weight="bold")]
    for tick in ticks:
        y = bottom - tick * scale
        parts.append(f'<line x1="{_LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{tick:g}", anchor="end"))
    across = (right - _LEFT) / result.duration
    for moment in _moments(result.duration):
        x = _LEFT + moment * across
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom}" stroke="{_GRID}"/>')
        if with_times:
            parts.append(_text(x, bottom + 18, clock(moment), anchor="middle"))
    for line in panel.lines:
        points = [(_LEFT + one.at * across, bottom - line.value(one) * scale) for one in samples]
        dash = ' stroke-dasharray="5 3"' if line.dashed else ""
        path = _path(points, stepped=line.stepped)
        parts.append(f'<path d="{path}" fill="none" stroke="{line.colour}" stroke-width="2"{dash}/>')
    if len(panel.lines) > 1:
        parts += _legend(panel.lines, right, top - 8)
    return parts


def _legend(lines: Sequence[_Line], right: float, y: float) -> list[str]:
    parts, x = [], right
    for line in reversed(lines):
        parts.append(_text(x, y, line.label, anchor="end", colour=line.colour, weight="bold"))
        x -= 9 * len(line.label) + 14
    return parts


def _path(points: Sequence[tuple[float, float]], *, stepped: bool) -> str:
    (x, y), *rest = points
    parts = [f"M{x:.1f} {y:.1f}"]
    for x, y in rest:
        parts.append(f"H{x:.1f}V{y:.1f}" if stepped else f"L{x:.1f} {y:.1f}")
    return "".join(parts)


def _ticks(highest: float) -> list[float]:
    """Three to six round numbers from 0 to at least `highest`."""
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / 4
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * magnitude for factor in (1, 2, 2.5, 5, 10) if factor * magnitude >= rough)
    return [round(place * step, 10) for place in range(math.ceil(highest / step - 1e-9) + 1)]


def _moments(duration: float) -> list[float]:
    """Round moments for the time axis, at most nine."""
    steps = (60, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
    step = next((one for one in steps if duration / one <= 8), 86400 * math.ceil(duration / 86400 / 8))
    return [float(moment) for moment in range(0, int(duration) + 1, step)]


def _text(
    x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "normal", colour: str = _INK
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}">{escape(text)}</text>'
    )
