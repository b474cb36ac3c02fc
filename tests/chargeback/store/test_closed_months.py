"""Law 4, closed is closed: whatever happens after, a month says the same bytes. And what a close shares out."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargeback.core.hours import month_span_ms
from chargeback.core.lines import Line
from chargeback.core.owners.history import CORRECTION, Version
from chargeback.core.policy import PolicyChange
from chargeback.files.prices import parse_prices
from chargeback.months.close import MonthRefused, approve, close, prepare, verified
from chargeback.reports import month_csv
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.drafts import digest_of
from chargeback.store.ledger import lines_of_month
from chargeback.store.months import closed_months, hold_ledger, share_ledger
from chargeback.store.node_hours import make_all_due
from chargeback.store.owners import correct_owner
from chargeback.store.policies import change_policy
from chargeback.store.schema import migrate
from chargeback.store.statements import statements_of
from chargeback.store.terms import import_prices
from chargeback.tasks.close_hours import close_all, close_due
from tests.chargeback.store.a_month import HOUR, LIMITS, MONTH, NOW_MS, closed, draft, fill, late, stand
from tests.chargeback.store.bodies import (
    A100,
    CLUSTER,
    GRACE_MS,
    PRICES,
    body,
    gpu,
    holding,
    instance,
    mig_gpu,
    put,
    start_ms,
)
from tests.chargeback.store.conftest import begin
from tests.postgres import Postgres

NEXT = "2024-11"
LATER_MS = month_span_ms(NEXT, "UTC")[1] + 96 * 3_600_000


def lines(database: Database, month: str) -> list[Line]:
    with database.read() as connection:
        return list(lines_of_month(connection, month))


def late_body(database: Database) -> None:
    late(database, seq=int(time.monotonic_ns() % 10**9) + 2, holdings=[holding("GPU-2", namespace="beta")])


def body_of_a_new_node(database: Database) -> None:
    put(database, body("n7", hour=HOUR, gpus=[gpu("GPU-7")], holdings=[holding("GPU-7")]), NOW_MS)


def other_owner(database: Database) -> None:
    correction = Version(
        namespace="alpha",
        cost_center="cc-z",
        from_ms=0,
        source=CORRECTION,
        who="ann",
        why="wrong",
        recorded_ms=NOW_MS,
    )
    with database.write() as connection:
        correct_owner(connection, CLUSTER, correction)


def other_prices(database: Database) -> None:
    file = parse_prices(PRICES.replace('"3"', '"7"'), "prices.yaml")
    with database.write() as connection:
        import_prices(connection, file, "prices.yaml", "UTC", NOW_MS, who="ann", why="wrong", force=True)


def other_policy(database: Database) -> None:
    change = PolicyChange(version=0, from_ms=start_ms(HOUR) - start_ms(HOUR) % 86_400_000, values={"basis": "usage"})
    with database.write() as connection:
        change_policy(connection, change, NOW_MS, who="ann", why="agreed", force=True)


def rated_again(database: Database) -> None:
    with database.write() as connection:
        make_all_due(connection, None, 0, NOW_MS)


AFTERWARDS = (late_body, body_of_a_new_node, other_owner, other_prices, other_policy, rated_again)


def same_afterwards(database: Database, steps: list[Callable[[Database], None]]) -> None:
    """A month is closed, these things happen; it is what it was."""
    fill(database)
    closed(database)
    bytes_of, before = b"".join(month_csv(database, MONTH)), lines(database, MONTH)
    for step in steps:
        step(database)
        close_all(database, LATER_MS, GRACE_MS)
        assert b"".join(month_csv(database, MONTH)) == bytes_of
    assert lines(database, MONTH) == before
    assert list(verified(database)) == []
    corrections = lines(database, NEXT)
    assert sum(line.list_micros or 0 for line in corrections) == sum(line.amount_micros or 0 for line in corrections)


@pytest.mark.parametrize("step", AFTERWARDS)
def test_nothing_that_comes_later_changes_a_closed_month(ledger: Database, step: Callable[[Database], None]) -> None:
    """Each by itself, on both databases; and where it changes what was billed, it is in the next month."""
    same_afterwards(ledger, [step])
    assert bool(lines(ledger, NEXT)) == (step is not rated_again)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.sampled_from(AFTERWARDS), min_size=2, max_size=4))
def test_nor_do_all_of_them_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Callable[[Database], None]]
) -> None:
    """The bytes after every step are those of the close."""
    database = open_database(sqlite_url(tmp_path_factory.mktemp("ledger") / "ledger.db"))
    migrate(database)
    begin(database)
    same_afterwards(database, steps)
    database.close()


def test_a_corrected_month_closes_after_the_one_it_corrects(ledger: Database) -> None:
    """The next month's statement says which month a row corrects; the chain goes on."""
    fill(ledger)
    closed(ledger)
    late(ledger)
    put(ledger, body("n3", hour=HOUR + 31 * 24, gpus=[gpu("GPU-3")], holdings=[holding("GPU-3")]), NOW_MS)
    stand(ledger, "n3", HOUR + 31 * 24, HOUR + 31 * 24 + 1)
    close_all(ledger, LATER_MS, GRACE_MS)
    prepare(ledger, NEXT, "ann", LATER_MS, GRACE_MS, LIMITS)
    approve(ledger, NEXT, "bob", LATER_MS)
    close(ledger, NEXT, "ann", LATER_MS)
    assert list(verified(ledger)) == []
    with ledger.read() as connection:
        assert closed_months(connection) == {MONTH, NEXT}
    rows = b"".join(month_csv(ledger, NEXT)).decode().splitlines()
    assert {row.rsplit(",", 1)[1] for row in rows[1:]} == {"", MONTH}
    assert all(row.split(",")[-2] == "closed" for row in rows[1:])


