"""The page of docs/benchmarks, rendered wholly from the stored results. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from textwrap import fill
from typing import Any

from benchmarks.application import figures
from benchmarks.application.chart import Panel, number
from benchmarks.application.figures import Sample

OURS = "Slipway"
Results = Mapping[str, Any]
"""Section name to {"facts": …, "runs": [one mapping a row]}; see benchmarks.application.__main__."""

_MIB = 2**20
_FIGURE = ("", "-", *"0123456789")
_PREFACE = """\
# Benchmarks

Written by `make bench`; edit `benchmarks/application/report.py` instead of this page. It compares the application with
RQ's own workers, dramatiq and BullMQ, and the whole path of a delivery with a small Fastify, pg and BullMQ application
of the same contract (`benchmarks/peer/`). A figure is the median of the rounds, in brackets their range. Contestants
take turns within each round, and the figures belong to the machine below: compare the ratios.

`make bench-worker`, `make bench-accept` and `make bench-start` measure one part each and leave the others as they are.
"""


def render(results: Results) -> str:
    parts = [_PREFACE]
    if "worker" in results or "acceptance" in results:
        parts.append("![Jobs a second, deliveries a second and time to the end of a delivery](chart.svg)\n")
    for name, section in _SECTIONS.items():
        if name in results:
            parts.append(section(results[name]))
    if results:
        parts.append(_facts(results))
    return "\n".join(parts)


def panels(results: Results) -> list[Panel]:
    """What the chart shows."""
    found = []
    runs = results.get("worker", {}).get("runs", [])
    for milliseconds in _durations(runs):
        rows = [(run["name"], Sample.of(run["rates"])) for run in runs if run["milliseconds"] == milliseconds]
        found.append(Panel(f"Worker alone, {_job(milliseconds)}: jobs/s", rows, OURS))
    runs = results.get("acceptance", {}).get("runs", [])
    for title, key in (
        ("Accepted requests/s, worker stopped", "accepted_alone"),
        ("Finished deliveries/s, API idle", "delivered_alone"),
        ("Finished deliveries/s, both busy", "delivered"),
        ("From request to finished delivery at a fixed rate: p99 in ms (less is better)", "done_p99"),
    ):
        if runs:
            found.append(Panel(title, [(run["name"], Sample.of(run[key])) for run in runs], OURS))
    return found


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up in a terminal, too; columns of figures are right-aligned."""
    columns = list(zip(*rows, strict=True))
    widths = [max(3, len(name), *(len(cell) for cell in cells)) for name, cells in zip(header, columns, strict=True)]
    figures_only = [all(cell[:1] in _FIGURE for cell in cells) for cells in columns]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(cells, widths, figures_only, strict=True)
        ]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (width - right) + ":" * right for width, right in zip(widths, figures_only, strict=True)]
    return "\n".join([line(header), line(rule), *(line(row) for row in rows)]) + "\n"


def spread(values: Sequence[float]) -> str:
    sample = Sample.of(values)
    if sample.rounds == 1:
        return number(sample.median)
    return f"{number(sample.median)} ({number(sample.low)}-{number(sample.high)})"


def _worker(section: Mapping[str, Any]) -> str:
    runs = section["runs"]
    text = """\
## The worker alone

Each job waits and notes its beginning and its end in one file that all contestants append to; nothing else is measured
in it, and it costs all of them the same. The jobs are on the queue before the worker starts; the rate counts from the
first beginning to the last end after a warm-up, so that no start of a process is in it. Slipway, dramatiq and BullMQ
run ten at once in one process, the pool is ten processes of RQ that fork for each job. The ideal is the number of jobs
at once divided by a job's duration. Memory is the peak of the process and its children, shared pages counted once.
Every run checks that each job ran.
"""
    for milliseconds in _durations(runs):
        mine = [run for run in runs if run["milliseconds"] == milliseconds]
        ours = next(figures.Sample.of(run["rates"]).median for run in mine if run["name"] == OURS)
        rows = [_worker_row(run, ours) for run in mine]
        header = (
            "worker",
            "at once",
            "jobs/s",
            "of the ideal",
            "against ours",
            "MiB",
            "jobs in a run",
            "lost or run twice",
        )
        text += f"\n### {_job(milliseconds).capitalize()}\n\n" + table(header, rows)
    return text


def _worker_row(run: Mapping[str, Any], ours: float) -> tuple[str, ...]:
    median = Sample.of(run["rates"]).median
    percent = figures.percent_of_ideal(median, concurrency=run["concurrency"], milliseconds=run["milliseconds"])
    return (
        run["name"],
        str(run["concurrency"]),
        spread(run["rates"]),
        "-" if percent is None else f"{percent:.0f} %",
        _times(figures.ratio(median, ours)),
        number(Sample.of(run["memory"]).median / _MIB),
        str(run["jobs"]),
        _deliveries(run["deliveries"]),
    )


def _loss(section: Mapping[str, Any]) -> str:
    rows = [
        (
            *(run["name"], str(run["in_flight"]), str(run["lost"]), str(run["begun_twice"]), str(run["ended_twice"])),
            *(number(run["seconds"]), ", ".join(f"`{name}={value}`" for name, value in run["settings"].items())),
        )
        for run in section["runs"]
    ]
    jobs = section["runs"][0]["jobs"]
    header = ("worker", "in flight", "lost", "begun again", "ended twice", "s to the last end", "settings")
    return f"""\
## A worker is killed

{jobs} jobs of 200 ms; SIGKILL to the worker and its children after twenty of them, then a new worker. Lost is what had
not ended two minutes later. Slipway's jobs are deliveries with their rows in Postgres, begun and ended as the receiver
sees it; a repeated request carries the same `webhook-id`. One run; each with its own settings for an early recovery.

{table(header, rows)}"""


