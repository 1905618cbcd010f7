"""Metrics and alarms over simulated time, as CloudWatch evaluates them."""

from __future__ import annotations

import operator
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final

from .expression import evaluate
from .model import Alarm, Measure

_COMPARE: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}
OK: Final = "OK"
IN_ALARM: Final = "ALARM"
INSUFFICIENT: Final = "INSUFFICIENT_DATA"


class Metrics:
    """Datapoints by metric and minute. Each has its own statistic already: it is given in by whoever measures."""

    def __init__(self) -> None:
        self._points: dict[str, dict[int, float]] = defaultdict(dict)

    def put(self, metric: str, minute: int, value: float) -> None:
        """`minute` is the one in which the value was measured, counted from the start."""
        self._points[metric][minute] = value

    def get(self, metric: str, minute: int) -> float | None:
        return self._points[metric].get(minute)

    def measure(self, measure: Measure, minute: int) -> float | None:
        """The datapoint of a measure for a minute, or None without one."""
        return evaluate(measure.expression, {id_: self.get(metric, minute) for id_, metric in measure.metrics.items()})


class AlarmState:
    """One alarm. Ask once a minute."""

    def __init__(self, alarm: Alarm) -> None:
        self.alarm = alarm
        self.state = INSUFFICIENT
        self.value: float | None = None
        """The latest datapoint."""

    def look(self, metrics: Metrics, minute: int) -> bool:
        """Whether the alarm is in ALARM after the datapoints up to `minute`."""
        alarm = self.alarm
        if minute - alarm.periods + 1 < 0:
            return False  # not enough periods have passed since the alarm was made
        window = [metrics.measure(alarm.measure, minute - back) for back in range(alarm.periods)]
        self.value = next((point for point in window if point is not None), None)
        self.state = self._judged(window)
        return self.state == IN_ALARM

    def _judged(self, window: list[float | None]) -> str:
        alarm = self.alarm
        breaching = sum(1 for point in window if point is not None and self._breaches(point))
        missing = window.count(None)
        match alarm.missing:
            case "breaching":
                return IN_ALARM if breaching + missing >= alarm.datapoints else OK
            case "notBreaching":
                return IN_ALARM if breaching >= alarm.datapoints else OK
            case "ignore":
                if missing and breaching < alarm.datapoints and breaching + missing >= alarm.datapoints:
                    return self.state  # the missing ones could have decided either way
                return IN_ALARM if breaching >= alarm.datapoints else OK
            case "missing":
                if missing == len(window):
                    return INSUFFICIENT
                return IN_ALARM if breaching >= min(alarm.datapoints, len(window) - missing) else OK

    def _breaches(self, value: float) -> bool:
        return _COMPARE[self.alarm.comparison](value, self.alarm.threshold)
