"""Inserts of Prefect's server on SQLite under `up`: each is compiled once, not each time that it is run.

SQLAlchemy does not remember what it compiled of an insert of SQLite's own kind, as Prefect makes them all,
nor of one with several rows in its VALUES, as events, logs and states of task runs are written. Compiling
costs more than running. Here such an insert has a cache key, and rows go beside the statement. Where one of
them is refused those before it stand until the transaction is rolled back, and Prefect rolls it back.
"""

from __future__ import annotations

from typing import Any

from prefect.server.database.query_components import AioSqliteQueryComponents
from sqlalchemy import BindParameter, ClauseElement
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite.dml import OnConflictClause, OnConflictDoUpdate
from sqlalchemy.orm.bulk_persistence import BulkORMInsert
from sqlalchemy.sql.cache_key import NO_CACHE


class Insert(sqlite.Insert):
    """SQLite's insert, whose compiled form is remembered."""

    inherit_cache = True

    def on_conflict_do_update(
        self, index_elements: Any = None, index_where: Any = None, set_: Any = None, where: Any = None
    ) -> Any:
        """Add an upsert; its values are parameters, and no part of what is compiled."""
        columns: Any = self.table.c
        if isinstance(set_, dict) and all(_name(column) in columns for column in set_):
            set_ = {
                column: BindParameter(None, value, type_=columns[_name(column)].type, unique=True)
                if not isinstance(value, ClauseElement) and not hasattr(value, "__clause_element__")
                else value
                for column, value in set_.items()
            }
        return super().on_conflict_do_update(index_elements, index_where, set_, where)


def compile_once() -> None:
    """Compile each insert once."""
    setattr(AioSqliteQueryComponents, "insert", lambda _, table: Insert(table))  # noqa: B010 (mypy: a method)
    setattr(OnConflictClause, "_gen_cache_key", _key_of_conflict)  # noqa: B010 (mypy: a method)
    bulk: Any = BulkORMInsert
    stock = bulk.orm_execute_statement

    def orm_execute_statement(
        session: Any, statement: Any, params: Any, options: Any, arguments: Any, connection: Any
    ) -> Any:
        """Run an insert; one that carries its rows is run as one that is given them."""
        if isinstance(statement, Insert) and not params and (rows := _rows_of(statement)):
            statement = statement._generate()
            statement._multi_values, params = (), rows
        return stock(session, statement, params, options, arguments, connection)

    bulk.orm_execute_statement = staticmethod(orm_execute_statement)


def _rows_of(statement: Insert) -> list[dict[str, Any]] | None:
    """Return the rows that a statement carries, or None where they cannot be taken out of it."""
    if len(statement._multi_values) != 1 or statement._returning:
        return None
    carried: Any = statement._multi_values[0]
    rows = [{_name(column): value for column, value in row.items()} for row in carried]
    if any(isinstance(value, ClauseElement) for row in rows for value in row.values()):
        return None
    return rows if all(row.keys() == rows[0].keys() for row in rows) else None


def _key_of_conflict(self: Any, anonymous: Any, parameters: list[BindParameter[Any]]) -> Any:
    """Return the cache key of an `ON CONFLICT`; one that holds what is no expression has none."""
    updates = self.update_values_to_set if isinstance(self, OnConflictDoUpdate) else ()
    where = getattr(self, "update_whereclause", None)
    if self.inferred_target_whereclause is not None or any(
        not isinstance(value, ClauseElement) for _, value in updates
    ):
        anonymous[NO_CACHE] = True
        return None
    return (
        type(self),
        tuple(_name(target) for target in self.inferred_target_elements or ()),
        tuple((_name(column), value._gen_cache_key(anonymous, parameters)) for column, value in updates),
        None if where is None else where._gen_cache_key(anonymous, parameters),
    )


def _name(column: Any) -> str:
    return str(getattr(column, "key", column))
