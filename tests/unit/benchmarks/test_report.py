"""The page and the chart that the benchmarks write."""

from __future__ import annotations

import dataclasses
from typing import Any
from xml.etree import ElementTree

from benchmarks.application import acceptance, chart, report
from benchmarks.application.http import Messages

FACTS = {"date": "2026-01-02 03:04 UTC", "machine": "two cores"}


def worker_run(name: str, milliseconds: int, rates: list[float], **changes: Any) -> dict[str, Any]:
    return {
        **{"name": name, "concurrency": 10, "milliseconds": milliseconds, "jobs": 100, "rates": rates},
        **{"memory": [50 * 2**20] * len(rates), "deliveries": ["100 once"] * len(rates)},
        **changes,
    }


def results(*runs: dict[str, Any]) -> dict[str, Any]:
    return {"worker": {"facts": FACTS, "runs": list(runs)}}


def cells(page: str, start: str) -> list[str]:
    line = next(line for line in page.splitlines() if line.startswith(f"| {start}"))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_row_states_the_rate_its_range_the_ideal_and_the_ratio() -> None:
    page = report.render(
        results(worker_run("Slipway", 50, [180.0, 190.0, 185.0]), worker_run("RQ Worker", 50, [18.5], concurrency=1))
    )
    assert cells(page, "Slipway") == [
        *("Slipway", "10", "185 (180-190)", "92 %", "1.00 x", "50.0", "100", "0"),
    ]
    assert cells(page, "RQ Worker")[3:5] == ["92 %", "0.10 x"]


def test_jobs_without_a_duration_have_no_ideal() -> None:
    page = report.render(results(worker_run("Slipway", 0, [4000.0])))
    assert cells(page, "Slipway")[2:4] == ["4,000", "-"]


def test_a_run_that_was_not_exact_shows_in_the_table() -> None:
    wrong = "1 missing, 0 repeated, 0 unknown of 100"
    page = report.render(results(worker_run("Slipway", 0, [1.0, 2.0], deliveries=["100 once", wrong])))
    assert wrong in page


def test_the_columns_of_a_table_line_up() -> None:
    lines = report.table(("name", "n", "why"), [("a", "1", "text"), ("longer name", "1,000", "")]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[1] == "| ----------- | ----: | ---- |"


def test_the_facts_stand_once_for_the_parts_that_were_measured_together() -> None:
    both = {**results(worker_run("Slipway", 0, [1.0])), "start": {"facts": FACTS, "runs": starts()}}
    assert report.render(both).count("two cores") == 1
    both["start"]["facts"] = {**FACTS, "date": "2026-02-03 04:05 UTC"}
    assert report.render(both).count("two cores") == 2


def starts() -> list[dict[str, Any]]:
    return [
        {"name": "Slipway", "api": [0.5], "worker": [0.6]},
        {"name": "Fastify + BullMQ", "api": [0.25], "worker": [0.3]},
    ]


def test_the_other_system_is_compared_with_ours() -> None:
    page = report.render({"start": {"facts": FACTS, "runs": starts()}})
    assert cells(page, "API: first 200")[1:] == ["0.50", "0.25", "0.50 x"]


def test_the_acceptance_path_is_shown_in_the_units_of_its_rows() -> None:
    def run(name: str, value: float) -> dict[str, Any]:
        fields = [field.name for field in dataclasses.fields(acceptance.Runs) if field.name != "name"]
        return {
            **{"name": name, **{field: [value] for field in fields}},
            **{"api_memory": [value * 2**20], "refused": [2, 3], "deliveries": ["9 once"]},
        }

    section = {"plan": dataclasses.asdict(acceptance.Plan()), "capacity": 12_345.6}
    runs = [run("Slipway", 20.0), run("Fastify + BullMQ", 50.0)]
    page = report.render({"acceptance": {"facts": FACTS, "runs": runs, **section}})
    assert "12,346 requests/s" in page
    assert cells(page, "accepted/s, both busy")[1:] == ["20.0", "50.0", "2.50 x"]
    assert cells(page, "API, peak MiB")[1:] == ["20.0", "50.0", "2.50 x"]
    assert cells(page, "answers 5xx")[1:3] == ["5", "5"]


def test_the_chart_is_well_formed_and_shows_each_contestant() -> None:
    runs = (worker_run("Slipway", 0, [400.0]), worker_run("A & B", 0, [100.0]))
    document = chart.render(report.panels(results(*runs)))
    texts = [node.text for node in ElementTree.fromstring(document).iter("{http://www.w3.org/2000/svg}text")]
    assert texts == ["Worker alone, jobs that do nothing: jobs/s", "Slipway", "400", "A & B", "100"]


def test_messages_are_cut_wherever_the_network_cuts_them() -> None:
    stream = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\nHost: x\r\n\r\n"
    whole = Messages().feed(stream)
    pieces = Messages()
    assert [found for byte in stream for found in pieces.feed(bytes([byte]))] == whole
    assert [body for _, body in whole] == [b"abc", b""]
