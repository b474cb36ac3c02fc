"""Plans in the ledger: how their history grows, which hours it reaches, and what is settled of it."""

from __future__ import annotations

import pytest

from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import BURST, RESERVED, UNUSED, Line
from chargeback.core.plans.book import FILE, PlanVersion
from chargeback.core.policy import PolicyChange
from chargeback.files.plans import PlanFile, parse_plans
from chargeback.store.audit import entries
from chargeback.store.database import Database
from chargeback.store.ledger import lines_of_month
from chargeback.store.months import CLOSED, DRAFT, MonthState, hours_of, put_state
from chargeback.store.plan_hours import plan_hours_due
from chargeback.store.plans import PlansConflict, import_plans, note_plans, plan_book, plan_histories
from chargeback.store.policies import change_policy
from chargeback.store.problems import problems_since
from chargeback.store.rollup import totals_of_month
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, H100, HOUR, body, gpu, holding, put, start_ms

LATER_MS = start_ms(HOUR + 2)
MONTH = "2026-10"
GPU = "nvidia.com/gpu"


def seen(guaranteed: int | None = 2, namespace: str = "alpha", **fields: object) -> dict[str, PlanVersion]:
    values = {"namespace": namespace, "resource": GPU, "source": "annotation"} | fields
    return {namespace: PlanVersion(guaranteed=guaranteed, **values)}  # type: ignore[arg-type]


def file_of(*entries_: str) -> PlanFile:
    return parse_plans("plans: [" + ", ".join(f"{{{each}}}" for each in entries_) + "]", "plans.yaml", CLUSTER, "UTC")


def imported(database: Database, *entries_: str, now_ms: int = LATER_MS, force: bool = False) -> int:
    with database.write() as connection:
        changes = import_plans(
            connection, file_of(*entries_), [CLUSTER], "UTC", now_ms, who="ann", why="a test", force=force
        )
    return len(changes)


def noted(
    database: Database, plans: dict[str, PlanVersion], now_ms: int = 0, *, all_there: bool = True
) -> int | None:
    with database.write() as connection:
        return note_plans(connection, CLUSTER, plans, now_ms, all_there=all_there)


def month(database: Database) -> list[Line]:
    with database.read() as connection:
        return list(lines_of_month(connection, MONTH))


def amounts(database: Database) -> dict[tuple[str, str], int | None]:
    """From the totals, which settling must have made anew."""
    found: dict[tuple[str, str], int | None] = {}
    with database.read() as connection:
        for total in totals_of_month(connection, MONTH):
            key = (total.account, total.kind)
            found[key] = (found.get(key) or 0) + total.amount_micros if total.amount_micros is not None else None
    return found


def history(database: Database, namespace: str = "alpha") -> list[tuple[object, ...]]:
    with database.read() as connection:
        found = plan_histories(connection, CLUSTER).get(namespace, [])
    return [(each.layer, each.guaranteed, each.from_ms, each.until_ms) for each in found]


def test_what_is_seen_holds_from_when_it_was_seen(ledger: Database) -> None:
    """Seeing it again changes nothing; another number is another version; a quota that goes ends the plan."""
    assert noted(ledger, seen(2), 1000) == 1
    assert noted(ledger, seen(2), 2000) == 0
    assert noted(ledger, seen(3), 3000) == 1
    assert noted(ledger, {}, 4000) == 1
    assert noted(ledger, {}, 5000) == 0
    assert noted(ledger, seen(3), 6000) == 1
    assert history(ledger) == [
        ("seen", 2, 1000, 3000),
        ("seen", 3, 3000, 4000),
        ("seen", 3, 6000, None),
    ]


def test_what_cannot_be_seen_is_not_gone(ledger: Database) -> None:
    """Where quotas may not be read, a plan that is not there may be one that is not shown."""
    noted(ledger, seen(2), 1000)
    assert noted(ledger, {}, 2000, all_there=False) == 0
    assert noted(ledger, seen(4, "beta"), 3000, all_there=False) == 1
    assert history(ledger) == [("seen", 2, 1000, None)]


def test_a_replica_that_lags_changes_nothing(ledger: Database) -> None:
    noted(ledger, seen(2), 10_000)
    assert noted(ledger, seen(9), 5000) is None
    assert history(ledger) == [("seen", 2, 10_000, None)]


