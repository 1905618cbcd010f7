"""Alarms, events, topic, dashboard and budget: complete, on metrics that exist, and with somebody to tell."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import pytest

from infra.aws import queue_metrics
from infra.aws.alarms import catalogue
from infra.aws.alarms.delivery import delivery_alarms
from infra.aws.alarms.model import HOUR, RUNBOOK, Alarm, Formula, Metric, Trouble
from infra.aws.alarms.monitored import (
    Monitored,
    MonitoredBalancer,
    MonitoredDumps,
    MonitoredPostgres,
    MonitoredRedis,
    MonitoredService,
)
from infra.aws.notifications import PUBLISHERS
from infra.engine.fakes import DeclaredFakes
from infra.engine.plan import Plan, PlannedResource, plan
from infra.engine.project.project import ProgramConfig, Project
from infra.engine.values import Secret
from infra.settings.platform import Alerts

ROOT = Path(__file__).parents[3]
METRICS: dict[str, dict[str, list[list[str]]]] = json.loads(
    Path(__file__).with_name("data").joinpath("cloudwatch_metrics.json").read_text()
)
"""What the services report, and by which dimensions, from the metric pages of their user guides."""

ACCOUNT = "123456789012"
CLUSTER = f"arn:aws:ecs:eu-central-1:{ACCOUNT}:cluster/slipway-prod"
API = f"arn:aws:ecs:eu-central-1:{ACCOUNT}:service/slipway-prod/api-1"
WORKER = f"arn:aws:ecs:eu-central-1:{ACCOUNT}:service/slipway-prod/worker-1"
DATABASE = f"arn:aws:rds:eu-central-1:{ACCOUNT}:db:postgres-1"
DUMPS = Metric(namespace="Slipway", name="DumpSeconds", dimensions={"Stack": "prod"}, statistic="SampleCount")

MONITORED = Monitored(
    stack="prod",
    cluster="slipway-prod",
    cluster_arn=CLUSTER,
    balancer=MonitoredBalancer(
        suffix="app/web/1",
        target_suffix="targetgroup/api/2",
        certificate_arn="arn:aws:acm:eu-central-1:1:certificate/1",
    ),
    services=(
        MonitoredService(role="api", name="api-1", arn=API, floor=2, queue=None, log_group="/slipway/api"),
        MonitoredService(
            role="worker", name="worker-1", arn=WORKER, floor=1, queue="webhook-processor", log_group="/slipway/worker"
        ),
        MonitoredService(role="worker-mail", name="worker-mail-1", arn=f"{WORKER}-mail", floor=0, queue="mail"),
    ),
    postgres=MonitoredPostgres(
        identifier="postgres-1",
        arn=DATABASE,
        max_connections=900,
        storage_gib=100,
        memory_gib=8,
        burstable=True,
        replica_identifiers=("postgres-replica-1",),
    ),
    redis=MonitoredRedis(member_ids=("redis-1-001", "redis-1-002")),
    dumps=MonitoredDumps(metric=DUMPS),
)
ALARM, COMPOSITE = "aws:cloudwatch/metricAlarm:MetricAlarm", "aws:cloudwatch/compositeAlarm:CompositeAlarm"
RULE = "aws:cloudwatch/eventRule:EventRule"

_PROGRAM = """\
import json
from pathlib import Path

import pulumi

from infra.aws.monitoring import Monitoring, MonitoringArgs
from infra.settings.platform import Alerts
from {module} import MONITORED

