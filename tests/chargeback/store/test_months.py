"""A month's life on both databases: open, draft, approved, closed; what waits meanwhile; who comes first."""

from __future__ import annotations

import threading

import pytest

from chargeback.core.hours import HOUR_MS, month_span_ms
from chargeback.core.lines import Line
from chargeback.core.months.closing import NotWaivable
from chargeback.core.policy import PolicyChange
from chargeback.months.close import MonthBlocked, MonthRefused, approve, close, discard, prepare, verified
from chargeback.months.look import look
from chargeback.reports import month_csv
from chargeback.store.audit import entries
from chargeback.store.database import Database
from chargeback.store.drafts import DISCARDED, drafts_of
from chargeback.store.ledger import lines_of_month
from chargeback.store.months import (
    APPROVED,
    CLOSED,
    DRAFT,
    OPEN,
    closed_months,
    frozen,
    hours_of,
    posting_month,
    state_of,
)
from chargeback.store.policies import change_policy
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.a_month import HOUR, LIMITS, MONTH, NOW_MS, closed, draft, fill, late, stand
from tests.chargeback.store.bodies import GRACE_MS, body, gpu, holding, put

NOW_HOUR = NOW_MS // 3_600_000


def month(database: Database, name: str = MONTH) -> list[Line]:
    with database.read() as connection:
        return list(lines_of_month(connection, name))


def state(database: Database) -> str:
    with database.read() as connection:
        return state_of(connection, MONTH)


def csv(database: Database, name: str = MONTH) -> bytes:
    return b"".join(month_csv(database, name))


def test_a_month_is_drafted_approved_and_closed(ledger: Database) -> None:
    """Each step is written down with who and what; the chain and the lines can be verified afterwards."""
    fill(ledger)
    assert state(ledger) == OPEN
    made = draft(ledger)
    assert (made.draft, made.state, made.digest.lines, state(ledger)) == (1, DRAFT, 5, DRAFT)
    assert (made.digest.list_micros, made.digest.amount_micros) == (12_000_000, 12_000_000)
    assert approve(ledger, MONTH, "bob", NOW_MS, number=1, sha256=made.digest.sha256).state == APPROVED
    done = close(ledger, MONTH, "cem", NOW_MS)
    assert (done.state, done.prepared_by, done.approved_by, done.closed_by) == (CLOSED, "ann", "bob", "cem")
    assert list(verified(ledger)) == []
    with ledger.read() as connection:
        assert closed_months(connection) == {MONTH}
        assert drafts_of(connection, MONTH) == [done]
        said = [(entry.action, entry.who) for entry in entries(connection, MONTH)]
    assert said == [("draft-month", "ann"), ("approve-month", "bob"), ("close-month", "cem")]


def test_nothing_of_a_drafted_month_changes(ledger: Database) -> None:
    """What comes late waits, and is counted; the next draft takes it in."""
    fill(ledger)
    first = draft(ledger)
    before = month(ledger)
    late(ledger)
    assert month(ledger) == before
    found = look(ledger, MONTH, NOW_MS, GRACE_MS, LIMITS)
    assert found.due == 1
    assert [each.check for each in found.findings] == ["waiting"]
    discard(ledger, MONTH, "ann", NOW_MS, "a body came late")
    close_all(ledger, NOW_MS, GRACE_MS)
    second = draft(ledger)
    assert (second.draft, second.digest.lines) == (2, 6)
    assert second.digest.sha256 != first.digest.sha256
    assert {line.account for line in month(ledger)} == {"cc-a", "cc-b", "platform:discount"}
    with ledger.read() as connection:
        assert [each.state for each in drafts_of(connection, MONTH)] == [DISCARDED, DRAFT]


def test_hours_of_other_months_go_on(ledger: Database) -> None:
    """Only what belongs to the drafted month waits."""
    fill(ledger)
    draft(ledger)
    november = HOUR + 30 * 24
    put(ledger, body(hour=november, holdings=[]), NOW_MS)
    close_all(ledger, NOW_MS, GRACE_MS)
    assert month(ledger, "2024-11")
    with ledger.read() as connection:
        assert posting_month(connection, "2024-09") == "2024-11"


def test_a_closed_month_never_changes(ledger: Database) -> None:
    """Its bytes are those of its statements, whatever comes later; what comes is a correction elsewhere."""
    fill(ledger)
    opened = csv(ledger)
    assert b",draft," in opened
    closed(ledger)
    bytes_of, lines = csv(ledger), month(ledger)
    assert b",draft," not in bytes_of
    assert opened.replace(b",,2024-10,", b",1,2024-10,").replace(b",draft,", b",closed,") == bytes_of
    late(ledger)
    assert (csv(ledger), month(ledger)) == (bytes_of, lines)
    assert list(verified(ledger)) == []
    assert {line.part for line in month(ledger, "2024-11")} == {"reversal", "restated"}
    for step in (lambda: draft(ledger), lambda: discard(ledger, MONTH, "ann", NOW_MS, "x")):
        with pytest.raises(MonthRefused, match="closed already"):
            step()


