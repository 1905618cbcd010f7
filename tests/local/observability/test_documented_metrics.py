"""The dashboard, the alerts and the README use the metrics and labels that real processes export, and name them all."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from prometheus_client.parser import text_string_to_metric_families

FOLDER = Path(__file__).parents[3] / "docs" / "observability"
PROMETHEUS_OWN = {"up": {"job", "instance"}}
"""What Prometheus adds to what it reads."""
HISTOGRAM = re.compile(r"_(bucket|sum|count)$")


def series(*texts: str) -> dict[str, set[str]]:
    """The labels that each series has, by name."""
    found: dict[str, set[str]] = defaultdict(set)
    for text in texts:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                found[sample.name] |= set(sample.labels) | {"job", "instance"}
    return found


def expressions() -> Iterator[str]:
    for panel in json.loads((FOLDER / "grafana-dashboard.json").read_text())["panels"]:
        for target in panel.get("targets", ()):
            yield re.sub(r"\$(queue|kind)\b", ".*", target["expr"].replace("$__rate_interval", "1m"))
    for group in yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])


def used(node: Any, grouped: frozenset[str] = frozenset()) -> Iterator[tuple[str, set[str]]]:
    """The series in a parsed expression, each with the labels that it is asked for or grouped by."""
    if isinstance(node, promql_parser.VectorSelector):
        yield str(node.name), {*grouped, *(matcher.name for matcher in node.matchers.matchers)}
    if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
        grouped |= set(node.modifier.labels)
    for name in ("expr", "lhs", "rhs", "param", "vector_selector"):
        if (child := getattr(node, name, None)) is not None:
            yield from used(child, grouped)
    for child in getattr(node, "args", None) or ():
        yield from used(child, grouped)


def test_what_is_drawn_alerted_and_described_is_what_processes_export(
    processes: Any, receiver: Any, deliver: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    api, worker = processes.start("api"), processes.start("worker")
    deliver(api, receiver.url)
    eventually(lambda: worker.events("job ended"))
    eventually(lambda: "slipway_worker_last_seen_seconds{" in api.metrics())
    exported = series(api.metrics(), worker.own_metrics())

    known = {**exported, **PROMETHEUS_OWN}
    asked = [(name, labels, text) for text in expressions() for name, labels in used(promql_parser.parse(text))]
    assert len(asked) > 60
    for name, labels, text in asked:
        assert name in known, text
        assert labels <= known[name], text

    # A metric that nobody describes is one that nobody reads, and a described one that is gone misleads.
    families = {
        HISTOGRAM.sub("", name) if "le" in exported.get(HISTOGRAM.sub("_bucket", name), ()) else name
        for name in exported
    }
    metrics_part = (FOLDER / "README.md").read_text().partition("## Metrics")[2].partition("## Alerts")[0]
    described = set(re.findall(r"`((?:slipway|http|process)_\w+)`", metrics_part))
    assert described == families