def test_a_file_lies_over_what_was_seen(ledger: Database) -> None:
    """For its dates; the same file again changes nothing, another source's plan is there beneath it."""
    noted(ledger, seen(2), 1000)
    entry = "namespace: alpha, guaranteed: 5, from: 2026-10-01, until: 2026-10-04"
    assert imported(ledger, entry) == 1
    assert imported(ledger, entry) == 0
    with ledger.read() as connection:
        book = plan_book(connection, CLUSTER)
        (audited,) = [each for each in entries(connection, CLUSTER) if each.action == "import plans"]
    guaranteed = [
        (each.guaranteed, each.layer) for hour in (HOUR, HOUR + 24) for each in book.at("alpha", start_ms(hour))
    ]
    assert guaranteed == [(5, FILE), (2, "seen")]
    assert (audited.who, audited.why) == ("ann", "a test")


def test_a_file_that_changes_its_word_adds_only_what_differs(ledger: Database) -> None:
    """What is taken out is taken out; nothing recorded is rewritten."""
    imported(ledger, "namespace: alpha, guaranteed: 5, from: 2026-10-01")
    assert imported(ledger, "namespace: alpha, guaranteed: 5, from: 2026-10-01, until: 2026-11-01") == 1
    first = start_ms(HOUR) - 58 * 3_600_000
    november = first + 31 * 86_400_000
    assert history(ledger) == [("file", 5, first, None), ("file", None, november, None)]
    with ledger.read() as connection:
        book = plan_book(connection, CLUSTER)
    assert [book.at("alpha", at) != () for at in (first - 1, first, november - 1, november)] == [
        False,
        True,
        True,
        False,
    ]


def test_a_guarantee_is_settled_when_its_hour_is_closed(ledger: Database) -> None:
    """3.00 on two nodes; two are guaranteed to alpha, which holds three, one to beta, which holds none."""
    noted(ledger, seen(2) | seen(1, "beta", price_key=H100))
    for node in ("n1", "n2"):
        cards = [f"GPU-{node}-{n}" for n in range(2)]
        holdings = [holding(card, pod=card) for card in cards if card != "GPU-n2-1"]
        put(ledger, body(node, gpus=[gpu(card) for card in cards], holdings=holdings))
    close_all(ledger, LATER_MS, GRACE_MS)
    million = 1_000_000
    assert amounts(ledger) == {
        ("cc-a", "burst"): 3 * million,
        ("cc-a", "reserved"): 6 * million,
        ("cc-b", "unused"): 1_500_000,
        ("platform:idle", "backed"): -1_500_000,
        ("platform:idle", "free"): 3 * million,
    }
    with ledger.read() as connection:
        assert plan_hours_due(connection, LATER_MS) == {}


def test_a_late_body_of_one_node_settles_the_hour_again(ledger: Database) -> None:
    """What was held there, too, and earlier than elsewhere, fills the unit; the other node's line is burst now."""
    noted(ledger, seen(1))
    put(ledger, body("n1", gpus=[gpu("GPU-1")], holdings=[holding("GPU-1", pod="z", start=1000)]))
    put(ledger, body("n2", gpus=[gpu("GPU-2")]))
    close_all(ledger, LATER_MS, GRACE_MS)
    assert {line.pod for line in month(ledger) if line.kind == RESERVED} == {"z"}
    put(ledger, body("n2", seq=2, gpus=[gpu("GPU-2")], holdings=[holding("GPU-2", pod="b")]), LATER_MS)
    close_all(ledger, LATER_MS, GRACE_MS)
    assert {line.pod for line in month(ledger) if line.kind == RESERVED} == {"b"}
    assert {line.pod for line in month(ledger) if line.kind == BURST} == {"z"}
    assert UNUSED not in {line.kind for line in month(ledger)}


@pytest.mark.parametrize("reach", ["2026-10-03T10:30:00Z", "2026-10-03"])
def test_a_plan_that_is_imported_reaches_the_hours_that_were_rated(ledger: Database, reach: str) -> None:
    """And taking it out of the file leaves them as they were."""
    put(ledger, body(holdings=[holding()]))
    close_all(ledger, LATER_MS, GRACE_MS)
    before = month(ledger)
    imported(ledger, f"namespace: alpha, guaranteed: 2, from: '{reach}'")
    close_all(ledger, LATER_MS, GRACE_MS)
    assert {line.kind for line in month(ledger)} >= {RESERVED, UNUSED}
    imported(ledger)
    close_all(ledger, LATER_MS, GRACE_MS)
    assert month(ledger) == before
    assert amounts(ledger) == {("cc-a", "held"): 3_000_000}


