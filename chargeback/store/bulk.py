"""Many rows at once: COPY on PostgreSQL, one prepared INSERT on SQLite, both in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError


def bulk_insert(connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Put rows, each with a value for every named column: texts, integers, booleans, bytes or None.

    Raises what an INSERT raises (IntegrityError, OperationalError …); then none of the rows is there.
    """
    quoted = ", ".join(table.c[name].name for name in columns)
    if connection.dialect.name == "sqlite":
        values = [tuple(row) for row in rows]
        if values:
            marks = ", ".join("?" * len(columns))
            connection.exec_driver_sql(f"INSERT INTO {table.name} ({quoted}) VALUES ({marks})", values)
        return
    _copy(connection, f"COPY {table.name} ({quoted}) FROM STDIN", rows)


def _copy(connection: Connection, statement: str, rows: Iterable[Sequence[Any]]) -> None:
    """Through the driver itself, for SQLAlchemy has no COPY; its errors become those that SQLAlchemy raises."""
    driver = connection.dialect.loaded_dbapi
    try:
        with connection.connection.cursor() as cursor, cursor.copy(statement) as copy:  # type: ignore[attr-defined]
            for row in rows:
                copy.write_row(row)
    except driver.Error as error:
        gone = connection.dialect.is_disconnect(error, None, None)
        if gone:
            connection.invalidate(error)
        wrapped = DBAPIError.instance(
            statement, None, error, driver.Error, connection_invalidated=gone, dialect=connection.dialect
        )
        raise wrapped from error
