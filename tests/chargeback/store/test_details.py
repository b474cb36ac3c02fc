"""Every detail of a month adds up to its statement, is the same on both databases, and streams."""

from __future__ import annotations

import csv
import io
import itertools
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from chargeback.core.costs import check_where
from chargeback.core.details import DETAILS, GROUPS, HEADER, HOUR
from chargeback.core.lines import DISCOUNT
from chargeback.core.money import parse_decimal
from chargeback.exports import CSV, JSONL, Wish, export
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.ledger import put_lines
from chargeback.store.rollup import mark_days
from chargeback.store.schema import migrate
from tests.chargeback.store.bodies import HOUR as SOME_HOUR
from tests.chargeback.store.bodies import body, gpu, holding, put, start_ms
from tests.chargeback.store.conftest import begin
from tests.chargeback.store.many_lines import MONTH, PODS, fill_with_lines, many_lines
from tests.postgres import Postgres

NUMBER = 4_000
MEMORY_LINES, MEMORY_MOST_MIB = 120_000, 20

WISHES = [
    *(Wish(month=MONTH, detail=detail) for detail in DETAILS),
    Wish(month=MONTH, detail=None, group_by=("label:project", "day")),
    Wish(month=MONTH, detail=None, group_by=("label:nobody-has-it",)),
    Wish(month=MONTH, detail=None, group_by=("node", "workload")),
    Wish(month=MONTH, detail="pod", group_by=("label:stage", "day")),
    Wish(month=MONTH, detail="namespace", group_by=("kind", "label:project")),
]


def text_of(database: Database, wish: Wish, form: str = CSV) -> str:
    return b"".join(export(database, wish, form)).decode()


def rows_of(database: Database, wish: Wish) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text_of(database, wish), newline="")))


def sums(rows: Sequence[dict[str, str]], names: Sequence[str]) -> list[Fraction]:
    return [sum((parse_decimal(row[name]) for row in rows if row[name]), Fraction(0)) for name in names]


@pytest.fixture
def filled(database: Database) -> Database:
    begin(database)
    fill_with_lines(database, NUMBER)
    return database


@pytest.fixture
def sided(database: Database) -> Database:
    """With discounts that name pods, as those of holders do."""
    begin(database)
    with database.write() as connection:
        for number, line in enumerate(many_lines(200)):
            is_side = line.account == DISCOUNT
            named = replace(line, pod=PODS[number % len(PODS)], container="main") if is_side else line
            put_lines(connection, [(named, 1)])
            mark_days(connection, {(line.cluster, line.day)})
    return database


def test_every_detail_adds_up_to_the_statement(filled: Database) -> None:
    """Amounts to the micro, hours within half a millionth a row; both bases are the same in all of them."""
    summary = rows_of(filled, Wish(month=MONTH))
    money = sums(summary, ("list_amount", "amount"))
    bases = None
    for wish in WISHES[1:]:
        rows = rows_of(filled, wish)
        assert sums(rows, ("list_amount", "amount")) == money, wish
        ((mine,), (theirs,)) = sums(rows, ("gpu_hours",)), sums(summary, ("gpu_hours",))
        assert abs(mine - theirs) * 1_000_000 <= Fraction(len(rows) + len(summary), 2), wish
        allocation, usage = sums(rows, ("allocation_amount", "usage_amount"))
        if wish.detail == HOUR:
            unknown = [row for row in rows if not row["usage_amount"]]
            usage += sums(unknown, ("allocation_amount",))[0]
        bases = bases or (allocation, usage)
        assert (allocation, usage) == bases, wish


@pytest.mark.parametrize("wish", WISHES)
def test_every_line_is_in_one_row_and_rows_are_ordered_bytewise(filled: Database, wish: Wish) -> None:
    """By the columns that make a row; no two rows have the same."""
    rows = rows_of(filled, wish)
    if wish.detail == HOUR:
        assert len(rows) == NUMBER
        keys = [
            tuple(row[name] for name in ("day", "cluster", "hour", "node", "gpu", "from", "line_id")) for row in rows
        ]
    else:
        count = len(GROUPS.get(wish.detail or "", ())) + len(wish.group_by)
        keys = [tuple(list(row.values())[1 : count + 1]) for row in rows]
        keys = [tuple(text.removeprefix("'") for text in key) for key in keys]
    if wish.detail != "summary":
        assert [tuple(map(str.encode, key)) for key in keys] == sorted({tuple(map(str.encode, key)) for key in keys})


def test_both_databases_export_the_same_bytes(postgres: Postgres, tmp_path: Path) -> None:
    """Whatever the detail, the groups and the form: names that locales would order apart."""
    found = []
    for url in (sqlite_url(tmp_path / "ledger.db"), postgres.new_database()):
        database = open_database(url)
        migrate(database)
        begin(database)
        fill_with_lines(database, NUMBER)
        found.append([text_of(database, wish, form) for wish, form in itertools.product(WISHES, (CSV, JSONL))])
        database.close()
    assert found[0] == found[1]
    assert all(len(text) > 200 for text in found[0])


def test_jsonl_says_the_same_as_the_csv(filled: Database) -> None:
    """Whole numbers as numbers, decimals as texts, labels as an object; null for what is not known."""
    lines = [json.loads(text) for text in text_of(filled, Wish(month=MONTH, detail=HOUR), JSONL).splitlines()]
    rows = rows_of(filled, Wish(month=MONTH, detail=HOUR))
    assert [tuple(line) for line in lines] == [HEADER] * NUMBER
    for line, row in zip(lines, rows, strict=True):
        assert dict(json.loads(row["labels"])) == line["labels"]
        assert {name: as_text(line[name]) for name in HEADER if name != "labels"} == {
            name: row[name].removeprefix("'") for name in HEADER if name != "labels"
        }


