"""Budgets in the ledger: versions are only added, a no-op adds none, and each is in the audit; both databases."""

from __future__ import annotations

from datetime import date

from chargeback.budget_reports import budget_report, days_report
from chargeback.core.budgets import Budget
from chargeback.core.hours import HOUR_MS
from chargeback.files.budgets import parse_budgets
from chargeback.store.audit import entries
from chargeback.store.budgets import add_budgets, budget_book, budget_history
from chargeback.store.database import Database
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import GRACE_MS, HOUR, body, gpu, holding, put, start_ms

MONTH = "2026-10"


def budget(**changes: object) -> Budget:
    fields: dict[str, object] = {"cost_center": "cc-a", "version": 0, "from_month": "2026-10"}
    return Budget(**(fields | {"amount_micros": 100_000_000} | changes))  # type: ignore[arg-type]


def add(database: Database, *budgets: Budget, at: int = 7) -> list[Budget]:
    with database.write() as connection:
        return add_budgets(connection, budgets, "jo", "plan", at)


def test_versions_are_numbered_and_noted(ledger: Database) -> None:
    add(ledger, budget(), budget(cost_center="é'Z_", amount_micros=0))
    add(ledger, budget(amount_micros=None, from_month="2026-12", thresholds=(80,)), at=8)
    with ledger.read() as connection:
        history = budget_history(connection, "cc-a")
        noted = [(e.who, e.action, e.why, e.recorded_ms, e.detail) for e in entries(connection, "cc-a")]
        book = budget_book(connection)
    assert [each.budget for each in history] == [
        budget(version=1),
        budget(version=2, amount_micros=None, from_month="2026-12", thresholds=(80,)),
    ]
    assert (history[1].who, history[1].why, history[1].recorded_ms) == ("jo", "plan", 8)
    assert noted[1][:4] == ("jo", "budget", "plan", 8)
    assert noted[1][4] == {
        "version": 2, "from_month": "2026-12", "until_month": None, "amount_micros": None, "thresholds": [80],
    }  # fmt: skip
    assert [each.cost_center for each in book.in_month("2026-11")] == ["cc-a", "é'Z_"]
    assert [each.cost_center for each in book.in_month("2026-12")] == ["é'Z_"]


def test_what_changes_nothing_is_not_added(ledger: Database) -> None:
    """Neither a budget that is set again nor a file of several of one cost center."""
    text = """
currency: USD
budgets:
  - {cost_center: cc-a, amount: "5", from: 2026-10}
  - {cost_center: cc-a, amount: "6.5", from: 2027-01}
  - {cost_center: cc-b, amount: none, from: 2026-10}
"""
    read = parse_budgets(text, "budgets.yaml", "USD")
    assert [each.cost_center for each in add(ledger, *read)] == ["cc-a", "cc-a"]  # cc-b had none anyway
    assert add(ledger, *read) == []
    assert [each.version for each in add(ledger, budget(amount_micros=5_000_001))] == [3]
    assert [each.version for each in add(ledger, *read)] == [4, 5]


def test_a_month_is_read_with_its_running_hours(ledger: Database) -> None:
    """Three USD an hour: two hours are rated, one is running for half an hour."""
    held = [holding()]
    for number in range(2):
        put(ledger, body(hour=HOUR + number, holdings=held))
    now_ms = start_ms(HOUR + 2) + HOUR_MS // 2 + GRACE_MS
    close_all(ledger, now_ms, GRACE_MS)
    half = HOUR_MS // 2
    cards, holders = [gpu(observed=[(0, half)])], [holding(end=half)]
    put(ledger, body(hour=HOUR + 2, through=half, final=False, gpus=cards, holdings=holders), now_ms)
    add(ledger, budget(amount_micros=10_000_000), budget(cost_center="cc-b", amount_micros=1))
    report = budget_report(ledger, None, now_ms)
    assert (report.month, report.currency) == (MONTH, "USD")
    assert [(use.budget.cost_center, use.spent_micros) for use in report.uses] == [("cc-a", 7_500_000), ("cc-b", 0)]
    use = report.of("cc-a")
    assert use is not None
    assert [(each.percent, each.reached) for each in use.thresholds][:3] == [
        (50, date(2026, 10, 3)), (75, date(2026, 10, 3)), (90, None),
    ]  # fmt: skip
    assert use.no_forecast == "too early"
    [first, _] = days_report(ledger, date(2026, 10, 3), date(2026, 10, 4), now_ms)
    assert first.budget is not None
    assert (first.budget * 31, first.spent_micros) == (10_000_000, 7_500_000)
    [before, _] = days_report(ledger, date(2026, 9, 1), date(2026, 9, 4), now_ms)
    assert (before.budget, before.spent_micros, before.share) == (None, 0, None)


def test_days_without_any_account_foretell_nothing(ledger: Database) -> None:
    """The ledger begins on the 3rd: on the 7th four full days are known, not six; one of them was held."""
    for number in range(4):
        put(ledger, body(hour=HOUR + 24 * number, holdings=[holding()] if number < 1 else []))
    now_ms = start_ms(HOUR + 24 * 4 - 10)
    close_all(ledger, now_ms, GRACE_MS)
    add(ledger, budget())
    use = budget_report(ledger, MONTH, now_ms).of("cc-a")
    assert use is not None
    assert use.forecast is not None
    assert use.forecast.days == 4
    assert use.forecast.expected_micros == 3_000_000 + 3_000_000 * 25 // 4


def test_a_ledger_that_has_not_begun_has_no_budgets(database: Database) -> None:
    assert budget_report(database, None, 0).uses == ()