def _acceptance(section: Mapping[str, Any]) -> str:
    runs = section["runs"]
    rows = [
        _compared(label, runs, key, unit)
        for label, key, unit in (
            ("accepted/s, worker stopped", "accepted_alone", 1),
            ("delivered/s, API idle", "delivered_alone", 1),
            ("accepted/s, both busy", "accepted", 1),
            ("delivered/s, both busy", "delivered", 1),
            ("answer p50, ms", "answer_p50", 1),
            ("answer p99, ms", "answer_p99", 1),
            ("to the row done p50, ms", "done_p50", 1),
            ("to the row done p99, ms", "done_p99", 1),
            ("API, processor ms a request", "api_processor", 1),
            ("worker, processor ms a delivery", "worker_processor", 1),
            ("API, peak MiB", "api_memory", _MIB),
            ("worker, peak MiB", "worker_memory", _MIB),
        )
    ]
    rows.append(("answers 5xx", *(str(sum(run["refused"])) for run in runs), ""))
    rows.append(("lost or sent twice", *(_deliveries(run["deliveries"]) for run in runs), ""))
    plan = section["plan"]
    text = f"""\
POST /v1/deliveries with a token and an Idempotency-Key, a row in Postgres, a job on the queue, a worker that sends the
webhook and stores the attempt. The rates are those of {plan["requests"]} requests over {plan["connections"]}
connections, each sent when the one before it is answered: first with the worker stopped, then the worker alone with
this backlog, then as many with both at work. The times are those at a fixed rate of {plan["rate"]:.0f}/s for
{plan["seconds"]:.0f} s, from the moment at which a request was due to its answer, and to `completed_at` of its row.
API on one core, generator and receiver on another, workers and servers where the system puts them; ten jobs at once and
ten database connections for both. Postgres flushes every commit to disk, Valkey keeps everything in memory; a new
database each round. The generator alone makes {section["capacity"]:,.0f} requests/s against a responder that does
nothing."""
    return f"""\
## From the request to the finished delivery

{fill(text, 120)}

The Fastify application puts the payload into the job instead of reading it from the row, and does less: no outbox and
no sweeper, no table of jobs, no claim with a lease, no check of the address that it sends to, no accounts.

{table(("", *(run["name"] for run in runs), "theirs against ours"), rows)}"""


def _compared(label: str, runs: Sequence[Mapping[str, Any]], key: str, unit: float = 1) -> tuple[str, ...]:
    medians = {run["name"]: Sample.of(run[key]).median for run in runs}
    other = next(value for name, value in medians.items() if name != OURS)
    values = (spread([value / unit for value in run[key]]) for run in runs)
    return (label, *values, _times(figures.ratio(other, medians[OURS])))


def _crash(section: Mapping[str, Any]) -> str:
    header = ("fault", "system", "accepted", "lost", "stuck", "sent twice", "s to the last effect")
    rows = [
        (
            *(run["fault"], run["name"], str(run["accepted"]), str(run["lost"]), str(run["stuck"])),
            *(str(run["repeated"]), number(run["seconds"])),
        )
        for run in section["runs"]
    ]
    return f"""\
## Faults under load

150 requests/s for 8 s to a receiver that takes 100 ms, so that a backlog grows; the fault comes after 3 s. A request
that broke off is sent again with its key. Lost: answered with 202 and never delivered. Stuck: rows that nobody was
promised and that wait for ever. Both systems with their default leases and locks. "Redis emptied" is what a failover to
an empty replica does. One run each.

{table(header, rows)}"""


def _start(section: Mapping[str, Any]) -> str:
    rows = [
        _compared(label, section["runs"], key)
        for label, key in (("API: first 200 of /health, s", "api"), ("worker: first delivery, s", "worker"))
    ]
    return f"""\
## Cold start

From the start of the process; the worker finds a job on the queue. File cache warm.

{table(("", *(run["name"] for run in section["runs"]), "theirs against ours"), rows)}"""


_SECTIONS: dict[str, Callable[[Mapping[str, Any]], str]] = {
    "worker": _worker,
    "loss": _loss,
    "acceptance": _acceptance,
    "crash": _crash,
    "start": _start,
}


def _facts(results: Results) -> str:
    """Of each command that was run at another time, its own."""
    text, shown = "## Machine and versions\n", set[str]()
    for section in results.values():
        facts = section["facts"]
        if facts["date"] not in shown:
            shown.add(facts["date"])
            which = ", ".join(name for name, other in results.items() if other["facts"]["date"] == facts["date"])
            text += f"\nOf {which}:\n\n" + "".join(f"- {name}: {value}\n" for name, value in facts.items())
    return text


def _durations(runs: Sequence[Mapping[str, Any]]) -> list[int]:
    return list(dict.fromkeys(run["milliseconds"] for run in runs))


def _job(milliseconds: int) -> str:
    return f"jobs of {milliseconds} ms" if milliseconds else "jobs that do nothing"


def _deliveries(texts: Sequence[str]) -> str:
    wrong = [text for text in texts if not text.endswith(" once")]
    return wrong[0] if wrong else "0"


def _times(ratio: float) -> str:
    return f"{number(ratio)} x"
