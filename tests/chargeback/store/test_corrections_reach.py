"""What changes after a month is closed, and reaches into it: each makes its hours due, and is answered when open."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction

import pytest

from chargeback.core.adjustments import Adjustment, Scope
from chargeback.core.hours import parse_hour
from chargeback.core.lines import Line
from chargeback.core.owners.history import CORRECTION, Version
from chargeback.core.policy import PolicyChange
from chargeback.files.plans import parse_plans
from chargeback.files.prices import parse_prices
from chargeback.store.adjustments import make_adjustment
from chargeback.store.database import Connection, Database
from chargeback.store.ledger import lines_of_month
from chargeback.store.owners import correct_owner
from chargeback.store.plans import import_plans
from chargeback.store.policies import change_policy
from chargeback.store.terms import import_prices
from chargeback.tasks.close_hours import close_all, close_due
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, PRICES, body, gpu, holding, put, start_ms
from tests.chargeback.store.closing import put_month

OCTOBER, NOVEMBER = "2026-10", "2026-11"
NOW_MS = start_ms(HOUR + 1) + GRACE_MS


def lines(database: Database, month: str) -> list[Line]:
    with database.read() as connection:
        return list(lines_of_month(connection, month))


def amounts(found: list[Line]) -> dict[str, int]:
    """Micros by account."""
    totals: dict[str, int] = {}
    for line in found:
        totals[line.account] = totals.get(line.account, 0) + (line.amount_micros or 0)
    return {account: micros for account, micros in totals.items() if micros}


def new_owner(connection: Connection) -> None:
    """alpha was cc-c's all the time."""
    correction = Version(
        namespace="alpha", cost_center="cc-c", team=None, tier=None, from_ms=0, until_ms=start_ms(HOUR + 1),
        source=CORRECTION, who="jo", why="typed wrongly", recorded_ms=NOW_MS,
    )  # fmt: skip
    correct_owner(connection, CLUSTER, correction)


def new_prices(connection: Connection) -> None:
    """A card costs 5 an hour from before the first closed hour on."""
    file = parse_prices(PRICES.replace('price: "3"', 'price: "5"'), "new.yaml")
    import_prices(connection, file, "new.yaml", "UTC", NOW_MS, force=True, who="jo", why="the contract")


def new_policy(connection: Connection) -> None:
    """Only the busy part is billed."""
    change = PolicyChange(version=0, from_ms=start_ms(HOUR), values={"basis": "usage"})
    change_policy(connection, change, NOW_MS, who="jo", why="agreed", force=True)


def new_plan(connection: Connection) -> None:
    """beta is guaranteed a card, and holds none."""
    text = 'plans: [{namespace: beta, guaranteed: 1, price_key: NVIDIA H100 80GB HBM3, from: "2026-10-01"}]'
    file = parse_plans(text, "plans.yaml", CLUSTER, "UTC")
    import_plans(connection, file, [CLUSTER], "UTC", NOW_MS, who="jo", force=True)


def an_outage(connection: Connection) -> None:
    """For a quarter of an hour."""
    wanted = Adjustment(
        number=0, kind="outage", from_ms=start_ms(HOUR), until_ms=start_ms(HOUR) + 900_000, scope=Scope(node="n1"),
        amount_micros=None, month="", reason="fabric", ticket="T-1", who="jo", recorded_ms=NOW_MS,
    )  # fmt: skip
    make_adjustment(connection, wanted, "UTC", 1)


@pytest.mark.parametrize(
    ("change", "moved"),
    [
        (new_owner, {"cc-a": -3_000_000, "cc-c": 3_000_000}),
        (new_prices, {"cc-a": 2_000_000, "platform:idle": 2_000_000}),
        (new_policy, {"cc-a": -1_500_000, "platform:discount": 1_500_000}),
        (new_plan, {"cc-b": 1_500_000, "platform:idle": -1_500_000}),
        (an_outage, {"cc-a": -750_000, "platform:discount": 750_000}),
    ],
)
def test_what_reaches_a_closed_month(
    ledger: Database, change: Callable[[Connection], None], moved: dict[str, int]
) -> None:
    """alpha holds a card that is half busy, another is idle: the difference is posted, October stays as it is."""
    cards = [gpu("GPU-1"), gpu("GPU-2")]
    put(ledger, body(gpus=cards, holdings=[holding(busy_ms=1_800_000)]))
    close_all(ledger, NOW_MS, GRACE_MS)
    put_month(ledger, OCTOBER)
    before = lines(ledger, OCTOBER)
    with ledger.write() as connection:
        change(connection)
    close_all(ledger, NOW_MS, GRACE_MS)
    assert lines(ledger, OCTOBER) == before
    assert amounts(lines(ledger, NOVEMBER)) == moved
    assert {line.corrects_month for line in lines(ledger, NOVEMBER)} == {OCTOBER}


