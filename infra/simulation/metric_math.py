"""The part of CloudWatch's metric math that scaling alarms use, over single datapoints."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Any, Final


class MetricMathError(Exception):
    """An expression that uses more of metric math than is simulated."""

    user_facing = True


def _divide(dividend: float, divisor: float) -> float | None:
    return dividend / divisor if divisor else None  # CloudWatch leaves the datapoint out


_OPERATORS: Final[dict[type[ast.operator | ast.cmpop | ast.boolop], Callable[..., Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divide,
    ast.Pow: operator.pow,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.And: lambda *values: all(values),
    ast.Or: lambda *values: any(values),
}
_FUNCTIONS: Final[dict[str, Callable[..., float]]] = {"ABS": abs, "CEIL": math.ceil, "FLOOR": math.floor}


def evaluate(expression: str, values: Mapping[str, float | None]) -> float | None:
    """The value of an expression; None when a metric that it needs has no datapoint, or for a division by zero.

    `values` are the datapoints of one period by metric id.
    """
    # Metric math reads as Python but for its two logical operators.
    text = expression.replace("&&", " and ").replace("||", " or ").replace(" AND ", " and ").replace(" OR ", " or ")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise MetricMathError(f"{expression!r} cannot be read: {error.msg}") from error

    def apply(function: Callable[..., Any], *operands: ast.expr) -> float | None:
        found = [value(operand) for operand in operands]
        result = None if None in found else function(*found)
        return None if result is None else float(result)

    def value(node: ast.expr) -> float | None:
        match node:
            case ast.Constant(value=int() | float() as number):
                return float(number)
            case ast.Name(id=name):
                if name not in values:
                    raise MetricMathError(f"{expression!r} uses {name}, which no query defines")
                return values[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return apply(operator.neg, operand)
            case ast.BoolOp(op=op, values=operands):
                return apply(_OPERATORS[type(op)], *operands)
            case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _OPERATORS:
                return apply(_OPERATORS[type(op)], left, right)
            case ast.BinOp(left=left, op=op, right=right):
                if type(op) not in _OPERATORS:
                    raise MetricMathError(f"{expression!r}: the operator {type(op).__name__} is not simulated")
                return apply(_OPERATORS[type(op)], left, right)
            case ast.Call(func=ast.Name(id="IF"), args=[condition, chosen, *rest], keywords=[]) if len(rest) < 2:
                met = value(condition)
                branch = chosen if met else next(iter(rest), None)
                return None if met is None or branch is None else value(branch)
            case ast.Call(func=ast.Name(id="FILL"), args=[metric, filler], keywords=[]):
                found = value(metric)
                return value(filler) if found is None else found
            case ast.Call(func=ast.Name(id=name), args=operands, keywords=[]):
                if name not in _FUNCTIONS or len(operands) != 1:
                    raise MetricMathError(f"{expression!r}: the function {name} is not simulated")
                return apply(_FUNCTIONS[name], *operands)
        raise MetricMathError(f"{expression!r}: {ast.unparse(node)!r} is not simulated")

    return value(tree.body)
