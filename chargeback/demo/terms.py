"""What the demo's people have agreed on: guarantees, budgets and a credit, dated from its first month."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from chargeback.core.adjustments import Adjustment, Scope
from chargeback.core.hours import month_span_ms
from chargeback.core.lines import CREDIT
from chargeback.core.money import MICROS
from chargeback.files.budgets import parse_budgets
from chargeback.store.adjustments import adjustments, make_adjustment
from chargeback.store.budgets import add_budgets, budget_history
from chargeback.store.database import Database
from chargeback.store.policies import policy_book

WHO = "demo"
DAY_MS = 24 * 3_600_000


def write_plans(data: Path, month: str) -> Path:
    """The plan file; one that is there stays, for a plan that began later would change hours that are billed."""
    path = data / "plans.yaml"
    if not path.exists():
        path.write_text(_text("plans", month))
    return path


def set_budgets(database: Database, month: str, now_ms: int) -> None:
    """Once, from this month on."""
    with database.write() as connection:
        if not budget_history(connection):
            budgets = parse_budgets(_text("budgets", month), "budgets.yaml", "USD")
            add_budgets(connection, budgets, WHO, "plan of the year", now_ms)


def give_credit(database: Database, cluster: str, month: str, now_ms: int) -> None:
    """Once, about a day of this month."""
    with database.write() as connection:
        policies = policy_book(connection)
        if policies is None or any(True for _ in adjustments(connection)):
            return
        from_ms = month_span_ms(month, policies.first.timezone)[0] + 11 * DAY_MS
        credit = Adjustment(
            number=0,
            kind=CREDIT,
            from_ms=from_ms,
            until_ms=from_ms + DAY_MS,
            scope=Scope(cluster=cluster, cost_center="rd-001"),
            amount_micros=100 * MICROS,
            month="",
            reason="shared storage was slow",
            ticket="OPS-17",
            who=WHO,
            recorded_ms=now_ms,
        )
        make_adjustment(connection, credit, policies.first.timezone, policies.first.version)


def _text(name: str, month: str) -> str:
    """A file that comes with the demo, dated."""
    return files("chargeback.demo").joinpath(f"{name}.yaml").read_text().replace("MONTH", month)
