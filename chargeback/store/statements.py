"""Statements of closed months: written once, with the month, and never again."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

from sqlalchemy import Connection, Row, Select, insert, select

from chargeback.core.months.chain import BEGINNING, Link, Statement
from chargeback.store.tables import drafts
from chargeback.store.tables import statements as table

# A statement has all rows of an account: few of them are in memory at once.
PAGE_ROWS = 100
_GZIP_LEVEL = 6


def last_link(connection: Connection) -> tuple[int, str]:
    """Number and hash of the newest statement; what the first one follows where there is none."""
    row = connection.execute(select(table.c.number, table.c.sha256).order_by(table.c.number.desc()).limit(1)).first()
    return (0, BEGINNING) if row is None else (row.number, row.sha256)


def put_statements(connection: Connection, statements: Iterable[Statement], previous: str, closed_ms: int) -> str:
    """Add to the chain, in this order, behind `previous`; the hash of the last one."""
    for statement in statements:
        after = statement.sha256(previous)
        connection.execute(
            insert(table).values(
                month=statement.month,
                account=statement.account,
                number=statement.number,
                draft=statement.draft,
                gpu_ms=str(statement.gpu_ms),
                list_micros=statement.list_micros,
                amount_micros=statement.amount_micros,
                content=gzip.compress(statement.content, _GZIP_LEVEL, mtime=0),
                previous_sha256=previous,
                sha256=after,
                closed_ms=closed_ms,
            )
        )
        previous = after
    return previous


def chain(connection: Connection) -> Iterator[Link]:
    """All statements from the first on, as they were closed."""
    query = _linked().order_by(table.c.number).execution_options(yield_per=PAGE_ROWS)
    for row in connection.execute(query):
        yield _link(row)


def statements_of(connection: Connection, month: str) -> list[Link]:
    """A month's statements, by account."""
    query = _linked().where(table.c.month == month).order_by(table.c.account)
    return [_link(row) for row in connection.execute(query)]


def contents_of(connection: Connection, month: str) -> Iterator[bytes]:
    """The rows of a closed month's CSV, account by account."""
    query = select(table.c.content).where(table.c.month == month).order_by(table.c.account)
    for row in connection.execute(query.execution_options(yield_per=PAGE_ROWS)):
        yield gzip.decompress(row.content)


def _linked() -> Select[Any]:
    of_draft = (drafts.c.month == table.c.month) & (drafts.c.draft == table.c.draft)
    return select(table, drafts.c.sha256.label("lines_sha256")).join(drafts, of_draft)


def _link(row: Row[Any]) -> Link:
    statement = Statement(
        number=row.number,
        month=row.month,
        account=row.account,
        draft=row.draft,
        lines_sha256=row.lines_sha256,
        gpu_ms=Fraction(row.gpu_ms),
        list_micros=row.list_micros,
        amount_micros=row.amount_micros,
        content=gzip.decompress(row.content),
    )
    return Link(statement=statement, previous_sha256=row.previous_sha256, sha256=row.sha256)
