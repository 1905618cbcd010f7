"""The dashboard and the alert rules as documents; tests/local/observability holds their metrics against real ones."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

FOLDER = Path(__file__).parents[3] / "docs" / "observability"
README = (FOLDER / "README.md").read_text()
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "grafana-dashboard.json").read_text())
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
CHARTS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression with the place where it stands; Grafana's variables as it would fill them in."""
    for panel in CHARTS:
        for target in panel["targets"]:
            text = target["expr"].replace("$__rate_interval", "1m")
            yield f"{panel['title']} {target['refId']}", re.sub(r"\$(queue|kind)\b", ".*", text)
    for rule in RULES:
        yield rule["alert"], rule["expr"]


@pytest.mark.parametrize("expression", [pytest.param(text, id=place) for place, text in expressions()])
def test_every_expression_is_promql(expression: str) -> None:
    assert "$" not in expression, "a variable that the dashboard does not have"
    promql_parser.parse(expression)


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids)) > 30
    cells = Counter(
        (x, y)
        for place in (panel["gridPos"] for panel in DASHBOARD["panels"])
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    )
    assert set(cells.values()) == {1}
    assert max(x for x, _ in cells) == 23


def test_the_data_source_is_chosen_at_the_import() -> None:
    def sources(node: Any) -> Iterator[Any]:
        if isinstance(node, dict):
            yield from ([node["datasource"]] if "datasource" in node else [])
            for value in node.values():
                yield from sources(value)
        elif isinstance(node, list):
            for value in node:
                yield from sources(value)

    assert {json.dumps(source, sort_keys=True) for source in sources(DASHBOARD)} == {
        '{"type": "prometheus", "uid": "${datasource}"}'
    }
    assert [v["name"] for v in DASHBOARD["templating"]["list"] if v["type"] == "datasource"] == ["datasource"]


def test_every_panel_says_what_it_shows() -> None:
    for panel in CHARTS:
        assert panel["title"], panel["id"]
        assert len(panel["description"]) > 8, panel["title"]
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])


def test_every_metric_of_ours_is_drawn() -> None:
    drawn = " ".join(text for _, text in expressions())
    described = set(re.findall(r"^\| `((?:slipway|http)_\w+)`", README, re.MULTILINE))
    assert len(described) > 20
    for name in described:
        assert re.search(rf"\b{name}(_bucket|_sum|_count)?\b", drawn), name


def test_rules_have_what_prometheus_knows_and_no_more() -> None:
    for rule in RULES:
        assert set(rule) <= {"alert", "expr", "for", "labels", "annotations"}, rule["alert"]
        assert re.fullmatch(r"\d+[smh]", rule.get("for", "0s")), rule["alert"]


def test_each_alert_has_a_severity_a_summary_and_a_section_of_what_to_do() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    assert re.findall(r"^### (Slipway\w+)$", README, re.MULTILINE) == names
    for rule in RULES:
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert rule["annotations"]["summary"].endswith("."), rule["alert"]


def test_summaries_name_only_labels_that_the_expression_leaves() -> None:
    for rule in RULES:
        expression = promql_parser.parse(rule["expr"])
        left = set(re.findall(r"\bby \(([^)]*)\)", rule["expr"]) or ["instance, job"])
        named = set(re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]))
        assert named <= {label.strip() for labels in left for label in labels.split(",")}, (rule["alert"], expression)