def test_both_databases_close_the_same_bytes(postgres: Postgres, tmp_path: Path) -> None:
    """Lines, rows and hashes: a ledger that is moved from one to the other still verifies."""
    found = []
    for url in (sqlite_url(tmp_path / "ledger.db"), postgres.new_database()):
        database = open_database(url)
        migrate(database)
        begin(database)
        share_idle(database, "even")
        put(database, body("Zürich", hour=HOUR, gpus=[gpu("GPU-Z")], holdings=[holding("GPU-Z", namespace="日本")]))
        stand(database, "Zürich", HOUR, HOUR + 1)
        fill(database)
        made = prepare(database, MONTH, "ann", NOW_MS, GRACE_MS, LIMITS, waivers=["unowned"], reason="moved")
        approve(database, MONTH, "bob", NOW_MS)
        close(database, MONTH, "ann", NOW_MS)
        with database.read() as connection:
            found.append((made.digest, statements_of(connection, MONTH)))
        database.close()
    assert found[0] == found[1]


def share_idle(database: Database, how: str, cluster: str = "") -> None:
    with database.write() as connection:
        change = PolicyChange(version=0, from_ms=0, cluster=cluster, values={"idle": how})
        change_policy(connection, change, 0, who="ann", why="agreed")


@pytest.mark.parametrize("how", ["none", "even", "list"])
def test_idle_shared_out_leaves_all_totals_as_they_were(ledger: Database, how: str) -> None:
    """Time, list and amount of the whole are the same under every policy; only who pays is not."""
    if how != "none":
        share_idle(ledger, how)
    slices = [instance(f"MIG-{i}", gi=i) for i in range(7)]
    put(
        ledger,
        body("n2", hour=HOUR, gpus=[mig_gpu()], instances=slices, holdings=[holding("MIG-1", namespace="beta")]),
    )
    stand(ledger, "n2", HOUR, HOUR + 1)
    fill(ledger)
    before = lines(ledger, MONTH)
    draft(ledger)
    after = lines(ledger, MONTH)
    for name in ("list_micros", "amount_micros"):
        assert sum(getattr(line, name) for line in after) == sum(getattr(line, name) for line in before)
    assert time_of(after) == time_of(before)
    shared = {(line.account, line.model): line.amount_micros for line in after if line.kind == "transfer"}
    a100_idle = sum(
        line.amount_micros or 0 for line in before if line.account == "platform:idle" and line.model == A100
    )
    h100 = {
        "none": {},
        "even": {"cc-a": 1_500_000, "cc-b": 1_500_000},
        "list": {"cc-a": 2_000_000, "cc-b": 1_000_000},
    }
    assert {
        account: micros for (account, model), micros in shared.items() if model != A100 and account[:3] == "cc-"
    } == h100[how]
    assert shared.get(("cc-b", A100)) == (None if how == "none" else a100_idle)
    assert sum(shared.values()) == 0


def time_of(found: list[Line]) -> Fraction:
    return sum((Fraction(line.gpu_ms_num, line.ms_den) for line in found), Fraction(0))


def test_another_cluster_shares_as_its_own_policy_says(ledger: Database) -> None:
    """The policy of a cluster goes before that of all."""
    share_idle(ledger, "list")
    share_idle(ledger, "none", CLUSTER)
    fill(ledger)
    draft(ledger)
    assert not [line for line in lines(ledger, MONTH) if line.kind == "transfer"]


def test_somebody_else_must_approve_where_the_policy_says_so(ledger: Database) -> None:
    fill(ledger)
    with ledger.write() as connection:
        change_policy(
            connection, PolicyChange(version=0, from_ms=0, values={"approver": "other"}), 0, who="a", why="b"
        )
    draft(ledger, "ann")
    with pytest.raises(MonthRefused, match="ann has prepared draft 1 of 2024-10: somebody else must approve it"):
        approve(ledger, MONTH, "ann", NOW_MS)
    assert approve(ledger, MONTH, "bob", NOW_MS).approved_by == "bob"


# SQLite has one writer.
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_no_line_is_written_while_a_month_is_held(ledger: Database) -> None:
    """Rating takes its turn later; pushes are taken in all the same."""
    fill(ledger)
    with ledger.write() as connection:
        hold_ledger(connection)
        put(ledger, body("n4", hour=HOUR), NOW_MS)
        assert close_due(ledger, NOW_MS, GRACE_MS) == 0
        with ledger.write() as another:
            assert share_ledger(another, wait=False) is False
    assert close_due(ledger, NOW_MS, GRACE_MS) == 1


# SQLite has one writer.
@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_a_draft_waits_for_lines_that_are_being_written(ledger: Database) -> None:
    """It sees all of them."""
    fill(ledger)
    made = []
    with ledger.write() as connection:
        assert share_ledger(connection)
        thread = threading.Thread(target=lambda: made.append(draft(ledger)))
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()
        connection.exec_driver_sql("UPDATE lines SET evidence = 'seen'")
    thread.join()
    with ledger.read() as connection:
        assert [each.digest for each in made] == [digest_of(connection, MONTH)]
    assert {line.evidence for line in lines(ledger, MONTH)} == {"seen"}