given = json.loads({given!r})
webhook = given.pop("webhook")
pulumi.export("url", Monitoring(
    "monitoring",
    MonitoringArgs(
        monitored=MONITORED,
        alerts=Alerts.model_validate(given["alerts"]),
        region="eu-central-1",
        account="123456789012",
        webhook=pulumi.Output.secret(webhook) if webhook else None,
        key=given["key"],
    ),
).dashboard_url)
"""

Monitored = Callable[..., Plan]


@pytest.fixture(scope="module")
def monitored(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """The plan of a program that only monitors `MONITORED`; the same question is answered once."""
    module, folder = "monitoring_watched", tmp_path_factory.mktemp("monitoring")
    sys.modules[module] = types.SimpleNamespace(MONITORED=MONITORED)  # type: ignore[assignment]
    answered: dict[str, Plan] = {}

    def make(
        alerts: Mapping[str, Any] | None = None,
        *,
        webhook: str | None = None,
        key: str | None = None,
        known: bool = True,
    ) -> Plan:
        told = {"emails": ["ops@example.com"], **(alerts or {})}
        given = json.dumps({"alerts": told, "webhook": webhook, "key": key})
        if (question := f"{known} {given}") not in answered:
            (folder / "__main__.py").write_text(_PROGRAM.format(module=module, given=given))
            lone = dataclasses.replace(project, root=folder, main=folder)
            config = ProgramConfig(values={}, secret_keys=frozenset())
            fakes = DeclaredFakes() if known else None
            answered[question] = plan(project=lone, stack="prod", config=config, fakes=fakes)
        return answered[question]

    yield make
    del sys.modules[module]


def alarms(alerts: Alerts | None = None) -> dict[str, Alarm]:
    told = delivery_alarms("slipway-prod-alerts", {"rollout-failed": "slipway-prod-rollout-failed"})
    return {alarm.role: alarm for alarm in (*catalogue.alarms(MONITORED, alerts or Alerts()), *told)}


def exists(metric: Metric, extra: Mapping[str, Any] | None = None) -> bool:
    dimensions = sorted(metric.dimensions)
    if metric.namespace == queue_metrics.NAMESPACE:
        own = metric.name in queue_metrics.FIGURES and dimensions == ["Queue", "Stack"]
        return own or metric == DUMPS or (metric.name.endswith("-ErrorLogs") and not dimensions)
    return dimensions in METRICS.get(metric.namespace, {}).get(metric.name, [])


def measured(alarm: Alarm) -> Iterator[Metric]:
    yield from alarm.when.measure.metrics.values() if isinstance(alarm.when.measure, Formula) else [alarm.when.measure]


@pytest.mark.parametrize("alarm", alarms().values(), ids=lambda alarm: alarm.role)
def test_an_alarm_measures_what_is_reported(alarm: Alarm) -> None:
    for metric in measured(alarm):
        assert exists(metric), f"{metric.namespace} reports no {metric.name} by {sorted(metric.dimensions)}"


def test_a_metric_that_nobody_reports_is_noticed() -> None:
    real = Metric(
        namespace="AWS/RDS", name="FreeStorageSpace", dimensions={"DBInstanceIdentifier": "x"}, statistic="Sum"
    )
    assert exists(real)
    assert not exists(dataclasses.replace(real, name="FreeStorage"))
    assert not exists(dataclasses.replace(real, dimensions={"DBInstanceId": "x"}))


@pytest.mark.parametrize("alarm", alarms().values(), ids=lambda alarm: alarm.role)
def test_an_alarm_is_one_that_cloudwatch_accepts(alarm: Alarm) -> None:
    longest = 7 * 24 * HOUR if alarm.when.period >= HOUR else 24 * HOUR  # PutMetricAlarm, EvaluationPeriods
    assert alarm.when.period % 60 == 0
    assert alarm.when.period * alarm.when.periods <= longest
    assert len(alarm.description) <= 1024
    assert alarm.silence.because


def test_alarms_cover_what_the_guide_watches() -> None:
    """Each figure that the production guide names under monitoring, scaling and security has an alarm."""
    found = {(metric.namespace, metric.name) for alarm in alarms().values() for metric in measured(alarm)}
    assert found >= {
        *(("AWS/ApplicationELB", name) for name in ("HTTPCode_Target_5XX_Count", "HTTPCode_ELB_5XX_Count")),
        *(("AWS/ApplicationELB", name) for name in ("TargetResponseTime", "UnHealthyHostCount", "HealthyHostCount")),
        *(("AWS/ECS", name) for name in ("CPUUtilization", "MemoryUtilization")),
        *(("ECS/ContainerInsights", name) for name in ("DesiredTaskCount", "RunningTaskCount")),
        *(
            ("AWS/RDS", name)
            for name in ("CPUUtilization", "DatabaseConnections", "FreeStorageSpace", "FreeableMemory")
        ),
        ("AWS/RDS", "ReplicaLag"),
        *(("AWS/ElastiCache", name) for name in ("DatabaseMemoryUsagePercentage", "Evictions", "CurrConnections")),
        ("AWS/ElastiCache", "EngineCPUUtilization"),
        *(("Slipway", name) for name in ("QueueDepth", "OldestJobWaitSeconds", "FailedJobs", "OutboxOldestSeconds")),
        ("Slipway", DUMPS.name),
    }


def test_silence_is_bad_only_where_it_means_something() -> None:
    silent = {role for role, alarm in alarms().items() if alarm.silence.missing == "breaching"}
    assert silent == {
        *("api-down", "api-below-desired", "worker-below-desired"),
        *("queue-figures-missing", "postgres-replica-1-lag", "dump-missing"),
    }
    assert alarms()["worker-mail-below-desired"].silence.missing == "notBreaching"  # it may sleep


@pytest.mark.parametrize(
    ("served", "failed", "refused", "share"),
    [(1000, 50, 0, 5), (0, 0, 0, 0), (3, 1, 0, 0), (0, 0, 200, 100), (100, 10, 100, 55)],
    ids=["some", "idle", "too few to tell", "no replica left", "both"],
)
def test_the_share_of_errors(served: int, failed: int, refused: int, share: float) -> None:
    measure = alarms()["api-errors"].when.measure
    assert isinstance(measure, Formula)
    assert set(measure.metrics) == {"served", "failed", "refused"}
    # CloudWatch divides nothing by nothing without complaint; Python wants the branch only when it is taken.
    lazy = re.sub(r", (100 \* .*), 0\)$", r", lambda: \1, 0)", measure.expression)
    names = {
        "IF": lambda condition, yes, no: yes() if condition else no,
        "FILL": lambda value, _: value,
        **{"served": served, "failed": failed, "refused": refused},
    }
    assert eval(lazy, names) == share


@pytest.mark.parametrize("known", [False, True], ids=["unknown", "known"])
def test_every_alarm_tells_somebody(monitored: Monitored, known: bool) -> None:
    graph = monitored(known=known)
    composites = graph.of_type(COMPOSITE)
    spoken_for = {name for each in composites for name in re.findall(r'ALARM\("([^"]+)"\)', each.inputs["alarmRule"])}
    for alarm in (*graph.of_type(ALARM), *composites):
        name = alarm.inputs.get("name") or alarm.inputs["alarmName"]
        told = alarm.inputs.get("alarmActions", [])
        assert bool(told) != (name in spoken_for), f"{name} tells nobody, or twice"
        assert alarm.inputs.get("okActions", []) == told
        assert alarm.registration.dependencies or name in spoken_for


def test_without_a_receiver_alarms_show_and_nothing_is_sent(monitored: Monitored) -> None:
    graph = monitored({"emails": []})
    assert graph.of_type(ALARM)
    assert not [r for r in (*graph.of_type(ALARM), *graph.of_type(COMPOSITE)) if "alarmActions" in r.inputs]
    assert not [r for r in graph.resources if r.type.startswith(("aws:sns", "aws:kms")) or r.type == RULE]


def test_an_outage_is_told_once(monitored: Monitored) -> None:
    degraded = monitored().find(COMPOSITE, "monitoring-api-degraded").inputs
    assert degraded["actionsSuppressor"]["alarm"] == "slipway-prod-api-down"
    assert "slipway-prod-api-down" not in degraded["alarmRule"]


def test_names_are_unique_and_say_whose_they_are(monitored: Monitored) -> None:
    names = [
        r.inputs.get("alarmName") or r.inputs["name"]
        for r in monitored().resources
        if r.type in (ALARM, COMPOSITE, RULE)
    ]
    assert len(names) == len(set(names))
    assert all(name.startswith("slipway-prod-") for name in names)
    assert all(len(r.inputs["name"]) <= 64 for r in monitored().of_type(RULE))


@pytest.mark.parametrize(
    ("key", "value", "role"),
    [
        ("error_percent", 9, "api-errors"),
        ("latency_p95", "2s", "api-latency"),
        ("service_cpu", 91, "worker-cpu"),
        ("service_memory", 92, "api-memory"),
        ("database_cpu", 93, "postgres-cpu"),
        ("database_connections", 50, "postgres-connections"),
        ("database_storage_free", 30, "postgres-storage"),
        ("database_memory_free", 10, "postgres-memory"),
        ("replica_lag", "5s", "postgres-replica-1-lag"),
        ("redis_memory", 60, "redis-1-memory"),
        ("redis_cpu", 61, "redis-2-cpu"),
        ("redis_connections", 500, "redis-1-connections"),
        ("queue_depth", 7, "queue-mail-depth"),
        ("queue_wait", "5m", "queue-webhook-processor-wait"),
        ("failed_jobs", 3, "queue-mail-failed"),
        ("error_logs", 4, "worker-error-logs"),
    ],
)
def test_a_threshold_comes_from_the_settings(key: str, value: Any, role: str) -> None:
    before, after = alarms(), alarms(Alerts.model_validate({key: value}))
    assert before[role].properties()["threshold"] != after[role].properties()["threshold"]
    seen = {field for field in Alerts.model_fields if field not in ("emails", "monthly_budget")}
    assert key in seen


def test_every_trouble_has_its_section() -> None:
    headings = re.findall(r"^## (.+)$", (ROOT / RUNBOOK).read_text(), re.MULTILINE)
    sections = {heading.lower().replace(" ", "-") for heading in headings}
    assert set(get_args(Trouble)) <= sections


def test_thresholds_have_the_units_of_their_metrics() -> None:
    found = alarms()
    assert found["api-latency"].when.above == 0.5  # seconds
    assert found["postgres-storage"].when.below == 15 * 1024**3  # bytes
    assert found["postgres-connections"].when.above == 720
    assert found["queue-mail-wait"].when.above == 60


def test_the_topic_is_encrypted_and_lets_only_the_account_speak(monitored: Monitored) -> None:
    graph = monitored()
    assert graph.find("aws:sns/topic:Topic", "notifications-topic").inputs["kmsMasterKeyId"] == "notifications-key-arn"
    key = graph.find("aws:kms/key:Key", "notifications-key").inputs
    assert key["enableKeyRotation"] is True
    made = graph.find("aws:kms/key:Key", "notifications-key")
    assert made.registration.protect is False  # nothing that is kept is encrypted with it
    topic = graph.find("aws:sns/topicPolicy:TopicPolicy", "notifications-policy").inputs
    for policy in (key["policy"], topic["policy"]):
        (speakers,) = [s for s in json.loads(policy)["Statement"] if s["Sid"] == "Speakers"]
        assert speakers["Principal"] == {"Service": list(PUBLISHERS)}
        assert speakers["Condition"] == {"StringEquals": {"aws:SourceAccount": ACCOUNT}}
        # EventBridge gives a condition nothing to look at: with one, every event would be dropped.
        (events,) = [s for s in json.loads(policy)["Statement"] if s["Sid"] == "Events"]
        assert (events["Principal"], "Condition" in events) == ({"Service": "events.amazonaws.com"}, False)
    (deny,) = [s for s in json.loads(topic["policy"])["Statement"] if s["Sid"] == "TlsOnly"]
    assert (deny["Effect"], deny["Condition"]) == ("Deny", {"Bool": {"aws:SecureTransport": "false"}})


def test_a_key_of_the_stack_serves_the_topic_too(monitored: Monitored) -> None:
    graph = monitored(key="arn:aws:kms:eu-central-1:1:key/1")
    assert not graph.of_type("aws:kms/key:Key")
    topic = graph.find("aws:sns/topic:Topic", "notifications-topic").inputs
    assert topic["kmsMasterKeyId"] == "arn:aws:kms:eu-central-1:1:key/1"


def test_receivers(monitored: Monitored) -> None:
    graph = monitored({"emails": ["a@example.com", "b@example.com"]}, webhook="https://events.example.com/planted")
    found = {r.name: r.inputs for r in graph.of_type("aws:sns/topicSubscription:TopicSubscription")}
    assert found["notifications-email-b@example.com"]["endpoint"] == "b@example.com"
    webhook = found["notifications-webhook"]
    assert webhook["endpoint"] == Secret("https://events.example.com/planted")
    assert (webhook["protocol"], webhook["endpointAutoConfirms"]) == ("https", True)
    assert "planted" not in json.dumps(graph.to_json())


def test_a_receiver_that_is_named_twice_gets_one_message(monitored: Monitored) -> None:
    graph = monitored({"emails": ["a@example.com", "a@example.com"]})
    assert len(graph.of_type("aws:sns/topicSubscription:TopicSubscription")) == 1


@pytest.mark.parametrize(("known"), [False, True], ids=["unknown", "known"])
def test_everything_hangs_under_the_component(monitored: Monitored, known: bool) -> None:
    graph = monitored({"monthly_budget": 100}, known=known)
    by_urn = {r.urn: r for r in graph.resources}
    for resource in graph.resources:
        if resource.custom:
            assert by_urn[str(resource.parent)].type in ("slipway:aws:Monitoring", "slipway:aws:Notifications")


def test_unknown_outputs_take_nothing_out_of_the_graph(monitored: Monitored) -> None:
    assert {r.urn for r in monitored(known=False).resources} == {r.urn for r in monitored().resources}


def test_errors_in_logs_are_counted(monitored: Monitored) -> None:
    filters = {r.name: r.inputs for r in monitored().of_type("aws:cloudwatch/logMetricFilter:LogMetricFilter")}
    assert set(filters) == {"monitoring-api-errors", "monitoring-worker-errors"}  # the third writes no JSON
    made = filters["monitoring-worker-errors"]
    assert made["logGroupName"] == "/slipway/worker"
    counted = made["metricTransformation"]
    alarm = alarms()["worker-error-logs"].when.measure
    assert isinstance(alarm, Metric)
    assert (counted["namespace"], counted["name"]) == (alarm.namespace, alarm.name)


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"features": {"emf": False}, "worker": {"scaling": {"max_replicas": None}}}, ("-queue-",)),
        ({"log": {"format": "text"}}, ("-error-logs",)),
        ({"backup": {"dumps": False}}, ("-dump-",)),
    ],
    ids=["no figures", "no JSON", "no dumps"],
)
def test_what_is_not_there_is_not_watched(planned: Monitored, change: Mapping[str, Any], gone: tuple[str, ...]) -> None:
    def watched(graph: Plan) -> set[str]:
        return {r.name for r in graph.of_type(ALARM) if r.name.startswith("monitoring-")}

    before, after = watched(planned("prod")), watched(planned("prod", **change))
    assert before - after == {name for name in before if any(part in name for part in gone)} != set()
    assert after < before


def test_lost_messages_of_every_rule_are_counted(monitored: Monitored) -> None:
    graph = monitored()
    lost = graph.find(ALARM, "monitoring-events-undelivered").inputs["metricQueries"]
    names = {query["metric"]["dimensions"]["RuleName"] for query in lost if "metric" in query}
    assert names == {rule.inputs["name"] for rule in graph.of_type(RULE)}
    failed = graph.find(ALARM, "monitoring-messages-undelivered").inputs
    assert failed["dimensions"] == {"TopicName": "slipway-prod-alerts"}


def test_the_budget_tells_before_and_after(monitored: Monitored) -> None:
    graph = monitored({"monthly_budget": 1500})
    budget = graph.find("aws:budgets/budget:Budget", "monitoring-budget").inputs
    assert (budget["limitAmount"], budget["limitUnit"], budget["timeUnit"]) == ("1500", "USD", "MONTHLY")
    assert [n["notificationType"] for n in budget["notifications"]] == ["FORECASTED", "ACTUAL"]
    assert all(n["subscriberSnsTopicArns"] == ["notifications-topic-arn"] for n in budget["notifications"])
    assert not monitored().of_type("aws:budgets/budget:Budget")


# --- events ----------------------------------------------------------------------------------------------------------

EVENTS: dict[str, dict[str, Any]] = {
    "rollout-failed": {
        "source": "aws.ecs",
        "detail-type": "ECS Deployment State Change",
        "resources": [API],
        "detail": {
            "eventType": "ERROR",
            "eventName": "SERVICE_DEPLOYMENT_FAILED",
            "deploymentId": "ecs-svc/1",
            "reason": "ECS deployment circuit breaker: task failed to start.",
        },
    },
    "replicas-not-starting": {
        "source": "aws.ecs",
        "detail-type": "ECS Service Action",
        "resources": [WORKER],
        "detail": {
            "eventType": "ERROR",
            "eventName": "SERVICE_TASK_PLACEMENT_FAILURE",
            "clusterArn": CLUSTER,
            "reason": "RESOURCE:FARGATE",
        },
    },
    "out-of-memory": {
        "source": "aws.ecs",
        "detail-type": "ECS Task State Change",
        "resources": [f"{CLUSTER.replace('cluster', 'task')}/1"],
        "detail": {
            "clusterArn": CLUSTER,
            "group": "service:worker-1",
            "lastStatus": "STOPPED",
            "containers": [
                {"name": "worker", "reason": "OutOfMemoryError: Container killed due to memory usage", "exitCode": 137}
            ],
        },
    },
    "database-events": {
        "source": "aws.rds",
        "detail-type": "RDS DB Instance Event",
        "resources": [DATABASE],
        "detail": {
            "EventCategories": ["failover"],
            "SourceType": "DB_INSTANCE",
            "SourceArn": DATABASE,
            "SourceIdentifier": "postgres-1",
            "Message": "Multi-AZ failover to standby complete - DNS propagation may take a few minutes",
        },
    },
    "backup-failed": {
        "source": "aws.backup",
        "detail-type": "Backup Job State Change",
        "resources": [],
        "detail": {"backupJobId": "1", "state": "FAILED", "resourceArn": DATABASE, "statusMessage": "no"},
    },
    "restore-failed": {
        "source": "aws.backup",
        "detail-type": "Restore Job State Change",
        "resources": [],
        "detail": {"restoreJobId": "1", "status": "FAILED", "resourceType": "RDS", "statusMessage": "no"},
    },
}


def matches(rule: PlannedResource, event: Mapping[str, Any]) -> bool:
    return _matches(json.loads(rule.inputs["eventPattern"]), event)


def _matches(pattern: Any, value: Any) -> bool:
    """EventBridge's own matching, as far as our patterns go: every key must be there, a list names what is allowed, and
    of a list in the event one item is enough."""
    if isinstance(value, list):
        return any(_matches(pattern, item) for item in value)
    if isinstance(pattern, dict):
        return isinstance(value, dict) and all(
            key in value and _matches(part, value[key]) for key, part in pattern.items()
        )
    allowed = [each for each in pattern if isinstance(each, str)]
    prefixes = [each["prefix"] for each in pattern if isinstance(each, dict)]
    assert len(allowed) + len(prefixes) == len(pattern), "a pattern of a kind that this test does not know"
    return value in allowed or any(str(value).startswith(prefix) for prefix in prefixes)


def test_each_event_raises_its_own_rule(monitored: Monitored) -> None:
    rules = {r.name.removeprefix("monitoring-"): r for r in monitored().of_type(RULE)}
    assert set(rules) == set(EVENTS)
    for role, event in EVENTS.items():
        assert [name for name, rule in rules.items() if matches(rule, event)] == [role]


@pytest.mark.parametrize(
    ("role", "change"),
    [
        ("rollout-failed", {"detail": {"eventName": "SERVICE_DEPLOYMENT_COMPLETED"}}),
        ("rollout-failed", {"resources": [f"{CLUSTER}-other/service"]}),
        ("replicas-not-starting", {"detail": {"eventName": "SERVICE_STEADY_STATE"}}),
        ("out-of-memory", {"detail": {"clusterArn": f"{CLUSTER}-other"}}),
        ("out-of-memory", {"detail": {"containers": [{"reason": "exited"}]}}),
        ("database-events", {"detail": {"EventCategories": ["backup"]}}),
        ("database-events", {"resources": [f"{DATABASE}-other"]}),
        ("backup-failed", {"detail": {"state": "COMPLETED"}}),
        ("backup-failed", {"detail": {"resourceArn": f"{DATABASE}-other"}}),
        ("restore-failed", {"detail": {"status": "COMPLETED"}}),
    ],
)
def test_other_events_stay_unsaid(monitored: Monitored, role: str, change: Mapping[str, Any]) -> None:
    event = {**EVENTS[role], **change, "detail": {**EVENTS[role]["detail"], **change.get("detail", {})}}
    assert not matches(monitored().find(RULE, f"monitoring-{role}"), event)


def test_an_event_arrives_as_one_sentence(monitored: Monitored) -> None:
    for target in monitored().of_type("aws:cloudwatch/eventTarget:EventTarget"):
        transformer = target.inputs["inputTransformer"]
        template = transformer["inputTemplate"]
        used = set(re.findall(r"<(\w+)>", template))
        assert used == set(transformer["inputPaths"])
        event = EVENTS[target.name.removeprefix("monitoring-").removesuffix("-target")]
        for path in transformer["inputPaths"].values():
            assert found(event, path), f"{target.name}: {path} is not in the event"
        assert RUNBOOK in json.loads(re.sub(r"<\w+>", "x", template))


def found(event: Any, path: str) -> Any:
    for part in re.findall(r"[\w-]+|\[\d+\]", path.removeprefix("$.")):
        event = event[int(part[1:-1])] if part.startswith("[") else event[part]
    return event


# --- dashboard -------------------------------------------------------------------------------------------------------


def dashboard(graph: Plan) -> dict[str, Any]:
    body = graph.find("aws:cloudwatch/dashboard:Dashboard", "monitoring-dashboard").inputs["dashboardBody"]
    return json.loads(body)  # type: ignore[no-any-return]


def test_the_dashboard_lies_on_its_grid(monitored: Monitored) -> None:
    widgets = dashboard(monitored())["widgets"]
    taken: set[tuple[int, int]] = set()
    for widget in widgets:
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not cells & taken, f"{widget['properties'].get('title')} covers another widget"
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len(widgets) <= 500


def test_the_dashboard_shows_what_is_reported(monitored: Monitored) -> None:
    lines = [
        (widget["properties"], line)
        for widget in dashboard(monitored())["widgets"]
        if widget["type"] == "metric"
        for line in widget["properties"]["metrics"]
    ]
    assert len(lines) > 30
    for properties, (namespace, name, *pairs, options) in lines:
        dimensions = dict(zip(pairs[::2], pairs[1::2], strict=True))
        assert exists(Metric(namespace=namespace, name=name, dimensions=dimensions, statistic=options["stat"]))
        assert properties["region"] == "eu-central-1"


def test_the_dashboard_shows_every_alarm_and_the_errors(monitored: Monitored) -> None:
    graph = monitored()
    widgets = {widget["type"]: widget["properties"] for widget in dashboard(graph)["widgets"]}
    assert len(widgets["alarm"]["alarms"]) == len(graph.of_type(ALARM)) <= 100
    assert "SOURCE '/slipway/api' | SOURCE '/slipway/worker' | fields" in widgets["log"]["query"]


def test_the_dashboard_is_linked(monitored: Monitored) -> None:
    assert monitored().outputs["url"] == (
        "https://eu-central-1.console.aws.amazon.com/cloudwatch/home?region=eu-central-1#dashboards/dashboard/"
        "slipway-prod-overview"
    )
