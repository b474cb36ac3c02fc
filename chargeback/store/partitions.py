"""Month partitions of bodies and lines on PostgreSQL: made ahead, or when late rows come; detached in the end.

SQLite keeps plain tables. Both remember from which month on rows are kept: what was let go must not be rated anew.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime

from sqlalchemy import Connection, Table, select, text

from chargeback.core.hours import HOUR_MS, month_after, month_span_ms
from chargeback.store.database import Database
from chargeback.store.tables import kept_from, lines, node_hour_bodies

# Partitions are made for the running month and so many more.
AHEAD_MONTHS = 3
PARTITIONED = (node_hour_bodies, lines)
DETACHED = "_detached"

# Any number will do, as long as every replica takes the same, and no other lock of ours does.
_LOCK = 0x70617274
# A local month begins no later than so many hours after UTC's.
_ZONES_HOURS = 12
# Making a partition waits for nobody's rows, only for another change of the same table.
_LOCK_TIMEOUT = "5s"
# A connection remembers for so long which months it may write; retention is in no hurry.
_KNOWN, _KNOWN_FOR_S = "chargeback_partitions", 60.0
_STORAGE = {
    # A body is written again with every push; its dead versions must not pile up.
    "node_hour_bodies": "WITH (autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_scale_factor = 0.02)",
    "lines": "",
}


class TooOld(ValueError):
    """Rows of this month were let go: nothing of it can be taken in or rated any more."""

    def __init__(self, month: str, first: str) -> None:
        super().__init__(f"{month} is no longer kept: want {first} or later")


def utc_month(hour: int) -> str:
    """The UTC month of an hour: what bodies are kept by."""
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m")


def first_hour(month: str) -> int:
    """Of a UTC month."""
    return month_span_ms(month, "UTC")[0] // HOUR_MS


def make_ahead(database: Database, now_ms: int) -> list[str]:
    """Make the partitions of this month and the next ones; the names of those that were not there yet."""
    if database.is_sqlite:
        return []
    this = utc_month(now_ms // HOUR_MS)
    made: list[str] = []
    for table in PARTITIONED:
        for count in range(AHEAD_MONTHS + 1):
            with database.write() as connection:
                made += _make(connection, table, month_after(this, count))
    return made


def want_months(connection: Connection, table: Table, months: Iterable[str]) -> None:
    """To be called before rows of these months are put. Raises TooOld.

    A partition that is not there is made in a transaction of its own, so that others wait only for that.
    """
    known: dict[tuple[str, str], float] = connection.info.setdefault(_KNOWN, {})
    recent = time.monotonic() - _KNOWN_FOR_S
    missing = [month for month in sorted(set(months)) if known.get((table.name, month), -math.inf) < recent]
    if not missing:
        return
    first = kept_since(connection, table)
    if first is not None and missing[0] < first:
        raise TooOld(missing[0], first)
    if connection.dialect.name != "sqlite":
        for month in missing:
            if not _is_there(connection, table, month):
                with connection.engine.begin() as another:
                    _make(another, table, month)
    known |= {(table.name, month): time.monotonic() for month in missing}


def kept_since(connection: Connection, table: Table) -> str | None:
    """The first month of which rows are kept; None: none was let go yet."""
    found: str | None = connection.execute(select(kept_from.c.month).where(kept_from.c.what == table.name)).scalar()
    return found


def first_kept_hour(connection: Connection) -> int:
    """The first hour whose bodies are kept: earlier ones cannot be rated again."""
    month = kept_since(connection, node_hour_bodies)
    return 0 if month is None else first_hour(month)


def first_hour_with_lines(connection: Connection) -> int:
    """The first hour of which all lines are kept, in any time zone: plans of earlier ones cannot be settled again."""
    month = kept_since(connection, lines)
    return 0 if month is None else first_hour(month) + _ZONES_HOURS


def keeps_lines(connection: Connection, month: str) -> bool:
    """Whether a month's lines were not let go."""
    return month >= (kept_since(connection, lines) or "")


def want_lines(connection: Connection, month: str) -> None:
    """To be called before a month's lines are read. Raises TooOld: that there are none would be untrue."""
    first = kept_since(connection, lines)
    if first is not None and month < first:
        raise TooOld(month, first)


def attached(connection: Connection, table: Table) -> list[str]:
    """The months of a table's partitions, oldest first; none on SQLite."""
    children = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = CAST(:table AS regclass)"
    return _months(connection, children, table, "")


def detached(connection: Connection, table: Table) -> list[str]:
    """The months that were detached and still lie there as tables of their own, oldest first; none on SQLite."""
    tables = "SELECT relname FROM pg_class WHERE relkind = 'r' AND pg_table_is_visible(oid)"
    return _months(connection, f"{tables} AND starts_with(relname, :table)", table, DETACHED)


def detached_tables(connection: Connection) -> list[str]:
    """What the operator may archive or drop."""
    return [name_of(table, month) + DETACHED for table in PARTITIONED for month in detached(connection, table)]


def name_of(table: Table, month: str) -> str:
    """`lines_2026_10`."""
    return f"{table.name}_{month.replace('-', '_')}"


def detach(connection: Connection, table: Table, month: str) -> str:
    """Make a partition a table of its own; its name. Its rows are no longer the ledger's."""
    name = name_of(table, month)
    connection.execute(text(f"ALTER TABLE {table.name} DETACH PARTITION {name}"))
    connection.execute(text(f"ALTER TABLE {name} RENAME TO {name}{DETACHED}"))
    return name + DETACHED


def _months(connection: Connection, query: str, table: Table, suffix: str) -> list[str]:
    if connection.dialect.name == "sqlite":
        return []
    name = re.compile(rf"{table.name}_(\d{{4}})_(\d{{2}}){suffix}")
    found = connection.execute(text(query), {"table": table.name}).scalars()
    return sorted(f"{match[1]}-{match[2]}" for match in map(name.fullmatch, found) if match)


def _is_there(connection: Connection, table: Table, month: str) -> bool:
    query = "SELECT 1 FROM pg_inherits WHERE inhparent = CAST(:table AS regclass) AND inhrelid = to_regclass(:name)"
    names = {"table": table.name, "name": name_of(table, month)}
    return connection.execute(text(query), names).first() is not None


def _make(connection: Connection, table: Table, month: str) -> list[str]:
    """CREATE and ATTACH: writers of the table go on meanwhile, and would wait for a CREATE … PARTITION OF."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    if _is_there(connection, table, month):
        return []
    name = name_of(table, month)
    connection.execute(text(f"CREATE TABLE {name} (LIKE {table.name} INCLUDING ALL) {_STORAGE[table.name]}"))
    connection.execute(text(f"ALTER TABLE {table.name} ATTACH PARTITION {name} FOR VALUES {_bound(table, month)}"))
    return [name]


def _bound(table: Table, month: str) -> str:
    if table is node_hour_bodies:
        return f"FROM ({first_hour(month)}) TO ({first_hour(month_after(month))})"
    return f"IN ('{month}')"
