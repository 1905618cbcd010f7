"""Traces, as a collector receives them from an API and a worker in two processes."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import psycopg
import pytest

KIND_SERVER, KIND_CONSUMER = 2, 5
ACCEPT, PROCESS = "POST /v1/deliveries", "process webhook-processor"
CALLER = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


def test_one_trace_leads_from_the_request_to_its_job_and_to_the_receiver(
    processes: Any, collector: Any, receiver: Any, deliver: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "SERVICE_VERSION": "1.2.3"}
    api, worker = processes.start("api", **traced), processes.start("worker", **traced)
    receiver.answers = [503]
    delivery = deliver(api, receiver.url, headers={"traceparent": f"00-{CALLER[0]}-{CALLER[1]}-01"})
    eventually(lambda: collector.named(ACCEPT) and len(collector.named(PROCESS)) == 2)

    (accepted,) = collector.named(ACCEPT)
    assert (accepted.kind, accepted.trace_id, accepted.parent_id) == (KIND_SERVER, *CALLER)
    assert not accepted.failed
    assert accepted.attributes == {
        "http.request.method": "POST",
        "url.path": "/v1/deliveries",
        "url.scheme": "http",
        "network.protocol.version": "1.1",
        "client.address": "127.0.0.1",
        "http.response.status_code": 202,
        "http.route": "/v1/deliveries",
    }
    attempts = collector.named(PROCESS)
    for attempt in attempts:
        assert (attempt.kind, attempt.trace_id) == (KIND_CONSUMER, CALLER[0])
        assert attempt.parent_id == accepted.span_id
        assert attempt.attributes["messaging.system"] == "rq"
        assert attempt.attributes["messaging.destination.name"] == "webhook-processor"
    assert [a.attributes["slipway.job.attempt"] for a in attempts] == [1, 2]
    assert [(a.attributes["slipway.job.outcome"], a.failed) for a in attempts] == [("retry", True), ("done", False)]
    assert [seen["traceparent"] for seen in receiver.headers] == [f"00-{CALLER[0]}-{a.span_id}-01" for a in attempts]
    for span in (accepted, *attempts):
        told = {key: span.resource[key] for key in ("service.name", "service.version", "deployment.environment.name")}
        assert list(told.values()) == ["slipway", "1.2.3", "test"]

    # The log lines of both name the span that they belong to.
    (request,) = [line for line in api.events("request") if line["path"] == "/v1/deliveries"]
    assert (request["trace_id"], request["span_id"]) == (CALLER[0], accepted.span_id)
    ended = worker.events("job ended")
    assert [(line["trace_id"], line["span_id"]) for line in ended] == [(CALLER[0], a.span_id) for a in attempts]
    assert "trace_id" not in worker.events("worker started")[0]
    assert delivery
    assert not [span for span in collector.spans if span.attributes.get("url.path", "").startswith("/health")]


def test_the_last_spans_are_sent_at_the_end(
    processes: Any, collector: Any, receiver: Any, deliver: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url + "/"}
    api, worker = processes.start("api", **traced), processes.start("worker", **traced)
    deliver(api, receiver.url)
    eventually(lambda: worker.events("job ended"))
    assert (api.stop(), worker.stop()) == (0, 0)
    assert collector.named(ACCEPT)
    assert collector.named(PROCESS)


def test_an_api_and_the_worker_beside_it_both_trace(
    processes: Any, collector: Any, receiver: Any, deliver: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    both = processes.start("all", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    deliver(both, receiver.url)
    eventually(lambda: collector.named(ACCEPT) and collector.named(PROCESS))
    (accepted,), (attempt,) = collector.named(ACCEPT), collector.named(PROCESS)
    assert (attempt.trace_id, attempt.parent_id) == (accepted.trace_id, accepted.span_id)
    assert both.stop() == 0


@pytest.mark.flips("otel_traces_sampler_arg")
def test_what_is_not_sampled_is_not_sent_whatever_the_caller_asks_for(
    processes: Any, collector: Any, receiver: Any, deliver: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    traced = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_TRACES_SAMPLER_ARG": "0"}
    api, worker = processes.start("api", **traced), processes.start("worker", **traced)
    deliver(api, receiver.url, headers={"traceparent": f"00-{CALLER[0]}-{CALLER[1]}-01"})
    eventually(lambda: worker.events("job ended"))
    assert (api.stop(), worker.stop()) == (0, 0)
    assert collector.spans == []
    # The receiver sees the trace all the same, and that it is not kept.
    (seen,) = receiver.headers
    assert seen["traceparent"].startswith(f"00-{CALLER[0]}-")
    assert seen["traceparent"].endswith("-00")


def test_a_collector_that_is_away_or_silent_fails_nothing_and_holds_up_no_stop(
    processes: Any, receiver: Any, deliver: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        away = "http://127.0.0.1:9"
        api = processes.start("api", OTEL_EXPORTER_OTLP_ENDPOINT=away)
        worker = processes.start("worker", OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{silent.getsockname()[1]}")
        for _ in range(3):
            deliver(api, receiver.url)
            time.sleep(0.5)
        eventually(lambda: len(worker.events("job ended")) == 3)
        eventually(lambda: api.events("traces are lost, the collector does not take them"))
        begun = time.monotonic()
        assert (api.stop(), worker.stop()) == (0, 0)
        assert time.monotonic() - begun < 15
    for process in (api, worker):
        assert len(process.events("traces are lost, the collector does not take them")) <= 1
        assert not [line for line in process.log() if line["level"] == "error"], process.log_path.read_text()


def test_a_collector_that_takes_traces_again_is_told_once(
    processes: Any, collector: Any, receiver: Any, deliver: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    collector.status = 400
    api = processes.start("api", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    deliver(api, receiver.url)
    eventually(lambda: api.events("traces are lost, the collector does not take them"))
    collector.status = 200
    deliver(api, receiver.url)
    eventually(lambda: api.events("the collector takes traces again"))
    assert collector.named(ACCEPT)
    assert api.stop() == 0
    assert len(api.events("the collector takes traces again")) == 1


def test_a_malformed_traceparent_begins_a_trace(
    processes: Any, collector: Any, receiver: Any, deliver: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    api = processes.start("api", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    deliver(api, receiver.url, headers={"traceparent": "00-zz-1-01"})
    (accepted,) = eventually(lambda: collector.named(ACCEPT))
    assert accepted.parent_id == ""


def test_a_job_of_before_tracing_begins_a_trace(
    processes: Any, collector: Any, receiver: Any, deliver: Callable[..., str], eventually: Callable[..., Any]
) -> None:
    deliver(processes.start("api"), receiver.url)
    with psycopg.connect(processes.environ["DATABASE_URL"]) as connection:
        assert connection.execute("SELECT traceparent FROM jobs").fetchall() == [(None,)]
    processes.start("worker", OTEL_EXPORTER_OTLP_ENDPOINT=collector.url)
    (attempt,) = eventually(lambda: collector.named(PROCESS))
    assert attempt.parent_id == ""
    assert receiver.headers[0]["traceparent"] == f"00-{attempt.trace_id}-{attempt.span_id}-01"


@pytest.mark.flips("otel_exporter_otlp_endpoint")
def test_without_an_endpoint_nothing_of_opentelemetry_is_loaded(processes: Any) -> None:
    """Neither by us nor by redis-py, which would for its own metrics."""
    code = """
import os, sys
from app.observability import traces
from app.settings import Settings
settings = Settings.load(os.environ)
traces.start(settings)
from app.web import server
from app import composition
from app.web.application import Api
from app.queue.worker import main
composition.api(settings)
loaded = [name for name, module in sys.modules.items() if module and name.startswith(("opentelemetry", "requests"))]
print(traces.current(), loaded)
"""
    environ = {**processes.environ, "MODE": "api"}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "None []", done.stderr
