"""Statements that SQLAlchemy put together, evaluated over the simulation's rows. Only what the queue uses."""

from __future__ import annotations

import operator
import uuid
from collections.abc import Callable, Hashable
from datetime import timedelta
from typing import Any

from sqlalchemy import Insert, Select, Update
from sqlalchemy.sql import elements, functions, operators, selectable

from simulated.postgres_server import Row, Transaction, Work

_COMPARE: dict[Any, Callable[[Any, Any], Any]] = {
    operators.eq: operator.eq,
    operators.ne: operator.ne,
    operators.lt: operator.lt,
    operators.le: operator.le,
    operators.gt: operator.gt,
    operators.ge: operator.ge,
    operators.add: operator.add,
    operators.sub: operator.sub,
}
_DEFAULTS: dict[str, dict[str, Any]] = {"jobs": {
    "state": "pending", "attempt": 0, "enqueued_at": None, "lease_until": None, "claimed_by": None,
    "correlation_id": None, "traceparent": None, "last_error": None, "finished_at": None,
}, "deliveries": {
    "status": "pending", "idempotency_key": None, "request_hash": None, "last_error": None, "completed_at": None,
}}  # fmt: skip


def execute(transaction: Transaction, statement: Any) -> Work:
    """Rows as dictionaries."""
    match statement:
        case Select():
            return _Evaluation(transaction).select(statement)
        case Update():
            return _Evaluation(transaction).update(statement)
        case Insert():
            return _insert(transaction, statement)
    raise NotImplementedError(f"the simulated Postgres cannot do this yet: {statement}")


def _insert(transaction: Transaction, statement: Insert) -> Work:
    table = statement.table.name
    evaluation = _Evaluation(transaction)
    given = {getattr(name, "name", name): evaluation.value(one, {}) for name, one in (statement._values or {}).items()}
    row = {**_DEFAULTS[table], **dict.fromkeys(("run_at", "created_at", "updated_at"), transaction.at), **given}
    yield from transaction.lock((table, row["id"]))
    transaction.write(table, row["id"], row)
    return []


class _Evaluation:
    def __init__(self, transaction: Transaction) -> None:
        self._tx = transaction
        self._subqueries: dict[int, list[Any]] = {}

    def select(self, statement: Select[Any]) -> Work:
        froms = statement.get_final_froms()
        if not froms:
            return [{_name(column, n): self.value(column, {}) for n, column in enumerate(statement.selected_columns)}]
        table = froms[0].name
        yield from self._find_subqueries(statement)
        rows = [row for row in self._tx.snapshot[table].values() if self._matches(statement, row)]
        for clause in reversed(statement._order_by_clauses):
            rows.sort(key=lambda row, clause=clause: _sortable(self.value(clause, row)))  # type: ignore[misc]
        if (lock := statement._for_update_arg) is not None:
            rows = yield from self._locked(statement, table, rows, skip=bool(lock.skip_locked))
        if statement._limit_clause is not None:
            rows = rows[: self.value(statement._limit_clause, {})]
        columns = list(statement.selected_columns)
        if any(isinstance(column, functions.count) for column in columns):
            return [{"count": len(rows)}]
        return [{_name(column, n): self.value(column, row) for n, column in enumerate(columns)} for row in rows]

    def _locked(self, statement: Any, table: str, rows: list[Row], *, skip: bool) -> Work:
        kept = []
        for row in rows:
            if skip:
                if not self._tx.try_lock((table, row["id"])):
                    continue
            else:
                yield from self._tx.lock((table, row["id"]))
            latest = self._tx.latest(table, row["id"])
            if latest is not None and self._matches(statement, latest):
                kept.append(latest)
        return kept

    def update(self, statement: Update) -> Work:
        table = statement.table.name
        yield from self._find_subqueries(statement)
        rows = [row for row in self._tx.snapshot[table].values() if self._matches(statement, row)]
        changed = []
        for row in self._tx.plan_order(rows):
            yield from self._tx.lock((table, row["id"]))
            latest = self._tx.latest(table, row["id"])
            if latest is None or not self._matches(statement, latest):
                continue
            new = dict(latest)
            for column, one in statement._values.items():
                new[getattr(column, "name", column)] = self.value(one, latest)
            self._tx.write(table, row["id"], new)
            self._tx.facts.append(("update", table, latest, new))
            changed.append(new)
        columns = list(statement._returning)
        return [{_name(column, n): self.value(column, row) for n, column in enumerate(columns)} for row in changed]

    def _find_subqueries(self, statement: Any) -> Work:
        for clause in statement._where_criteria:
            for part in _walk(clause):
                if isinstance(part, Select):
                    rows = yield from self.select(part)
                    self._subqueries[id(part)] = [next(iter(row.values())) for row in rows]
        return None

    def _matches(self, statement: Any, row: Row) -> bool:
        return all(self.value(clause, row) for clause in statement._where_criteria)

    def value(self, one: Any, row: Row) -> Any:
        match one:
            case elements.BindParameter():
                return _plain(one.effective_value)
            case elements.Null():
                return None
            case elements.False_():
                return False
            case elements.True_():
                return True
            case elements.BooleanClauseList():
                values = [self.value(clause, row) for clause in one.clauses]
                return all(values) if one.operator is operators.and_ else any(values)
            case elements.Tuple():
                return tuple(self.value(clause, row) for clause in one.clauses)
            case elements.Grouping() | elements.Label() | elements.UnaryExpression():
                return self.value(one.element, row)
            case elements.Extract():
                return self.value(one.expr, row)
            case elements.Cast():
                return self.value(one.clause, row)
            case functions.now():
                return self._tx.at
            case functions.Function() if one.name == "pg_try_advisory_xact_lock":
                return self._tx.try_lock(("advisory", self.value(next(iter(one.clauses)), row)))
            case functions.Function() if one.name == "extract":
                return self.value(list(one.clauses)[-1], row)
            case elements.BinaryExpression():
                return self._binary(one, row)
            case elements.ColumnClause():
                return row[one.name]
        if isinstance(one, str | int | float | uuid.UUID | None):
            return one
        raise NotImplementedError(f"the simulated Postgres cannot evaluate {type(one).__name__}: {one}")

    def _binary(self, one: elements.BinaryExpression[Any], row: Row) -> Any:
        left = self.value(one.left, row)
        if one.operator is operators.in_op:
            right = _unwrapped(one.right)
            return left in (self._subqueries[id(right)] if isinstance(right, Select) else self.value(right, row))
        right = self.value(one.right, row)
        if one.operator is operators.is_:
            return left is right
        if one.operator is operators.is_not:
            return left is not right
        return None if left is None or right is None else _COMPARE[one.operator](left, right)


def _plain(value: Any) -> Any:
    return value.total_seconds() if isinstance(value, timedelta) else value


def _walk(clause: Any) -> list[Any]:
    found = [clause]
    for child in clause.get_children():
        if isinstance(inner := _unwrapped(child), Select):
            found.append(inner)
        elif not isinstance(child, selectable.FromClause):
            found += _walk(child)
    return found


def _unwrapped(clause: Any) -> Any:
    while isinstance(clause, selectable.ScalarSelect | selectable.SelectStatementGrouping):
        clause = clause.element
    return clause


def _name(column: Any, number: int) -> str:
    return getattr(column, "name", None) or f"column_{number}"


def _sortable(value: Any) -> Hashable:
    return (value is None, value)
