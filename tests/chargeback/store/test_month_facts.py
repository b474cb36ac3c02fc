"""What checks are told of a month is what the ledger knows, on both databases."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from chargeback.core.adjustments import Adjustment, Scope
from chargeback.core.hours import month_span_ms
from chargeback.core.lines import Line
from chargeback.core.months.closing import DayCost, Finding, Unfinished
from chargeback.core.months.sums import by
from chargeback.core.nodes import Node, UnmeteredNode
from chargeback.core.policy import Policy
from chargeback.files.prices import parse_prices
from chargeback.months.look import look
from chargeback.store import month_facts
from chargeback.store.adjustments import make_adjustment
from chargeback.store.database import Database
from chargeback.store.ledger import lines_of_month
from chargeback.store.months import hours_of
from chargeback.store.node_states import note_nodes
from chargeback.store.policies import begin_policy
from chargeback.store.terms import import_prices
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.a_month import HOUR, LIMITS, MONTH, NOW_MS, fill, stand
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, PRICES, body, gpu, holding, put, start_ms

HOUR_MS = 3_600_000
HOURS = hours_of(MONTH, "UTC")
SPAN_MS = month_span_ms(MONTH, "UTC")


def findings(database: Database, now_ms: int = NOW_MS) -> list[Finding]:
    return list(look(database, MONTH, now_ms, GRACE_MS, LIMITS).findings)


def lines(database: Database, month: str = MONTH) -> list[Line]:
    with database.read() as connection:
        return list(lines_of_month(connection, month))


def test_sums_are_those_of_the_lines(ledger: Database) -> None:
    """Nothing is lost in summing; time is exact, whatever its denominator."""
    fill(ledger)
    with ledger.read() as connection:
        sums = month_facts.line_sums(connection, MONTH)
    assert sum(each.lines for each in sums) == len(lines(ledger)) == 5
    found = by(sums, lambda each: each.account)
    assert {
        account: (total.gpu_ms / HOUR_MS, total.list_micros, total.amount_micros) for account, total in found.items()
    } == {
        "cc-a": (2, 6_000_000, 6_000_000),
        "cc-b": (1, 3_000_000, 1_500_000),
        "platform:discount": (0, 0, 1_500_000),
        "platform:idle": (1, 3_000_000, 3_000_000),
    }


def test_lines_that_went_astray_are_missed(ledger: Database) -> None:
    """Time and money are compared with what existed, not with themselves."""
    fill(ledger)
    assert findings(ledger) == []
    with ledger.write() as connection:
        connection.exec_driver_sql(
            "DELETE FROM lines WHERE account = 'cc-a' AND start_ms = (SELECT MIN(start_ms) FROM lines)"
        )
    assert [each.name for each in findings(ledger)] == ["time:lab"]
    with ledger.write() as connection:
        connection.exec_driver_sql("DELETE FROM lines WHERE account = 'platform:discount'")
    assert [each.name for each in findings(ledger)] == ["money:lab", "time:lab"]


def test_a_month_that_ends_within_a_utc_hour(database: Database) -> None:
    """Each half of the hour counts in its own month."""
    with database.write() as connection:
        begin_policy(connection, Policy(timezone="Asia/Kolkata"), 0)
        import_prices(connection, parse_prices(PRICES, "prices.yaml"), "prices.yaml", "Asia/Kolkata", 0)
    border = month_span_ms(MONTH, "Asia/Kolkata")[1] // HOUR_MS
    put(database, body(hour=border, gpus=[gpu("GPU-1"), gpu("GPU-2")]))
    stand(database, "n1", border, border + 1)
    close_all(database, NOW_MS, GRACE_MS)
    for month in (MONTH, "2024-11"):
        hours = hours_of(month, "Asia/Kolkata")
        assert border in hours
        with database.read() as connection:
            assert month_facts.existed_ms(connection, month, hours) == {CLUSTER: HOUR_MS}
        assert sum(Fraction(line.gpu_ms_num, line.ms_den) for line in lines(database, month)) == HOUR_MS
    assert [each.name for each in findings(database)] == []


def test_an_hour_is_final_by_its_body_or_by_its_age(ledger: Database) -> None:
    """A body that was not finished, or never came, may still come for 72 h."""
    last = HOURS[1]
    put(ledger, body(hour=last, final=False, through=HOUR_MS))
    put(ledger, body("n2", hour=last))
    stand(ledger, "n1", last, last + 1)
    old_enough = start_ms(last + 1 + 72)
    close_all(ledger, old_enough, GRACE_MS)
    with ledger.read() as connection:
        young = month_facts.unfinished(connection, HOURS, old_enough - 1)
        assert young == [Unfinished(cluster=CLUSTER, node_hours=1, until_ms=old_enough)]
        assert month_facts.unfinished(connection, HOURS, old_enough) == []
    put(ledger, body(hour=last, instance="agent-b", started=start_ms(last)), old_enough)
    with ledger.read() as connection:
        assert month_facts.unfinished(connection, HOURS, old_enough - 1) == []


def test_a_node_is_unmetered_in_the_months_in_which_it_was_there(ledger: Database) -> None:
    """Not before it came, not after it went, and not where an agent told of it."""
    fill(ledger)
    nodes = [Node(name="n8", uid="n8", created_ms=SPAN_MS[1] - 1, gpus={"nvidia.com/gpu": 4}), *plain(SPAN_MS[1] - 1)]
    with ledger.write() as connection:
        note_nodes(connection, CLUSTER, nodes, SPAN_MS[1])
        assert month_facts.unmetered(connection, HOURS, SPAN_MS) == [
            UnmeteredNode(cluster=CLUSTER, node="n8", devices=4, pods=0)
        ]
        for month in ("2024-09", "2024-11"):
            found = month_facts.unmetered(connection, hours_of(month, "UTC"), month_span_ms(month, "UTC"))
            assert [each.node for each in found] == (["n8"] if month == "2024-11" else [])


def plain(created_ms: int) -> list[Node]:
    """A node without GPUs."""
    return [Node(name="cpu", uid="cpu", created_ms=created_ms, gpus={})]


def test_days_are_by_cluster_from_the_day_before_on(ledger: Database) -> None:
    """With the hours in which anything was rated; a day without a price says none."""
    first = HOURS[0]
    for hour, node in ((first - 1, "n1"), (first, "n1"), (first + 1, "n1")):
        put(ledger, body(node, hour=hour, holdings=[holding()]))
    put(ledger, body("n1", hour=first, cluster="edge", gpus=[gpu(model="B300")]))
    stand(ledger, "n1", first - 1, first + 2)
    close_all(ledger, start_ms(first + 3), GRACE_MS)
    with ledger.read() as connection:
        found = month_facts.day_costs(connection, MONTH)
    lab = [DayCost(cluster=CLUSTER, day="2024-09-30", micros=3_000_000, hours=1)]
    lab.append(replace(lab[0], day="2024-10-01", micros=6_000_000, hours=2))
    assert [each for each in found if each.cluster == CLUSTER] == lab
    assert [(each.day, each.micros) for each in found if each.cluster == "edge"] == [("2024-10-01", None)]


def test_a_sum_that_somebody_posts_is_no_hour_that_cost_nothing(ledger: Database) -> None:
    """Else a day without a card, but with a credit, would be a leap from the day before."""
    fill(ledger)
    with ledger.write() as connection:
        before = month_facts.day_costs(connection, MONTH)
        wanted = Adjustment(
            number=0, kind="credit", from_ms=start_ms(HOUR + 24), until_ms=start_ms(HOUR + 25),
            scope=Scope(cluster=CLUSTER, cost_center="cc-a"), amount_micros=1, month="", reason="storage was down",
            ticket="T-1", who="jo", recorded_ms=NOW_MS,
        )  # fmt: skip
        make_adjustment(connection, wanted, "UTC", 1)
        assert month_facts.day_costs(connection, MONTH) == before


def test_what_is_due_counts_wherever_it_is(ledger: Database) -> None:
    """Also what will be due only later."""
    fill(ledger)
    put(ledger, body("n5", hour=HOUR), start_ms(HOUR))
    with ledger.read() as connection:
        assert month_facts.due_hours(connection, HOURS) == 1
        assert month_facts.due_hours(connection, hours_of("2024-11", "UTC")) == 0