def test_a_plan_of_other_hours_settles_nothing(ledger: Database) -> None:
    put(ledger, body(holdings=[holding()]))
    close_all(ledger, LATER_MS, GRACE_MS)
    imported(ledger, "namespace: alpha, guaranteed: 2, from: 2026-10-04")
    with ledger.read() as connection:
        assert plan_hours_due(connection, LATER_MS) == {}


def test_plans_without_a_price_are_a_problem_of_the_hour(ledger: Database) -> None:
    """It has no node."""
    noted(ledger, seen(1, price_key="NVIDIA L4"))
    put(ledger, body())
    close_all(ledger, LATER_MS, GRACE_MS)
    with ledger.read() as connection:
        found = [(each.kind, each.subject, each.ms) for each in problems_since(connection, HOUR)]
    assert found == [("unpriced plan", "alpha: NVIDIA L4 has no price", 3_600_000)]
    assert amounts(ledger)[("platform:unpriced", "unused")] is None


def settle_month(database: Database, state: str) -> None:
    first, last = hours_of(MONTH, "UTC")
    with database.write() as connection:
        put_state(
            connection,
            MonthState(month=MONTH, state=state, draft=1, first_hour=first, last_hour=last, changed_ms=LATER_MS),
        )


def test_a_drafted_month_waits(ledger: Database) -> None:
    put(ledger, body(holdings=[holding()]))
    close_all(ledger, LATER_MS, GRACE_MS)
    settle_month(ledger, DRAFT)
    imported(ledger, "namespace: alpha, guaranteed: 2")
    before = month(ledger)
    close_all(ledger, LATER_MS, GRACE_MS)
    assert month(ledger) == before
    with ledger.read() as connection:
        assert plan_hours_due(connection, LATER_MS) == {CLUSTER: 1}


def test_a_closed_month_is_changed_by_force_only_and_by_corrections(ledger: Database) -> None:
    """The refusal names the entry, the month and the command. What is right is posted in the month after."""
    put(ledger, body(holdings=[holding()]))
    close_all(ledger, LATER_MS, GRACE_MS)
    settle_month(ledger, CLOSED)
    before = month(ledger)
    entry = "namespace: alpha, guaranteed: 2, from: 2026-10-03T10:30:00Z"
    with pytest.raises(
        PlansConflict, match=r"lab / alpha / nvidia.com/gpu: guaranteed 2, .* 2026-10, which is closed"
    ):
        imported(ledger, entry)
    assert imported(ledger, "namespace: alpha, guaranteed: 2, from: 2026-11-01") == 1
    imported(ledger, entry, force=True)
    close_all(ledger, LATER_MS, GRACE_MS)
    assert month(ledger) == before
    with ledger.read() as connection:
        posted = list(lines_of_month(connection, "2026-11"))
    kinds = {(line.part, line.kind): line.amount_micros for line in posted}
    assert kinds[("reversal", "held")] == -3_000_000
    assert (
        kinds[("restated", "held")] == kinds[("restated", "reserved")] == kinds[("restated", "unused")] == 1_500_000
    )
    assert sum(line.amount_micros or 0 for line in posted) == sum(line.list_micros or 0 for line in posted) == 0
    imported(ledger, "namespace: alpha, guaranteed: 2, from: 2026-11-01", force=True)
    close_all(ledger, LATER_MS, GRACE_MS)
    with ledger.read() as connection:
        assert list(lines_of_month(connection, "2026-11")) == []


def test_use_that_is_known_late_is_billed_by_what_it_was(ledger: Database) -> None:
    """Also where a plan takes half of the holding, of which no money changes: its use is part of the other half's."""
    with ledger.write() as connection:
        change_policy(
            connection, PolicyChange(version=0, from_ms=0, values={"basis": "usage"}), 0, who="ann", why="a test"
        )
    imported(ledger, "namespace: alpha, guaranteed: 1")
    half = HOUR_MS // 2
    cards, first = [gpu("GPU-1"), gpu("GPU-2")], holding("GPU-1", pod="first", end=half, busy_ms=half)
    put(ledger, body(gpus=cards, holdings=[first, holding("GPU-2", busy_ms=0)]))
    close_all(ledger, LATER_MS, GRACE_MS)
    settle_month(ledger, CLOSED)
    put(ledger, body(seq=2, gpus=cards, holdings=[first, holding("GPU-2", busy_ms=HOUR_MS)]))
    close_all(ledger, LATER_MS, GRACE_MS)
    with ledger.read() as connection:
        posted = [line for line in lines_of_month(connection, "2026-11") if line.account == "cc-a"]
    assert sum(line.amount_micros or 0 for line in (*month(ledger), *posted) if line.kind == "burst") == 1_500_000
