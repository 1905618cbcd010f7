"""The words and signs of a deployment, as Pulumi's users know them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from infra.engine.display.events import Change, Diagnostic, Kind, Op, StepEvent
from infra.engine.urns import parse_urn
from infra.engine.values import SECRET_TEXT, UNKNOWN_TEXT

TITLES: Final[Mapping[Kind, str]] = {"preview": "Previewing update", "up": "Updating", "destroy": "Destroying"}


class OpWords(NamedTuple):
    """How an operation shows: its sign, its colour, and the words for it under way and done."""

    sign: str
    style: str
    doing: str
    done: str


OPS: Final[Mapping[Op, OpWords]] = {
    "same": OpWords(" ", "dim", "unchanged", "unchanged"),
    "create": OpWords("+", "green", "creating", "created"),
    "update": OpWords("~", "yellow", "updating", "updated"),
    "replace": OpWords("+-", "magenta", "replacing", "replaced"),
    "delete": OpWords("-", "red", "deleting", "deleted"),
    "read": OpWords(">", "cyan", "reading", "read"),
}
_CHANGE_SIGNS: Final = {"add": "+", "delete": "-", "update": "~"}
_MOST_CHANGES: Final = 12
_VALUE_WIDTH: Final = 72


def sign(event: StepEvent) -> str:
    return "--" if event.op == "delete" and event.replacing else OPS[event.op].sign


def doing(event: StepEvent, kind: Kind) -> str:
    if kind == "preview":
        return "" if event.op == "same" else event.op
    return OPS[event.op].doing + (" original" if event.op == "delete" and event.replacing else "")


def done(event: StepEvent, kind: Kind) -> str:
    if kind == "preview":
        return doing(event, kind)
    return OPS[event.op].done + (" original" if event.op == "delete" and event.replacing else "")


def failed(event: StepEvent) -> str:
    return "failed" if event.op == "same" else f"{OPS[event.op].doing} failed"


def type_and_name(urn: str) -> tuple[str, str]:
    """The resource's type without the part that repeats its last word, and its name."""
    parsed = parse_urn(urn)
    parts = parsed.type.split(":")
    if len(parts) == 3:
        module, _, repeated = parts[1].partition("/")
        if repeated.lower() == parts[2].lower():
            parts[1] = module
    return ":".join(parts), parsed.name


def elapsed(seconds: float) -> str:
    """``0.3s``, ``12s``, ``2m05s``."""
    if seconds < 10:
        return f"{seconds:.1f}s"
    if seconds < 60:
        return f"{seconds:.0f}s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest:02d}s"


def value(shown: Any, *, width: int | None = _VALUE_WIDTH) -> str:
    """A masked value on one line, cut to `width` characters."""
    if shown in (SECRET_TEXT, UNKNOWN_TEXT):
        return str(shown)
    text = json.dumps(shown, ensure_ascii=False)
    return text if width is None or len(text) <= width else f"{text[: width - 1]}…"


def brief(changes: Sequence[Change]) -> str:
    """The changed properties in a few words, as ``[diff: ~replicas,+env]``; their first parts, each once."""
    heads: dict[str, str] = {}
    for change in changes:
        head = _label(change.path.split(".")[0].split("[")[0])
        mark = _CHANGE_SIGNS[change.kind] if head == _label(change.path) else "~"
        heads.setdefault(head, mark)
    names = [f"{mark}{head}" for head, mark in heads.items()]
    shown = ",".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return f"[diff: {shown}]" if names else ""


def details(op: Op, changes: Sequence[Change], reason: str) -> Iterator[str]:
    """What changes and why, one line each; nothing for resources that come or go as a whole."""
    if reason:
        yield f"({reason})"
    if op not in ("update", "replace"):
        return
    for change in changes[:_MOST_CHANGES]:
        yield change_line(change)
    if len(changes) > _MOST_CHANGES:
        yield f"… and {len(changes) - _MOST_CHANGES} more changes"


def change_line(change: Change) -> str:
    label = _label(change.path)
    text = f"{_CHANGE_SIGNS[change.kind]} {label}"
    if change.path == "__provider":
        pass
    elif change.kind == "add":
        text += f": {value(change.new)}"
    elif change.kind == "delete":
        text += f": {value(change.old)}"
    else:
        text += f": {value(change.old)} => {value(change.new)}"
    return f"{text} (forces replacement)" if change.forces_replacement else text


def _label(path: str) -> str:
    return "code of its provider" if path == "__provider" else path


def diagnostics(messages: Sequence[Diagnostic]) -> Iterator[str]:
    """The messages by resource, the stack's own first; without those that say the same twice."""
    by_urn: dict[str | None, list[str]] = {}
    for message in messages:
        lines = by_urn.setdefault(message.urn, [])
        text = f"{message.severity}: {message.message}" if message.severity != "info" else message.message
        if message.severity == "info" or text not in lines:
            lines.append(text)
    for urn in sorted(by_urn, key=lambda urn: urn or ""):
        yield f"  {' '.join(_heading(urn))}:" if urn else "  stack:"
        for text in by_urn[urn]:
            yield from (f"    {line}" for line in text.split("\n"))


def _heading(urn: str) -> tuple[str, str]:
    type_, name = type_and_name(urn)
    return type_, f"({name})"


def outputs(values: Mapping[str, Any], changes: Sequence[Change]) -> Iterator[str]:
    """The stack's outputs, marked where they are new or other than before."""
    marks = {change.path.split(".")[0].split("[")[0]: "~" for change in changes}
    marks |= {change.path: _CHANGE_SIGNS[change.kind] for change in changes if change.path in marks}
    before = {change.path: change.old for change in changes if change.kind == "update"}
    width = max((len(key) for key in values), default=0)
    for key, shown in sorted(values.items()):
        old = f"{value(before[key])} => " if key in before else ""
        # Whole: an output is there to be copied.
        yield f"  {marks.get(key, ' ')} {key:<{width}}: {old}{value(shown, width=None)}"
    for change in changes:
        if change.kind == "delete" and change.path in marks:
            yield f"  - {change.path:<{width}}: {value(change.old)}"


def summary(counts: Mapping[str, int], kind: Kind) -> Iterator[str]:
    """How many resources came to what; in words when there was nothing to do."""
    same = counts.get("same", 0)
    acted = {op: number for op, number in counts.items() if op in OPS and op != "same"}
    if not acted:
        yield f"  nothing to do: {same} unchanged" if same else "  nothing to do"
        return
    for op, words in OPS.items():
        if number := acted.get(op):
            verb = f"to {op}" if kind == "preview" else words.done
            yield f"  {words.sign:<2} {number} {verb}"
    if same:
        yield f"  {same} unchanged"
