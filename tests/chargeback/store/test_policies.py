"""The policy in the ledger: versions are added, audited, and what they touch is rated again."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from sqlalchemy import insert

from chargeback.core.hours import HOUR_MS, format_instant
from chargeback.core.policy import Policy, PolicyChange
from chargeback.files.prices import parse_prices
from chargeback.store.audit import entries
from chargeback.store.claims import claim
from chargeback.store.database import Database
from chargeback.store.ledger import lines_of_month
from chargeback.store.months import APPROVED, CLOSED, MonthState, put_state
from chargeback.store.policies import PolicyRefused, begin_policy, change_policy, policy_book, policy_history
from chargeback.store.tables import policies
from chargeback.store.terms import import_prices
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, H100, HOUR, PRICES, body, put, start_ms

LATER_MS = start_ms(HOUR + 40)
MONTH_END_MS = start_ms(HOUR) + 28 * 24 * HOUR_MS + 14 * HOUR_MS  # of October, UTC


def change(values: dict[str, Any], from_hour: int = 1, **where: Any) -> PolicyChange:
    """From so many hours after the first."""
    return PolicyChange(version=0, from_ms=start_ms(HOUR + from_hour), values=values, **where)


def record(database: Database, wanted: PolicyChange, *, force: bool = False) -> tuple[PolicyChange, int]:
    with database.write() as connection:
        return change_policy(connection, wanted, LATER_MS, who="ada", why="agreed", force=force)


def refusal(database: Database, wanted: PolicyChange, *, force: bool = False) -> str:
    with pytest.raises(PolicyRefused) as refused:
        record(database, wanted, force=force)
    return str(refused.value)


def due(database: Database) -> list[tuple[str, int]]:
    """Cluster, and hours after the first."""
    with database.write() as connection:
        return [(key.cluster, key.hour - HOUR) for key, _, _ in claim(connection, LATER_MS, 1000)]


def settle_october(database: Database, state: str) -> None:
    with database.write() as connection:
        put_state(
            connection,
            MonthState(month="2026-10", state=state, draft=1, first_hour=HOUR, last_hour=HOUR + 700, changed_ms=0),
        )


@pytest.fixture
def rated(ledger: Database) -> Database:
    """Two hours of two clusters, and the silence after."""
    for hour in (HOUR, HOUR + 1):
        put(ledger, body(hour=hour))
        put(ledger, body(hour=hour, cluster="other"))
    close_all(ledger, LATER_MS, GRACE_MS)
    assert due(ledger) == []
    return ledger


def test_a_change_holds_from_its_date_and_rates_again_from_there(rated: Database) -> None:
    """The first version stays the one that settings are compared with."""
    made, count = record(rated, change({"sharing": "active", "mig_weight": Fraction(1, 3)}))
    assert (made.version, count) == (2, 76)
    with rated.write() as connection:
        book = policy_book(connection)
        begin_policy(connection, Policy(), LATER_MS)
    assert book is not None
    assert [book.at(start_ms(HOUR + hour)).sharing for hour in (0, 1)] == ["configured", "active"]
    assert book.latest == Policy(version=2, from_ms=start_ms(HOUR + 1), sharing="active", mig_weight=Fraction(1, 3))
    found = due(rated)
    assert {hour for _, hour in found} == set(range(1, 39))
    assert {cluster for cluster, _ in found} == {CLUSTER, "other"}


def test_a_change_of_a_cluster_leaves_the_others_alone(rated: Database) -> None:
    """Also one of a pool of it."""
    _, count = record(rated, change({"basis": "usage"}, cluster="other", pool="p"))
    assert count == 38
    assert {cluster for cluster, _ in due(rated)} == {"other"}


def test_what_rating_does_not_ask_makes_nothing_due(rated: Database) -> None:
    """Who approves a month, and who pays for its idle cards, counts when it is closed."""
    assert record(rated, change({"approver": "other", "idle": "even"}))[1] == 0
    assert due(rated) == []


def test_who_changed_what_and_why_is_kept(rated: Database) -> None:
    record(rated, change({"sharing": "active"}, cluster=CLUSTER))
    record(rated, change({"sharing": None, "faulted": "credit"}, 2, cluster=CLUSTER))
    with rated.read() as connection:
        began, second, third = policy_history(connection)
        noted = list(entries(connection, "policy 3"))
    assert (began.who, began.why, began.change.values["sharing"]) == (None, None, "configured")
    assert (second.who, second.why, second.recorded_ms) == ("ada", "agreed", LATER_MS)
    assert second.change == replace(change({"sharing": "active"}, cluster=CLUSTER), version=2)
    assert third.change.values == {"sharing": None, "faulted": "credit"}
    assert [(each.action, each.who, each.why, each.detail) for each in noted] == [
        (
            "policy set",
            "ada",
            "agreed",
            {
                "from": format_instant(start_ms(HOUR + 2)),
                "cluster": CLUSTER,
                "pool": "",
                "sharing": "inherit",
                "faulted": "credit",
            },
        )
    ]


def test_a_refused_change_leaves_nothing(rated: Database) -> None:
    said = refusal(rated, change({"approver": "other"}, cluster=CLUSTER))
    assert "--approver: is of the whole ledger" in said
    with rated.read() as connection:
        assert len(list(policy_history(connection))) == 1
        assert [each for each in entries(connection) if each.action == "policy set"] == []
    assert due(rated) == []


@pytest.mark.parametrize("state", [CLOSED, APPROVED])
def test_a_settled_month_is_changed_only_by_force(rated: Database, state: str) -> None:
    """Also one that is about to be closed: its statement would be another."""
    settle_october(rated, state)
    assert "want --force, and adjustments follow" in refusal(rated, change({"faulted": "credit"}))
    assert record(rated, change({"faulted": "credit"}), force=True)[0].version == 2
    assert "it is theirs for ever" in refusal(
        rated, PolicyChange(version=0, from_ms=0, values={"timezone": "Asia/Tokyo"})
    )
    after = PolicyChange(version=0, from_ms=MONTH_END_MS, values={"faulted": "bill"})
    assert record(rated, after)[0].version == 3


def test_another_timezone_is_that_of_all_lines(rated: Database) -> None:
    """Before a month is closed: days are cut anew from the ledger's first hour on."""
    record(rated, PolicyChange(version=0, from_ms=0, values={"timezone": "Pacific/Auckland"}))
    assert ("other", 0) in due(rated)
    close_all(rated, LATER_MS, GRACE_MS)
    with rated.read() as connection:
        days = sorted({(line.day, line.hour - HOUR) for line in lines_of_month(connection, "2026-10")})
    with rated.write() as connection:
        begin_policy(connection, Policy(), LATER_MS)
    assert [days[0], days[1], days[2]] == [("2026-10-03", 0), ("2026-10-04", 1), ("2026-10-04", 2)]


