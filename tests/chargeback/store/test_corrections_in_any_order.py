"""Whatever comes late, in whatever order: over all months lines say what a ledger says that knew it at once."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargeback.core.lines import CHARGE, Line
from chargeback.files.plans import parse_plans
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.ledger import lines_of_month
from chargeback.store.plans import import_plans
from chargeback.store.schema import migrate
from chargeback.tasks.close_hours import close_all
from exporter import wire
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, body, gpu, holding, put, start_ms
from tests.chargeback.store.closing import put_month
from tests.chargeback.store.conftest import begin

MONTHS = ("2026-10", "2026-11", "2026-12", "2027-01")
NOW_MS = start_ms(HOUR + 1) + GRACE_MS
PLANS = "plans: [{namespace: alpha, guaranteed: 2, price_key: NVIDIA H100 80GB HBM3, from: 2026-10-01}]"

# What a node's body may say: for its two cards who holds it, and up to when.
Held = tuple[tuple[str, int], tuple[str, int]]
held = st.tuples(
    *itertools.repeat(
        st.tuples(st.sampled_from(["alpha", "beta"]), st.sampled_from([600_001, 1_800_000, 3_600_000])), 2
    )
)


def sent(node: str, seq: int, who: Held) -> wire.NodeHour:
    cards = [gpu(f"GPU-{node}-{number}") for number in range(2)]
    holdings = [
        holding(card.uuid, namespace=namespace, pod=f"p-{number}", end=end)
        for number, (card, (namespace, end)) in enumerate(zip(cards, who, strict=True))
    ]
    return body(node, seq=seq, gpus=cards, holdings=holdings)


def begun(database: Database, with_plans: bool) -> None:
    begin(database)
    if with_plans:
        file = parse_plans(PLANS, "plans.yaml", CLUSTER, "UTC")
        with database.write() as connection:
            import_plans(connection, file, [CLUSTER], "UTC", NOW_MS, who="ann")


def take(database: Database, *late: wire.NodeHour) -> None:
    for each in late:
        put(database, each, NOW_MS)
    close_all(database, NOW_MS, GRACE_MS)


def lines(database: Database, months: Sequence[str] = MONTHS) -> list[Line]:
    with database.read() as connection:
        return [line for month in months for line in lines_of_month(connection, month)]


def sums(found: Sequence[Line]) -> dict[tuple[object, ...], tuple[Fraction, Fraction, int, int]]:
    """By key and account: time, quantity, list and amount; nothing where they come to nothing."""
    totals: dict[tuple[object, ...], tuple[Fraction, Fraction, int, int]] = {}
    for line in found:
        ms, quantity, listed, amount = totals.get((*line.key, line.account), (Fraction(0), Fraction(0), 0, 0))
        totals[(*line.key, line.account)] = (
            ms + Fraction(line.gpu_ms_num, line.ms_den),
            quantity + Fraction(line.quantity_ms_num, line.ms_den),
            listed + (line.list_micros or 0),
            amount + (line.amount_micros or 0),
        )
    return {key: total for key, total in totals.items() if any(total)}


def check_balance(database: Database) -> None:
    """In every month, and of its adjustments alone."""
    for month in MONTHS:
        for mine in (lines(database, [month]), [each for each in lines(database, [month]) if each.part != CHARGE]):
            assert sum(each.amount_micros or 0 for each in mine) == sum(each.list_micros or 0 for each in mine)


def open_ledger(folder: Path, name: str, with_plans: bool) -> Database:
    database = open_database(sqlite_url(folder / f"{name}.db"))
    migrate(database)
    begun(database, with_plans)
    return database


FIRST: Held = (("alpha", 3_600_000), ("beta", 1_800_000))
A: Held = (("alpha", 600_001), ("alpha", 3_600_000))
B: Held = (("beta", 3_600_000), ("alpha", 1_800_000))


@pytest.mark.parametrize("with_plans", [False, True])
@pytest.mark.parametrize("closes", [(), ("2026-11",)])
def test_a_then_b_is_b_then_a(database: Database, tmp_path: Path, with_plans: bool, closes: tuple[str, ...]) -> None:
    """Two nodes of one hour, whose guarantee counts across them; also where a month is closed before both."""
    others = [open_ledger(tmp_path, name, with_plans) for name in ("other", "at-once")]
    begun(database, with_plans)
    a, b = sent("n1", 9, A), sent("n2", 9, B)
    for each in (database, others[0]):
        take(each, sent("n1", 1, FIRST), sent("n2", 1, FIRST))
        put_month(each, "2026-10")
        for month in closes:
            take(each, sent("n1", 2, B))
            put_month(each, month)
    closed = lines(database, ["2026-10", *closes])
    take(database, a)
    take(database, b)
    take(others[0], b)
    take(others[0], a)
    take(others[1], a, b)
    assert lines(database, ["2026-10", *closes]) == closed
    assert lines(database) == lines(others[0])
    assert sums(lines(database)) == sums(lines(others[1]))
    assert (len({line.kind for line in lines(database)} & {"reserved", "unused", "burst"}) > 0) == with_plans
    check_balance(database)
    for each in others:
        each.close()


Step = tuple[str, Held] | None  # what a node says anew; None: the next month is closed
steps = st.lists(st.one_of(st.none(), st.tuples(st.sampled_from(["n1", "n2"]), held)), max_size=6)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(happened=steps, with_plans=st.booleans())
def test_all_months_together_say_what_is_known(
    tmp_path_factory: pytest.TempPathFactory, happened: list[Step], with_plans: bool
) -> None:
    """As does a ledger that knew it from the start; closed months stay as they are; every month balances."""
    folder = tmp_path_factory.mktemp("ledgers")
    grown, at_once = open_ledger(folder, "grown", with_plans), open_ledger(folder, "at-once", with_plans)
    newest = {node: sent(node, 1, FIRST) for node in ("n1", "n2")}
    take(grown, *newest.values())
    closed: list[str] = []
    before: list[Line] = []
    for seq, step in enumerate(happened, start=2):
        if step is None:
            if len(closed) < 3:
                closed.append(MONTHS[len(closed)])
                put_month(grown, closed[-1])
                before = lines(grown, closed)
        else:
            newest[step[0]] = sent(step[0], seq, step[1])
            take(grown, newest[step[0]])
        assert lines(grown, closed) == before
    take(at_once, *newest.values())
    assert sums(lines(grown)) == sums(lines(at_once))
    check_balance(grown)
    for each in (grown, at_once):
        each.close()
