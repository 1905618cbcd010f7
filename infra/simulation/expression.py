"""The part of CloudWatch's metric math that scaling alarms use, over single datapoints."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping
from typing import Final


class ExpressionError(Exception):
    """An expression that uses more of metric math than is known here."""

    user_facing = True


_BINARY: Final[dict[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Pow: operator.pow,
}
_COMPARE: Final[dict[type[ast.cmpop], Callable[[float, float], bool]]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: Final[dict[str, Callable[..., float]]] = {
    "ABS": abs,
    "CEIL": math.ceil,
    "FLOOR": math.floor,
}


def evaluate(expression: str, values: Mapping[str, float | None]) -> float | None:
    """The value of an expression; None when a metric that it needs has no datapoint, or for a division by zero.

    `values` are the datapoints of one period by metric id.
    """
    # Metric math reads as Python but for its two logical operators.
    text = expression.replace("&&", " and ").replace("||", " or ").replace(" AND ", " and ").replace(" OR ", " or ")
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except SyntaxError as error:
        raise ExpressionError(f"{expression!r} cannot be read: {error.msg}") from error
    return _value(tree.body, values, expression)


def _value(node: ast.expr, values: Mapping[str, float | None], whole: str) -> float | None:
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name):
            if name not in values:
                raise ExpressionError(f"{whole!r} uses {name}, which no query defines")
            return values[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _value(operand, values, whole)
            return None if inner is None else -inner
        case ast.BoolOp(op=op, values=parts):
            found = [_value(part, values, whole) for part in parts]
            if None in found:
                return None
            return float(all(found) if isinstance(op, ast.And) else any(found))
        case ast.BinOp(left=left, op=op, right=right):
            return _binary(_value(left, values, whole), op, _value(right, values, whole), whole)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            first, second = _value(left, values, whole), _value(right, values, whole)
            return None if first is None or second is None else float(_COMPARE[type(op)](first, second))
        case ast.Call(func=ast.Name(id=name), args=arguments, keywords=[]):
            return _call(name, arguments, values, whole)
    raise ExpressionError(f"{whole!r}: {ast.unparse(node)!r} is not simulated")


def _binary(first: float | None, op: ast.operator, second: float | None, whole: str) -> float | None:
    if first is None or second is None:
        return None
    if isinstance(op, ast.Div):
        return first / second if second else None  # CloudWatch leaves the datapoint out
    if type(op) not in _BINARY:
        raise ExpressionError(f"{whole!r}: the operator {type(op).__name__} is not simulated")
    return float(_BINARY[type(op)](first, second))


def _call(name: str, arguments: list[ast.expr], values: Mapping[str, float | None], whole: str) -> float | None:
    if name == "IF" and len(arguments) in (2, 3):
        condition = _value(arguments[0], values, whole)
        if condition is None:
            return None
        chosen = arguments[1] if condition else (arguments[2] if len(arguments) == 3 else None)
        return None if chosen is None else _value(chosen, values, whole)
    if name == "FILL" and len(arguments) == 2:
        found = _value(arguments[0], values, whole)
        return _value(arguments[1], values, whole) if found is None else found
    if name in _FUNCTIONS and len(arguments) == 1:
        found = _value(arguments[0], values, whole)
        return None if found is None else float(_FUNCTIONS[name](found))
    raise ExpressionError(f"{whole!r}: the function {name} is not simulated")