def test_corrections_preserve_their_period(ledger: Database) -> None:
    """openmeter `rating/periodpreserving/README.md` (R9): billed 5 at 10 in P1; later P1 has 7, P2 has 3.

    20 more are of P1, in lines that say so, and 30 of P2; an engine of deltas books 50 on P2.
    """
    ten = PRICES.replace('price: "3"', 'price: "10"')
    with ledger.write() as connection:
        import_prices(connection, parse_prices(ten, "ten.yaml"), "ten.yaml", "UTC", 0, force=True)
    first = [HOUR + number for number in range(7)]
    for hour in first:
        put(ledger, body(hour=hour, holdings=[holding()] if hour < HOUR + 5 else []))
    close_all(ledger, start_ms(first[-1] + 1) + GRACE_MS, GRACE_MS)
    put_month(ledger, OCTOBER)
    assert of_a(ledger, OCTOBER) == {"": 50_000_000}
    second = [parse_hour(f"2026-11-02T{number:02d}Z") for number in range(3)]
    for hour in first[5:]:
        put(ledger, body(hour=hour, seq=2, holdings=[holding()]), start_ms(first[-1] + 1))
    for hour in second:
        put(ledger, body(hour=hour, holdings=[holding()]))
    close_all(ledger, start_ms(second[-1] + 1) + GRACE_MS, GRACE_MS)
    assert of_a(ledger, OCTOBER) == {"": 50_000_000}
    assert of_a(ledger, NOVEMBER) == {OCTOBER: 20_000_000, "": 30_000_000}


def of_a(database: Database, month: str) -> dict[str, int]:
    """What cc-a owes, by the month corrected."""
    found: dict[str, int] = {}
    for line in lines(database, month):
        if line.account == "cc-a":
            found[line.corrects_month] = found.get(line.corrects_month, 0) + (line.amount_micros or 0)
    return found


def test_replicas_that_correct_one_hour_at_once(ledger: Database) -> None:
    """Nodes of an hour with a plan, each corrected by another replica: as if one had done it all."""
    nodes = [f"n{number}" for number in range(6)]
    with ledger.write() as connection:
        text = 'plans: [{namespace: alpha, guaranteed: 4, price_key: NVIDIA H100 80GB HBM3, from: "2026-10-01"}]'
        import_plans(connection, parse_plans(text, "p", CLUSTER, "UTC"), [CLUSTER], "UTC", NOW_MS, who="jo")
    for node in nodes:
        put(ledger, body(node, gpus=[gpu(f"GPU-{node}")], holdings=[holding(f"GPU-{node}")]))
    close_all(ledger, NOW_MS, GRACE_MS)
    put_month(ledger, OCTOBER)
    before = lines(ledger, OCTOBER)
    for node in nodes:
        late = [holding(f"GPU-{node}", end=1_800_000)]
        put(ledger, body(node, seq=2, gpus=[gpu(f"GPU-{node}")], holdings=late), NOW_MS)

    def replica(_: int) -> None:
        while close_due(ledger, NOW_MS, GRACE_MS, limit=1):
            pass

    with ThreadPoolExecutor(3) as replicas:
        list(replicas.map(replica, range(3)))
    close_all(ledger, NOW_MS, GRACE_MS)
    assert lines(ledger, OCTOBER) == before
    found = lines(ledger, NOVEMBER)
    # Six held for half an hour: four reserved, two burst; the guarantee is unused for the other half.
    hours: dict[str, Fraction] = {}
    for line in [*before, *found]:
        if line.kind in ("reserved", "burst", "unused"):
            hours[line.kind] = hours.get(line.kind, Fraction(0)) + Fraction(line.quantity_ms_num, line.ms_den)
    assert {kind: ms / 3_600_000 for kind, ms in hours.items()} == {"reserved": 2, "burst": 1, "unused": 2}
    assert sum(line.amount_micros or 0 for line in found) == sum(line.list_micros or 0 for line in found) == 0
