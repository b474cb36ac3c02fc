"""Many rows at once: COPY on PostgreSQL, one prepared INSERT on SQLite, both in the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ARRAY, BigInteger, Column, Connection, Integer, String, Table, Text, bindparam, func
from sqlalchemy import column as sql_column
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


def unnested(connection: Connection, columns: Sequence[Column[Any]], rows: Sequence[Sequence[Any]]) -> Any:
    """Rows as a table of PostgreSQL's, `given`, with these columns: so one statement can update them all."""
    assert connection.dialect.name != "sqlite"
    arrays = [
        bindparam(f"given_{column.name}", [row[number] for row in rows], ARRAY(_PLAIN[type(column.type)]))
        for number, column in enumerate(columns)
    ]
    names = (sql_column(column.name, _PLAIN[type(column.type)]) for column in columns)
    return func.unnest(*arrays).table_valued(*names, name="given").render_derived()


# Collations are the columns' own.
_PLAIN: dict[type[Any], type[Any]] = {BigInteger: BigInteger, Integer: Integer, Text: Text, String: Text}


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