def test_a_timezone_in_which_what_is_there_could_not_begin(ledger: Database) -> None:
    """A price that begins at a midnight of Kolkata begins inside an hour of New York."""
    kolkata = PolicyChange(version=0, from_ms=0, values={"timezone": "Asia/Kolkata"})
    assert record(ledger, kolkata)[0].version == 2
    text = PRICES + f'  - {{tier: t, factor: "1", model: {H100}, from: 2026-11-01}}\n'
    with ledger.write() as connection:
        file = parse_prices(text.replace("2026-11-01", "2026-10-31T18:30:00Z"), "p.yaml", "Asia/Kolkata")
        import_prices(connection, file, "p.yaml", "Asia/Kolkata", 0)
    at_midnight = PolicyChange(
        version=0, from_ms=start_ms(HOUR) + 8 * HOUR_MS + HOUR_MS // 2, values={"basis": "usage"}
    )
    record(ledger, at_midnight)
    said = refusal(ledger, PolicyChange(version=0, from_ms=0, values={"timezone": "America/New_York"})).splitlines()
    wanted = "want a whole UTC hour or a midnight of America/New_York"
    assert said == [
        "--timezone: America/New_York: version 3 of the policy begins at 2026-10-03T18:30:00Z, inside an hour",
        (
            "--timezone: America/New_York: version 2 of the price book: p.yaml: tiers[1].from: "
            f"'2026-10-31T18:30:00Z': {wanted}"
        ),
    ]


def test_the_currency_may_change_while_there_is_no_money(database: Database) -> None:
    """And not after the first price: currencies are never mixed."""
    euros = PolicyChange(version=0, from_ms=0, values={"currency": "EUR"})
    with database.write() as connection:
        begin_policy(connection, Policy(), 0)
    record(database, euros)
    with database.write() as connection:
        book = policy_book(connection)
        assert book is not None
        assert book.first.currency == "EUR"
        import_prices(connection, parse_prices("currency: EUR\n", "e.yaml"), "e.yaml", "UTC", 0)
    assert "currencies are never mixed" in refusal(database, euros)


def test_a_ledger_of_an_earlier_release_says_what_was_so(database: Database) -> None:
    """Its first version knew nothing of who pays for faulted or idle cards, nor of approvers."""
    old = {"sharing": "active", "mig_weight": "1/2", "basis": "allocation", "plans_from": "quota"}
    row = {"version": 1, "from_ms": 0, "timezone": "UTC", "currency": "USD", "recorded_ms": 0, **old}
    with database.write() as connection:
        connection.execute(insert(policies).values(row))
        book = policy_book(connection)
        begin_policy(connection, Policy(sharing="active", mig_weight=Fraction(1, 2), plans_from="quota"), 1)
    assert book is not None
    assert book.first == Policy(sharing="active", mig_weight=Fraction(1, 2), plans_from="quota")
