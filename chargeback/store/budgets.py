"""Budgets as people set them: only ever added to, the newest version of a month wins; each is noted in the audit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection, insert, select

from chargeback.core.budgets import Budget, BudgetBook
from chargeback.store.audit import Entry, note
from chargeback.store.database import lock
from chargeback.store.tables import budgets as table


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetVersion:
    """A version, and who set it when and why."""

    budget: Budget
    recorded_ms: int
    who: str
    why: str


def budget_book(connection: Connection) -> BudgetBook:
    return BudgetBook(each.budget for each in budget_history(connection))


def budget_history(connection: Connection, cost_center: str | None = None) -> list[BudgetVersion]:
    """Every version, by cost center and version; of one, or all."""
    query = select(table).order_by(table.c.cost_center, table.c.version)
    if cost_center is not None:
        query = query.where(table.c.cost_center == cost_center)
    return [
        BudgetVersion(
            budget=Budget(
                cost_center=row.cost_center,
                version=row.version,
                from_month=row.from_month,
                until_month=row.until_month,
                amount_micros=row.amount_micros,
                thresholds=tuple(json.loads(row.thresholds)),
            ),
            recorded_ms=row.recorded_ms,
            who=row.who,
            why=row.why,
        )
        for row in connection.execute(query)
    ]


def add_budgets(connection: Connection, budgets: Iterable[Budget], who: str, why: str, now_ms: int) -> list[Budget]:
    """Add versions in this order, and return them numbered; none of a cost center where they change nothing.

    What a cost center is given at once is taken as a whole: the same again changes nothing.
    """
    lock(connection, table)
    history = budget_history(connection)
    given: dict[str, list[Budget]] = {}
    for budget in budgets:
        given.setdefault(budget.cost_center, []).append(budget)
    added: list[Budget] = []
    for cost_center, news in given.items():
        known = [each.budget for each in history if each.budget.cost_center == cost_center]
        newest = max((budget.version for budget in known), default=0)
        versions = [replace(budget, version=newest + number) for number, budget in enumerate(news, start=1)]
        borders = {month for each in (*known, *versions) for month in (each.from_month, each.until_month) if month}
        if _says(cost_center, known, borders) != _says(cost_center, [*known, *versions], borders):
            for version in versions:
                _add(connection, version, who, why, now_ms)
            added += versions
    return added


def _says(cost_center: str, budgets: Sequence[Budget], months: Iterable[str]) -> list[tuple[int | None, object]]:
    """What versions come to in some months: amount and thresholds."""
    book = BudgetBook(budgets)
    held = [book.of(cost_center, month) for month in sorted(months)]
    return [(None, None) if budget is None else (budget.amount_micros, budget.thresholds) for budget in held]


def _add(connection: Connection, budget: Budget, who: str, why: str, now_ms: int) -> None:
    values = {
        "from_month": budget.from_month,
        "until_month": budget.until_month,
        "amount_micros": budget.amount_micros,
        "thresholds": json.dumps(budget.thresholds),
    }
    connection.execute(
        insert(table).values(
            cost_center=budget.cost_center, version=budget.version, recorded_ms=now_ms, who=who, why=why, **values
        )
    )
    detail = {"version": budget.version, **values, "thresholds": list(budget.thresholds)}
    note(
        connection,
        Entry(recorded_ms=now_ms, who=who, action="budget", subject=budget.cost_center, why=why, detail=detail),
    )
