"""Metrics and alarms over simulated time, as CloudWatch evaluates them."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from infra.simulation.metric_math import evaluate
from infra.simulation.model import Alarm, AlarmMetric

_COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
OK: Final = "OK"
IN_ALARM: Final = "ALARM"
INSUFFICIENT_DATA: Final = "INSUFFICIENT_DATA"


class Metrics:
    """Datapoints by metric and minute, of the one statistic that alarms use of each."""

    def __init__(self) -> None:
        self._points: dict[str, dict[int, float]] = defaultdict(dict)

    def put(self, metric: str, minute: int, value: float) -> None:
        """`minute` is the one in which the value was measured, counted from the start."""
        self._points[metric][minute] = value

    def datapoint(self, metric: AlarmMetric, minute: int) -> float | None:
        """The datapoint for a minute, or None without one."""
        return evaluate(
            metric.expression, {id_: self._points[name].get(minute) for id_, name in metric.metrics.items()}
        )


class AlarmState:
    """One alarm, evaluated once a minute."""

    def __init__(self, alarm: Alarm) -> None:
        self.alarm = alarm
        self.state = INSUFFICIENT_DATA
        self.value: float | None = None
        """The latest datapoint."""

    def evaluate(self, metrics: Metrics, minute: int) -> bool:
        """Whether the alarm is in ALARM after the datapoints up to `minute`."""
        alarm = self.alarm
        if minute - alarm.evaluation_periods + 1 < 0:
            return False  # not enough periods have passed since the alarm was made
        window = [metrics.datapoint(alarm.metric, minute - back) for back in range(alarm.evaluation_periods)]
        self.value = next((point for point in window if point is not None), None)
        self.state = self._evaluated(window)
        return self.state == IN_ALARM

    def _evaluated(self, window: list[float | None]) -> str:
        alarm, needed = self.alarm, self.alarm.datapoints_to_alarm
        breaches = _COMPARISONS[alarm.comparison_operator]
        breaching = sum(1 for point in window if point is not None and breaches(point, alarm.threshold))
        missing = window.count(None)
        match alarm.treat_missing_data:
            case "breaching":
                breaching += missing
            case "ignore" if breaching < needed <= breaching + missing:
                return self.state  # the missing ones could have decided either way
            case "missing" if missing == len(window):
                return INSUFFICIENT_DATA
            case "missing":
                needed = min(needed, len(window) - missing)
        return IN_ALARM if breaching >= needed else OK
