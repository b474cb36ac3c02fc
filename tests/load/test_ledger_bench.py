"""What closing, reports and exports cost, each beside a floor of the same run: trust the ratios, not the seconds.

LOAD_SCALE=10 makes all of it ten times smaller, to see that it runs.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from chargeback.core.hours import month_after
from chargeback.reports import month_report
from chargeback.store.database import Database, open_database
from chargeback.store.ledger import put_lines, read_line
from chargeback.store.schema import migrate
from chargeback.store.tables import lines
from tests.chargeback.store.bodies import GRACE_MS, HOUR, start_ms
from tests.chargeback.store.conftest import begin
from tests.load.fleet import Fleet, put_lines_of
from tests.postgres import Postgres

pytestmark = pytest.mark.bench

ROOT = Path(__file__).parents[2]
SCALE = int(os.environ.get("LOAD_SCALE", "1"))
NODES = 10_000 // SCALE
CARDS = 1_000 // SCALE
EXPORTED_CARDS = 7_000 // SCALE
YEAR = [month_after("2025-10", count) for count in range(12)]
EXPORTED = "2026-10"
REPORT_WITHIN_MS = 100.0
EXPORT_MAX_MIB = 150.0
# What closing is to reach of storing the same lines by COPY and nothing else.
OF_COPY = 1 / 3
ROUNDS = 9


@pytest.fixture(scope="module")
def database(durable: Postgres) -> Iterator[Database]:
    database = open_database(durable.new_database())
    migrate(database)
    begin(database)
    yield database
    database.close()


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def url_of(database: Database) -> str:
    return database.engine.url.render_as_string(hide_password=False)


def close_with(replicas: int, database: Database, hour: int) -> tuple[float, list[tuple[int, float]]]:
    """Close what is due with so many replicas at once: seconds, and node-hours and CPU seconds of each."""
    now_ms = start_ms(hour + 1) + GRACE_MS
    command = [sys.executable, "-m", "tests.load.closing", url_of(database), str(now_ms), str(GRACE_MS)]
    started = [
        subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(replicas)
    ]
    for each in started:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    began = time.perf_counter()
    said = []
    for each in started:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()
    for each in started:
        out, _ = each.communicate()
        said.append(out.split())
    took = time.perf_counter() - began
    return took, [(int(count), float(cpu)) for count, cpu in said]


def copy_alone(database: Database, hour: int) -> tuple[float, int]:
    """Take an hour's lines away and store them again by COPY, in one transaction: seconds, and how many lines."""
    with database.write() as connection:
        rows = connection.execute(select(lines).where(lines.c.hour == hour)).all()
        found = [(read_line(row), row.revision) for row in rows]
        connection.execute(lines.delete().where(lines.c.hour == hour))

    def store() -> None:
        with database.write() as connection:
            put_lines(connection, found)

    return seconds(store), len(found)


def test_closing_an_hour(database: Database, figures: list[str]) -> None:
    """10,000 nodes of eight cards: by one replica, and by one a core; then COPY alone of the same lines.

    First as agents alone tell of them; then with a cluster's API: when all pods are new to it, and the hour after.
    """
    fleet, cores = Fleet(nodes=NODES), os.cpu_count() or 1
    close_and_copy(database, fleet, HOUR, 1, "", figures)
    close_and_copy(database, fleet, HOUR + 1, cores, "", figures)
    fleet.put_pods(database, HOUR + 2)
    for hour, what in ((HOUR + 2, ", all pods new to the API"), (HOUR + 3, ", pods known to the API")):
        fleet.follow(database, hour)
        close_and_copy(database, fleet, hour, cores, what, figures)


def close_and_copy(database: Database, fleet: Fleet, hour: int, replicas: int, what: str, figures: list[str]) -> None:
    fleet.put_hour(database, hour)
    took, each = close_with(replicas, database, hour)
    assert sum(count for count, _ in each) >= NODES
    copied, count = copy_alone(database, hour)
    assert count >= NODES * 8
    cpu_us = sum(cpu for _, cpu in each) / sum(count for count, _ in each) * 1e6
    figures.append(
        f"close {NODES} nodes x 8 cards{what}, {replicas} replica(s) on {os.cpu_count()} cores: {took:.2f} s,"
    )
    figures.append(f"    {count / took:,.0f} lines/s, {cpu_us:.0f} us CPU a node-hour; COPY alone: {copied:.2f} s")
    figures.append(f"    that is {copied / took:.2f} of COPY alone (wanted with a replica a core: {OF_COPY:.2f})")


def test_a_month_report_of_a_year(database: Database, figures: list[str]) -> None:
    """1,000 cards for a year: a month from the rollup, and from its lines."""
    made = sum(put_lines_of(database, month, CARDS, cluster="year") for month in YEAR)
    month = YEAR[6]
    report = [seconds(lambda: month_report(database, month, start_ms(HOUR))) * 1000 for _ in range(ROUNDS)]

    def raw() -> None:
        query = select(lines.c.account, lines.c.namespace, lines.c.sku, func.sum(lines.c.amount_micros))
        query = query.where(lines.c.month == month).group_by(lines.c.account, lines.c.namespace, lines.c.sku)
        with database.read() as connection:
            connection.execute(query).all()

    floor = statistics.median(seconds(raw) * 1000 for _ in range(3))
    found = statistics.median(report)
    figures.append(f"month report, {made:,} lines of a year: {found:.0f} ms (wanted: {REPORT_WITHIN_MS:.0f} ms),")
    figures.append(f"    {found / floor:.2f} of summing the month's lines ({floor:.0f} ms)")
    assert found < floor


def test_exporting_every_line_of_a_month(database: Database, figures: list[str]) -> None:
    """5 million lines, by the command as people run it; its memory does not grow with them."""
    made = put_lines_of(database, EXPORTED, EXPORTED_CARDS, cluster="export")
    command = [sys.executable, "-m", "chargeback.cli.main", "export", "--database", url_of(database)]
    command += ["--month", EXPORTED, "--detail", "hour", "--output-file", "/dev/null"]
    began = time.perf_counter()
    started = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(started.pid, 0)
    started.returncode = os.waitstatus_to_exitcode(status)
    took, most_mib = time.perf_counter() - began, usage.ru_maxrss / 1024
    assert started.returncode == 0

    def floor() -> None:
        with database.read() as connection, connection.connection.cursor() as cursor:
            query = f"SELECT * FROM lines WHERE month = '{EXPORTED}'"
            with cursor.copy(f"COPY ({query}) TO STDOUT") as copy:
                for _ in copy:
                    pass

    copied = seconds(floor)
    figures.append(
        f"export {made:,} lines, --detail hour: {took:.0f} s, {made / took:,.0f} lines/s, {most_mib:.0f} MiB"
    )
    figures.append(
        f"    at most (wanted: {EXPORT_MAX_MIB:.0f} MiB); {copied / took:.2f} of COPY to nowhere ({copied:.0f} s)"
    )
    assert most_mib < EXPORT_MAX_MIB
