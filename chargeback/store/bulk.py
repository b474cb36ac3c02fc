"""Many rows at once: COPY on PostgreSQL, one prepared INSERT on SQLite, both in the caller's transaction."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    ColumnElement,
    Connection,
    Integer,
    Row,
    String,
    Table,
    Text,
    any_,
    bindparam,
    cast,
    func,
    select,
    true,
)
from sqlalchemy import column as sql_column
from sqlalchemy.exc import DBAPIError

from chargeback.store.database import insert_or


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


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    news: Callable[[Any], Mapping[str, Any]],
    where: ColumnElement[bool] | None = None,
) -> None:
    """Put rows, in their order; where one of the same primary key is there, it takes the `news` of what came instead.

    rows: all of the same columns. where: of the row that is there; without it all take the news. It is locked anyway.
    """
    if not rows:
        return
    names, keys = list(rows[0]), [column.name for column in table.primary_key]
    new: Any = insert_or(connection, table)
    values: Sequence[Mapping[str, Any]] | None = rows
    if connection.dialect.name != "sqlite" and len(rows) > 1:
        given = _given(rows, [table.c[name] for name in names])
        new, values = new.from_select(names, select(*(given.c[name] for name in names))), None
    put = new.on_conflict_do_update(index_elements=keys, set_=news(new.excluded), where=where)
    connection.execute(put, values)


def _given(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column[Any]]) -> Any:
    """Rows as a table of PostgreSQL's: as one JSON parameter, for an array a column costs driver and server more."""
    text = bindparam("given", msgspec.json.encode(rows).decode(), Text())
    # Collations are the columns' own.
    plain = (sql_column(each.name, Text if isinstance(each.type, String) else each.type) for each in columns)
    records_of = func.json_to_recordset(cast(text, JSON))
    return records_of.table_valued(*plain, name="given", joins_implicitly=True).render_derived(with_types=True)


def among(connection: Connection, column: Column[Any], names: Collection[str]) -> ColumnElement[bool]:
    """Whether a column of names has one of many: as one parameter where the database takes that, for each costs."""
    if connection.dialect.name == "sqlite":
        return column.in_(sorted(names))
    return column == any_(bindparam("among", sorted(names), ARRAY(Text), unique=True))


def rows_of(
    connection: Connection,
    table: Table,
    group: tuple[str, Sequence[str], Sequence[int]],
    columns: Sequence[ColumnElement[Any]],
    *where: ColumnElement[bool],
    locked: bool = False,
) -> Sequence[Row[Any]]:
    """Columns of a cluster's rows of some nodes in some hours, in no order. locked: and lock them, but not others'.

    On PostgreSQL each is looked up by itself: the newest hour is one of which no statistics know yet, and the planner
    takes it for empty and would rather read all of it.
    """
    cluster, nodes, hours = group
    if connection.dialect.name == "sqlite":
        among = (table.c.cluster == cluster, table.c.node.in_(nodes), table.c.hour.in_(hours))
        return connection.execute(select(*columns).where(*among, *where)).all()
    node = (
        func.unnest(bindparam("of_nodes", list(nodes), ARRAY(Text)))
        .table_valued("node", name="of_nodes")
        .render_derived()
    )
    hour = (
        func.unnest(bindparam("of_hours", list(hours), ARRAY(Integer)))
        .table_valued("hour", name="of_hours")
        .render_derived()
    )
    one = select(*columns).where(
        table.c.cluster == cluster,
        table.c.node == node.c.node,
        table.c.hour == hour.c.hour,
        table.c.hour.between(min(hours), max(hours)),  # the partitions
        *where,
    )
    # Either keeps the planner from joining in its own way.
    one = one.with_for_update(skip_locked=True) if locked else one.offset(0)
    each = one.correlate(node, hour).lateral("found")
    query = select(each).select_from(node.join(hour, true()).join(each, true()))
    return connection.execute(query).all()


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
