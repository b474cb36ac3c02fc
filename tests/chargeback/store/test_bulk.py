"""Many rows at once are the rows that were given, to the byte, and all of them or none."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert, select
from sqlalchemy.exc import IntegrityError

from chargeback.store.bulk import bulk_insert, upsert
from chargeback.store.database import Database, PartFailed, part
from chargeback.store.partitions import want_months
from chargeback.store.tables import marked_days, node_hour_bodies, nodes, price_books

# What COPY would take for something else: its NULL, its end, its escapes and separators.
ODD = (
    "",
    "\\N",
    "\\.",
    "\t",
    "a\nb",
    "\r\n",
    "\\",
    "\\t",
    '"',
    "'",
    "é",
    "日本",
    "\U0001f600",
    "NULL",
    " x ",
    "\x01",
)
COLUMNS = ("version", "content", "source", "recorded_ms", "who", "why")


def test_texts_come_back_as_they_went_in(database: Database) -> None:
    """Text, NULL and names of any script, on both databases."""
    rows = [(n, text, text[::-1], 2**62 + n, text, None) for n, text in enumerate(ODD)]
    with database.write() as connection:
        bulk_insert(connection, price_books, COLUMNS, iter(rows))
        found = connection.execute(select(*(price_books.c[name] for name in COLUMNS)).order_by("version")).all()
    assert [tuple(row) for row in found] == rows


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    texts=st.lists(
        st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
        min_size=1,
        max_size=20,
    )
)
def test_any_text_comes_back(database: Database, texts: list[str | None]) -> None:
    """Whatever a name may contain."""
    rows = [(n, text or "", "x", -n, text, text) for n, text in enumerate(texts)]
    with database.write() as connection:
        connection.execute(delete(price_books))
        bulk_insert(connection, price_books, COLUMNS, rows)
        found = connection.execute(select(*(price_books.c[name] for name in COLUMNS)).order_by("version")).all()
    assert [tuple(row) for row in found] == rows


def test_bytes_and_booleans_come_back(database: Database) -> None:
    """A body is bytes."""
    every = bytes(range(256))
    names = [column.name for column in node_hour_bodies.c]
    row = ("lab", "n1", 497_000, "agent", 1, 2, 3, True, 4, every)
    with database.write() as connection:
        want_months(connection, node_hour_bodies, ["2026-09"])
        bulk_insert(connection, node_hour_bodies, names, [row, (*row[:3], "other", *row[4:7], False, 4, b"")])
        found = connection.execute(select(node_hour_bodies).order_by("instance")).all()
    assert [(kept.final, bytes(kept.body)) for kept in found] == [(True, every), (False, b"")]


def test_no_rows_are_no_rows(database: Database) -> None:
    """An hour without cards."""
    with database.write() as connection:
        bulk_insert(connection, marked_days, ("cluster", "day"), [])
        assert connection.execute(select(marked_days)).all() == []


def test_all_or_none_and_the_transaction_goes_on(database: Database) -> None:
    """One row that cannot be put takes its part with it, and nothing else."""
    with database.write() as connection:
        connection.execute(insert(nodes).values(cluster="c", node="before", last_push_ms=1))
        rows = [("c", f"n{number}", number) for number in range(100)]
        with pytest.raises(PartFailed, match="IntegrityError"), part(connection):
            bulk_insert(connection, nodes, ("cluster", "node", "last_push_ms"), [*rows, rows[0]])
        bulk_insert(connection, nodes, ("cluster", "node", "last_push_ms"), [("c", "after", 2)])
    with database.read() as connection:
        assert connection.execute(select(nodes.c.node).order_by("node")).scalars().all() == ["after", "before"]


def test_what_fails_is_undone_with_its_transaction(database: Database) -> None:
    """COPY runs in the transaction that asked for it."""

    def fail() -> None:
        with database.write() as connection:
            bulk_insert(connection, marked_days, ("cluster", "day"), [("c", "2026-10-03")])
            bulk_insert(connection, marked_days, ("cluster", "day"), [("d", "2026-10-03"), ("d", "2026-10-03")])

    with pytest.raises(IntegrityError):
        fail()
    with database.read() as connection:
        assert connection.execute(select(marked_days)).all() == []


@pytest.mark.parametrize("count", [1, 3])
def test_rows_that_are_there_take_the_news(database: Database, count: int) -> None:
    """By the primary key, one row or many; where they must not, they stay as they are. Odd names come back."""
    names = [f"n{number} {ODD[number]}" for number in range(count)]
    rows = [{"cluster": "lab", "node": name, "last_push_ms": 10 + number} for number, name in enumerate(names)]
    later = [row | {"last_push_ms": 20} for row in rows] + [{"cluster": "lab", "node": "new", "last_push_ms": 2**62}]

    def kept() -> dict[str, int]:
        return {row.node: row.last_push_ms for row in connection.execute(select(nodes))}

    with database.write() as connection:
        upsert(connection, nodes, [], lambda excluded: {})
        upsert(connection, nodes, rows, lambda excluded: {"last_push_ms": excluded.last_push_ms})
        assert kept() == {name: 10 + number for number, name in enumerate(names)}
        first = nodes.c.last_push_ms == 10
        upsert(connection, nodes, later, lambda excluded: {"last_push_ms": excluded.last_push_ms + 1}, where=first)
        wanted = {name: 10 + number for number, name in enumerate(names)} | {names[0]: 21, "new": 2**62}
        assert kept() == wanted
