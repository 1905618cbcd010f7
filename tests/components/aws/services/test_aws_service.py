"""Services: what runs, on which capacity, and how a new version takes over."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from infra.engine.plan import Plan, PlannedResource

Services = Callable[..., Plan]
Inputs = Callable[..., Any]
ON_DEMAND = [{"capacityProvider": "FARGATE", "base": 0, "weight": 1}]
SCALED = {"scaling": {"max_replicas": 9}}


def resource(graph: Plan, name: str) -> PlannedResource:
    return next(r for r in graph.resources if r.name == name and r.custom)


def test_a_bad_rollout_fails_the_command_and_is_undone(services: Services, inputs: Inputs) -> None:
    graph = services()
    for name, alarms in (("api", ["errors", "latency"]), ("worker", ["failed-jobs"])):
        service = inputs(graph, f"{name}-service")
        assert service["deploymentCircuitBreaker"] == {"enable": True, "rollback": True}
        wanted = [f"{name}-rollback-{alarm}-name" for alarm in alarms]
        assert service["alarms"] == {"alarmNames": wanted, "enable": True, "rollback": True}
        assert service["waitForSteadyState"] is True
        # Of a provider release nobody knows whether it takes healthy versions back.
        assert "sigintRollback" not in service


def test_the_timeout_is_the_settings(services: Services) -> None:
    graph = services(api={"rollout": {"timeout": "10m"}})
    timeouts = resource(graph, "api-service").registration.options()["customTimeouts"]
    assert timeouts["update"] == timeouts["create"] == 720


def test_percentages_and_numbers(services: Services, inputs: Inputs) -> None:
    rollout = {"minimum_healthy_percent": 50, "maximum_percent": 100}
    service = inputs(services(api={"replicas": 4, "rollout": rollout}), "api-service")
    assert (service["desiredCount"], service["deploymentMinimumHealthyPercent"]) == (4, 50)
    assert service["deploymentMaximumPercent"] == 100
    # Moving tasks between zones takes room above the wanted number.
    assert service["availabilityZoneRebalancing"] == "DISABLED"
    assert inputs(services(), "api-service")["availabilityZoneRebalancing"] == "ENABLED"


@pytest.mark.parametrize("name", ["api", "worker"])
def test_scaling_alone_may_change_the_number(services: Services, name: str) -> None:
    fixed, scaled = services(), services(**{name: SCALED})
    assert not resource(fixed, f"{name}-service").registration.options().get("ignoreChanges")
    assert resource(scaled, f"{name}-service").registration.options()["ignoreChanges"] == ["desiredCount"]
    assert f"{name}-scaling" not in {r.name for r in fixed.resources}
    assert f"{name}-scaling" in {r.name for r in scaled.resources}


def test_spot_comes_above_the_floor(services: Services, inputs: Inputs) -> None:
    graph = services(worker={"replicas": 2, **SCALED}, api=SCALED)
    assert inputs(graph, "api-service")["capacityProviderStrategies"] == ON_DEMAND
    assert inputs(graph, "worker-service")["capacityProviderStrategies"] == [
        {"capacityProvider": "FARGATE", "base": 2, "weight": 0},
        {"capacityProvider": "FARGATE_SPOT", "base": 0, "weight": 1},
    ]
    from_zero = services(worker={"replicas": 0, **SCALED})
    assert inputs(from_zero, "worker-service")["capacityProviderStrategies"] == [
        {"capacityProvider": "FARGATE_SPOT", "base": 0, "weight": 1}
    ]


@pytest.mark.parametrize("worker", [{}, {"spot": False, **SCALED}])
def test_what_always_runs_is_not_on_spot(services: Services, inputs: Inputs, worker: dict[str, Any]) -> None:
    assert inputs(services(worker=worker), "worker-service")["capacityProviderStrategies"] == ON_DEMAND


def test_a_new_floor_does_not_replace_the_workers(services: Services, inputs: Inputs) -> None:
    """The provider makes the service anew when strategies change, unless a new deployment is forced."""
    assert inputs(services(), "worker-service")["forceNewDeployment"] is True
    assert "forceNewDeployment" not in inputs(services(), "api-service")


def test_the_api_is_behind_the_balancer(services: Services, inputs: Inputs) -> None:
    graph = services(api={"port": 8080, "health": {"start_period": "90s"}})
    service = inputs(graph, "api-service")
    (balancer,) = service["loadBalancers"]
    assert (balancer["containerName"], balancer["containerPort"]) == ("api", 8080)
    assert service["healthCheckGracePeriodSeconds"] == 90
    dependencies = resource(graph, "api-service").dependencies
    assert resource(graph, "balancer-https").urn in dependencies
    assert resource(graph, "cluster-capacity").urn in dependencies
    assert "loadBalancers" not in inputs(graph, "worker-service")


def test_where_tasks_live(services: Services, inputs: Inputs) -> None:
    graph = services()
    for name in ("api", "worker"):
        assert inputs(graph, f"{name}-service")["networkConfiguration"] == {
            "subnets": ["subnet-t1", "subnet-t2"],
            "securityGroups": [f"sg-{name}"],
            "assignPublicIp": False,
        }


def test_named_groups_have_their_own_everything(
    services: Services, inputs: Inputs, definition: Callable[..., Any]
) -> None:
    mail = {"queue": "mail", "replicas": 3, "cpu": 1, "memory": "2 GiB", "concurrency": 40}
    graph = services(worker={"groups": {"mail": mail}})
    assert inputs(graph, "worker-mail-service")["desiredCount"] == 3
    assert inputs(graph, "worker-mail-task", "TaskDefinition")["cpu"] == "1024"
    environment = {v["name"]: v["value"] for v in definition(graph, "worker-mail-task")["environment"]}
    assert (environment["QUEUE_NAME"], environment["QUEUE_CONCURRENCY"]) == ("mail", "40")
    api = {v["name"]: v["value"] for v in definition(graph, "api-task")["environment"]}
    assert api["EMF_QUEUES"] == "mail", "the API reports the queues of all groups"


def test_a_combined_api_needs_no_workers(services: Services, definition: Callable[..., Any]) -> None:
    graph = services(api={"mode": "all"})
    assert [r.name for r in graph.of_type("aws:ecs/service:Service")] == ["api-service"]
    container = definition(graph, "api-task")
    assert {"name": "MODE", "value": "all"} in container["environment"]
    assert container["stopTimeout"] == 120


def test_alarms_that_undo_a_rollout(services: Services, inputs: Inputs) -> None:
    graph = services(alerts={"error_percent": 3, "failed_jobs": 7, "latency_p95": "400ms"})
    api, worker = inputs(graph, "api-rollback-errors"), inputs(graph, "worker-rollback-failed-jobs")
    slow = inputs(graph, "api-rollback-latency")
    assert (api["threshold"], slow["threshold"], worker["threshold"]) == (3, 1.6, 7)
    assert slow["extendedStatistic"] == "p95"
    expression = next(q for q in api["metricQueries"] if q.get("expression"))
    assert expression["returnData"] is True
    assert [q.get("returnData") for q in api["metricQueries"]].count(True) == 1
    assert (worker["metricName"], worker["dimensions"]["Queue"]) == ("FailedJobs", "webhook-processor")
    # No traffic, as at night, tells nothing against a version.
    for alarm in (api, slow, worker):
        assert alarm["treatMissingData"] == "notBreaching"
        assert alarm["datapointsToAlarm"] < alarm["evaluationPeriods"]


def test_without_figures_nobody_watches_for_them(planned: Callable[..., Plan]) -> None:
    """An alarm on their absence would be raised for ever."""

    def watched(**groups: Any) -> set[str]:
        graph = planned("prod", **groups)
        return {r.name for r in graph.resources if r.name.startswith("monitoring-queue")}

    assert "monitoring-queue-figures-missing" in watched()
    assert not watched(features={"emf": False}, worker={"scaling": {}})
