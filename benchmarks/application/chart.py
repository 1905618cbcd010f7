"""Bars with their ranges, as a small SVG of text that a version control system can compare. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from benchmarks.application.figures import Sample

_WIDTH = 760
_LABEL = 200
_VALUE = 150
_ROW = 24
_TITLE = 34
_GAP = 14
_OURS, _OTHERS, _TEXT, _RANGE = "#2563eb", "#a8b1bd", "#1f2933", "#3e4c59"


@dataclass(frozen=True)
class Panel:
    """One row a contestant; `ours` is the label that is highlighted."""

    title: str
    rows: Sequence[tuple[str, Sample]]
    ours: str


def render(panels: Sequence[Panel]) -> str:
    """An SVG document with the panels below each other, each with a scale of its own."""
    height = sum(_height(panel) for panel in panels) + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="{_WIDTH}" height="{height}" rx="6" fill="#ffffff"/>',
    ]
    top = 0
    for panel in panels:
        parts += _panel(panel, top)
        top += _height(panel)
    return "\n".join([*parts, "</svg>", ""])


def _height(panel: Panel) -> int:
    return _TITLE + _ROW * len(panel.rows) + _GAP


def _panel(panel: Panel, top: int) -> list[str]:
    parts = [f'<text x="16" y="{top + 24}" font-weight="600" fill="{_TEXT}">{escape(panel.title)}</text>']
    largest = max((sample.high for _, sample in panel.rows), default=0.0) or 1.0
    scale = (_WIDTH - _LABEL - _VALUE) / largest
    for number, (label, sample) in enumerate(panel.rows):
        parts += _bar(label, sample, top + _TITLE + _ROW * number, scale, ours=label == panel.ours)
    return parts


def _bar(label: str, sample: Sample, y: int, scale: float, *, ours: bool) -> list[str]:
    middle, end = y + _ROW // 2, _LABEL + sample.median * scale
    low, high = _LABEL + sample.low * scale, _LABEL + sample.high * scale
    weight = ' font-weight="600"' if ours else ""
    return [
        f'<text x="{_LABEL - 10}" y="{middle + 4}" text-anchor="end" fill="{_TEXT}"{weight}>{escape(label)}</text>',
        f'<rect x="{_LABEL}" y="{y + 4}" width="{max(1.0, end - _LABEL):.1f}" height="{_ROW - 8}" '
        f'fill="{_OURS if ours else _OTHERS}"/>',
        f'<line x1="{low:.1f}" x2="{high:.1f}" y1="{middle}" y2="{middle}" stroke="{_RANGE}" stroke-width="1.5"/>',
        f'<text x="{max(end, high) + 8:.1f}" y="{middle + 4}" fill="{_TEXT}"{weight}>{number(sample.median)}</text>',
    ]


def number(value: float) -> str:
    """With as many digits as mean something."""
    if value != value:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
