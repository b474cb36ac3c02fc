"""What a month is exported as: its statement, sums below it, or its very lines. Streams, in one read transaction."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from chargeback.answers.costs import FIELDS as COST_FIELDS
from chargeback.answers.costs import cost_json
from chargeback.core.costs import COST_CENTER, LABEL, OF_LINES, WORKLOAD, Costs, Wanted, grouped, label_of, value_of
from chargeback.core.details import (
    FIELDS,
    GROUPS,
    HEADER,
    HOUR,
    PROVISIONAL,
    RATED,
    SUMMARY,
    json_row,
    line_row,
    safe_row,
    values_of,
)
from chargeback.core.lines import Line
from chargeback.core.months.statements import safe
from chargeback.core.quota.holders import workload_of
from chargeback.core.rating.dimensions import read_dimensions
from chargeback.rater import provisional
from chargeback.reports import CHUNK_BYTES, apart, month_csv, policy_of
from chargeback.store.database import Connection, Database
from chargeback.store.details import COLUMNS, lines_by_day, parts_of_lines
from chargeback.store.rollup import parts_of_month

CSV, JSONL = "csv", "jsonl"
COST_CENTER_ID = "cost_center_id"  # as in the monthly CSV
BATCH_ROWS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What is to be exported. detail: None, where only the groups count.

    now_ms  to add hours that are not closed yet, up to then; None: they are left out
    """

    month: str
    detail: str | None = SUMMARY
    group_by: tuple[str, ...] = ()
    where: Wanted = field(default_factory=dict)
    now_ms: int | None = None


def export(database: Database, wish: Wish, form: str = CSV) -> Iterator[bytes]:
    """The bytes, in pieces: the same for the same ledger, whatever database holds it. Raises NoLedger, TooOld."""
    if wish.detail == SUMMARY:
        return month_csv(database, wish.month) if form == CSV else _chunks(_statement_jsonl(database, wish.month))
    if wish.detail == HOUR:
        return _chunks(_hours(database, wish, form))
    return _chunks(_sums(database, wish, form))


def _hours(database: Database, wish: Wish, form: str) -> Iterator[str]:
    """Every line, ordered by day, cluster, hour, node, card, time and id; then what is provisional."""
    currency = policy_of(database).currency
    with database.read() as connection:
        rated = ((values, RATED) for values in lines_by_day(connection, wish.month, FIELDS, wish.where))
        running = ((values_of(line), PROVISIONAL) for line in _running(connection, wish))
        wanted = (found for found in itertools.chain(rated, running) if _has_labels(found[0], wish.where))
        rows = (line_row(values, currency, status) for values, status in wanted)
        if form == CSV:
            yield from _csv(HEADER, (safe_row(row) for row in rows))
        else:
            yield from _jsonl(json_row(row) for row in rows)


def _running(connection: Connection, wish: Wish) -> list[Line]:
    if wish.now_ms is None:
        return []
    found = [line for line in provisional(connection, wish.now_ms) if line.month == wish.month]
    found = [line for line in found if _has_fields(line, wish.where)]
    return sorted(found, key=lambda x: (x.day, x.cluster, x.hour, x.node, x.parent, x.start_ms, x.line_id))


def _has_fields(line: Line, where: Wanted) -> bool:
    fields = {name: getattr(line, COLUMNS[name]) or "" for name in where if name in COLUMNS}
    return all(value in where[name] for name, value in fields.items())


_DIMENSIONS, _POD = FIELDS.index("dimensions"), FIELDS.index("pod")


def _has_labels(values: Sequence[Any], where: Wanted) -> bool:
    """What the database cannot be asked for."""
    for name, wanted in where.items():
        if name == WORKLOAD and workload_of(values[_POD]) not in wanted:
            return False
        if name.startswith(LABEL):
            dimensions = read_dimensions(values[_DIMENSIONS])
            if label_of(dimensions, name.removeprefix(LABEL)) not in wanted:
                return False
    return True


def _sums(database: Database, wish: Wish, form: str) -> Iterator[str]:
    """Sums by the detail's groups and those that were asked for, bytewise."""
    # The month is a column of every row.
    names = tuple(name for name in (*GROUPS.get(wish.detail or "", ()), *wish.group_by) if name != "month")
    currency = policy_of(database).currency
    shown = tuple(COST_CENTER_ID if name == COST_CENTER else name for name in names)
    with database.read() as connection:
        rows = (_cost_row(shown, row, wish.month, currency) for row in _costs(connection, wish, names))
        if form == CSV:
            header = ("month", *shown, *COST_FIELDS, "currency")
            safe_names = {"month", *shown}
            cells = ([safe(v or "") if k in safe_names else v or "" for k, v in row.items()] for row in rows)
            yield from _csv([safe(name) for name in header], cells)
        else:
            yield from _jsonl(rows)


def _cost_row(names: Sequence[str], row: Costs, month: str, currency: str) -> dict[str, str | None]:
    return {"month": month, **cost_json(names, row), "currency": currency}


def _costs(connection: Connection, wish: Wish, names: Sequence[str]) -> Iterator[Costs]:
    """From the sums of days where they know enough, else from the lines; never more than a namespace in memory."""
    asked = [*names, *wish.where]
    if not any(name in OF_LINES for name in asked):
        yield from grouped(parts_of_month(connection, wish.month, **apart(asked)), names, wish.where)
        return
    by = [name for name in ("pod", "container", "node") if name in asked or (name == "pod" and WORKLOAD in asked)]
    of_lines = wish.where
    if COST_CENTER not in asked:
        # The other side of a charge names a holder in the lines, and counts as nobody's: `grouped` has the last word.
        of_lines = {name: wanted for name, wanted in wish.where.items() if not (name in _SIDED and "" in wanted)}
    parts = parts_of_lines(connection, wish.month, by, of_lines, **apart(asked))
    pairs = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(names, _ORDER, strict=False))
    ordered = [name for name, _ in pairs]
    for _, batch in itertools.groupby(parts, key=lambda part: [value_of(name, part) for name in ordered]):
        yield from grouped(batch, names, wish.where)


# Where it matters which side of a charge a line is.
_SIDED = ("team", "namespace", "pod", "container")
# In which the lines' sums come.
_ORDER = (COST_CENTER, "team", "cluster", "namespace", "pod", "container")


def _statement_jsonl(database: Database, month: str) -> Iterator[str]:
    """The rows of the monthly CSV, each with its columns' names; all values are texts, as they are there."""
    text = (piece.decode() for piece in month_csv(database, month))
    rows = csv.DictReader(_lines_of(text))
    yield from _jsonl(rows)


def _lines_of(pieces: Iterable[str]) -> Iterator[str]:
    left = ""
    for piece in pieces:
        *whole, left = (left + piece).split("\r\n")
        yield from (f"{line}\r\n" for line in whole)
    if left:
        yield left


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\r\n")
    writer.writerow(header)
    for batch in _batches(rows):
        writer.writerows(batch)
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()
    yield buffer.getvalue()


def _jsonl(rows: Iterable[Any]) -> Iterator[str]:
    return (json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n" for row in rows)


def _batches(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    rows = iter(rows)
    while batch := list(itertools.islice(rows, BATCH_ROWS)):
        yield batch


def _chunks(texts: Iterable[str]) -> Iterator[bytes]:
    piece = bytearray()
    for text in texts:
        piece += text.encode()
        if len(piece) >= CHUNK_BYTES:
            yield bytes(piece)
            piece.clear()
    yield bytes(piece)