def as_text(value: Any) -> str:
    return "" if value is None else str(value)


def test_a_name_that_a_spreadsheet_would_run_is_shown(filled: Database) -> None:
    """In every detail and column."""
    for wish in WISHES:
        rows = rows_of(filled, wish)
        numbers = {"list_amount", "discount_amount", "amount", "allocation_amount", "usage_amount",
                   "unknown_usage_amount", "gpu_hours", "quantity"}  # fmt: skip
        cells = [text for row in rows for name, text in row.items() if name not in numbers]
        assert not [text for text in cells if text.startswith(("=", "+", "-", "@"))]
    assert any(row["namespace"] == "'=cmd" for row in rows_of(filled, Wish(month=MONTH, detail="pod")))


@pytest.mark.parametrize("detail", ["namespace", "workload", "pod", "hour"])
@pytest.mark.parametrize("pair", [("team", "red"), ("label:project", "a"), ("pod", "train"), ("workload", "web")])
def test_a_filter_leaves_what_it_names(filled: Database, detail: str, pair: tuple[str, str]) -> None:
    """Each value of a key by itself, and together they are the whole, for every line has one of them."""
    of_one = rows_of(filled, Wish(month=MONTH, detail=detail, where=where(pair)))
    whole = rows_of(filled, Wish(month=MONTH, detail=detail))
    assert 0 < len(of_one) <= len(whole)
    values = {"team": ("", "red", *names_reversed()), "label:project": ("", "a", "b")}.get(pair[0])
    if values is None:
        return
    every = [rows_of(filled, Wish(month=MONTH, detail=detail, where=where((pair[0], value)))) for value in values]
    assert sums(list(itertools.chain(*every)), ("amount",)) == sums(whole, ("amount",))


def names_reversed() -> list[str]:
    return [name[::-1] for name in ("alpha", "Alpha", "al-pha", "Ärzte", "zürich", "=cmd", "éa", "日本")]


def where(pair: tuple[str, str]) -> dict[str, frozenset[str]]:
    return check_where([pair], ("workload", "pod", "container", "node"))


def test_a_filter_leaves_the_rows_that_a_group_of_its_name_has(sided: Database) -> None:
    """Without accounts a discount is in no holder's row: a filter neither brings it there, nor takes it away."""

    def rows(*group_by: str, **wanted: str) -> list[dict[str, str]]:
        pairs = check_where(wanted.items(), ("workload", "pod", "container", "node"))
        return rows_of(sided, Wish(month=MONTH, detail=None, group_by=group_by, where=pairs))

    for key in ("team", "namespace", "pod", "container", "workload"):
        whole = rows("node", key)
        for value in ("", "red", "alpha", "train", "main"):
            wanted = [row for row in whole if row[key] == value]
            assert rows("node", key, **{key: value}) == wanted
            assert sums(rows("node", **{key: value}), ("amount",)) == sums(wanted, ("amount",))


def test_running_hours_are_in_the_hours_only_and_named(ledger: Database) -> None:
    """As provisional, behind what is rated; without asking for them they are nowhere."""
    now_ms = start_ms(SOME_HOUR) + 1_800_000
    sent = body(
        hour=SOME_HOUR,
        through=1_800_000,
        final=False,
        gpus=[gpu(observed=[(0, 1_800_000)])],
        holdings=[holding(end=1_000_000)],
    )
    put(ledger, sent, now_ms)
    assert rows_of(ledger, Wish(month=MONTH, detail=HOUR)) == []
    rows = rows_of(ledger, Wish(month=MONTH, detail=HOUR, now_ms=now_ms))
    assert {(row["kind"], row["status"]) for row in rows} == {("held", "provisional"), ("free", "provisional")}
    of_alpha = Wish(month=MONTH, detail=HOUR, now_ms=now_ms, where=where(("namespace", "alpha")))
    assert [row["kind"] for row in rows_of(ledger, of_alpha)] == ["held"]
    assert rows_of(ledger, Wish(month="2026-11", detail=HOUR, now_ms=now_ms)) == []


_MEASURED = """
import sys
from chargeback.exports import Wish, export
from chargeback.store.database import open_database
def most_kib():
    return int(next(x for x in open("/proc/self/status") if x.startswith("VmHWM")).split()[1])
database = open_database(sys.argv[1])
for detail in sys.argv[3:]:
    for month in ("2026-09", sys.argv[2]):  # the first has no line: what is left is what lines cost
        size = sum(map(len, export(database, Wish(month=month, detail=detail))))
        print(detail, month, size, most_kib())
"""


def test_memory_does_not_grow_with_the_lines(url: str) -> None:
    """A month of more than 100,000 lines: a process needs hardly more for it than for none."""
    database = open_database(url)
    migrate(database)
    begin(database)
    fill_with_lines(database, MEMORY_LINES, days=3)
    database.close()
    ended = subprocess.run(
        [sys.executable, "-c", _MEASURED, url, MONTH, "hour", "pod", "workload"],
        capture_output=True, check=True, timeout=600,
    )  # fmt: skip
    measured = [line.split() for line in ended.stdout.decode().splitlines()]
    sizes = {detail: int(size) for detail, month, size, _ in measured if month == MONTH}
    assert sizes["hour"] > 100 * MEMORY_LINES
    assert (int(measured[-1][3]) - int(measured[0][3])) / 1024 < MEMORY_MOST_MIB, measured