def test_a_month_that_was_drafted_in_another_timezone_can_be_closed(ledger: Database) -> None:
    """Its hours are those of the ledger's timezone: what the discarded draft took for them is no more."""
    fill(ledger)
    hour = month_span_ms("2024-11", "UTC")[0] // HOUR_MS
    put(ledger, body("n2", hour=hour, holdings=[holding()]))
    stand(ledger, "n2", hour, hour + 1)
    close_all(ledger, NOW_MS, GRACE_MS)
    draft(ledger)
    discard(ledger, MONTH, "ann", NOW_MS, "days are those of California")
    timezone = PolicyChange(version=0, from_ms=0, values={"timezone": "America/Los_Angeles"})
    with ledger.write() as connection:
        change_policy(connection, timezone, NOW_MS, who="ann", why="days are those of California")
    close_all(ledger, NOW_MS, GRACE_MS)
    assert month(ledger, "2024-11") == []
    draft(ledger)
    with ledger.read() as connection:
        assert frozen(connection) == [hours_of(MONTH, "America/Los_Angeles")]


def test_the_order_of_steps_is_kept(ledger: Database) -> None:
    """Every refusal says what the month is, and what comes first."""
    fill(ledger)
    for step in (approve, close):
        with pytest.raises(MonthRefused, match="is open: `chargeback close 2024-10 --prepare`"):
            step(ledger, MONTH, "bob", NOW_MS)
    made = draft(ledger)
    with pytest.raises(MonthRefused, match=r"drafted \(draft 1\): somebody has to approve it first"):
        close(ledger, MONTH, "bob", NOW_MS)
    with pytest.raises(MonthRefused, match="discard its draft before"):
        draft(ledger)
    with pytest.raises(MonthRefused, match="at draft 1, not 2"):
        approve(ledger, MONTH, "bob", NOW_MS, number=2)
    with pytest.raises(MonthRefused, match=f"has {made.digest.sha256}, not 00"):
        approve(ledger, MONTH, "bob", NOW_MS, sha256="00")


def test_a_month_waits_for_the_one_before(ledger: Database) -> None:
    """And for its own end."""
    fill(ledger)
    half = [gpu(observed=[(0, 1_800_000)])]
    put(ledger, body("n2", hour=NOW_HOUR - 2, final=False, through=1_800_000, gpus=half), NOW_MS)
    stand(ledger, "n2", NOW_HOUR - 2, NOW_HOUR - 1)
    close_all(ledger, NOW_MS, GRACE_MS)
    with pytest.raises(MonthBlocked) as caught:
        prepare(ledger, "2024-11", "ann", NOW_MS, GRACE_MS, LIMITS)
    assert [each.name for each in caught.value.look.findings] == [
        "over",
        "order:2024-10",
        "backlog",
        "final:lab",
        "coverage:lab",
    ]


def test_what_a_person_may_answer_for_is_waived_by_name(ledger: Database) -> None:
    """With a reason that stays with the draft; nothing else can be waived, and no name that is not there."""
    put(ledger, body(hour=HOUR, holdings=[holding(namespace="gamma")]))
    stand(ledger, "n1", HOUR, HOUR + 1)
    close_all(ledger, NOW_MS, GRACE_MS)
    with pytest.raises(MonthBlocked, match=r"unowned:lab/gamma: 1\.000000 card hours, 3\.000000, of gamma in lab"):
        draft(ledger)
    with pytest.raises(NotWaivable, match=r"unpriced: nothing of that name blocks: want one of unowned, unowned:lab"):
        draft(ledger, waivers=["unpriced"], reason="x")
    made = draft(ledger, waivers=["unowned:lab/gamma"], reason="nobody knows any more")
    assert [(each.name, each.waived) for each in made.waived] == [("unowned:lab/gamma", "nobody knows any more")]


def test_lines_that_somebody_changed_are_not_approved(ledger: Database) -> None:
    """Nor closed, and afterwards `--verify` names them."""
    fill(ledger)
    draft(ledger)
    change = "UPDATE lines SET amount_micros = amount_micros {} 1 WHERE account = 'cc-a' AND hour = {}"
    with ledger.write() as connection:
        connection.exec_driver_sql(change.format("+", HOUR))
    with pytest.raises(MonthRefused, match="amount_micros: 12000000, now 12000001; sha256"):
        approve(ledger, MONTH, "bob", NOW_MS)
    with ledger.write() as connection:
        connection.exec_driver_sql(change.format("-", HOUR))
    approve(ledger, MONTH, "bob", NOW_MS)
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE lines SET account = 'cc-b' WHERE account = 'cc-a'")
    with pytest.raises(MonthRefused, match="sha256"):
        close(ledger, MONTH, "ann", NOW_MS)
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE lines SET account = 'cc-a' WHERE namespace = 'alpha'")
    close(ledger, MONTH, "ann", NOW_MS)
    assert list(verified(ledger)) == []
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE lines SET amount_micros = 0 WHERE account = 'cc-a'")
    assert [said.split(":")[0] for said in verified(ledger, MONTH)] == [MONTH, MONTH]


def test_of_two_closers_one_wins(ledger: Database) -> None:
    """The other says that it is done; there is one statement an account."""
    fill(ledger)
    draft(ledger)
    approve(ledger, MONTH, "bob", NOW_MS)
    said: list[str] = []
    barrier = threading.Barrier(2)

    def try_to_close(who: str) -> None:
        barrier.wait()
        try:
            said.append(f"closed by {close(ledger, MONTH, who, NOW_MS).closed_by}")
        except MonthRefused as error:
            said.append(str(error))

    threads = [threading.Thread(target=try_to_close, args=(who,)) for who in ("ann", "cem")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(said)[0] == f"{MONTH} is closed already (draft 1)"
    assert sorted(said)[1].startswith("closed by ")
    assert list(verified(ledger)) == []
