"""`GET /v1/budgets` and the metrics of budgets and months, on the real server."""

from __future__ import annotations

import re
from pathlib import Path

from chargeback.core.budgets import Budget
from chargeback.core.hours import HOUR_MS
from chargeback.store.budgets import add_budgets
from chargeback.store.database import Database
from tests.chargeback.api.serving import Server, serving
from tests.chargeback.store.bodies import HOUR, body, holding, start_ms


def set_budget(database: Database, cost_center: str, micros: int) -> None:
    budget = Budget(
        cost_center=cost_center, version=0, from_month="2026-10", amount_micros=micros, thresholds=(50, 100)
    )
    with database.write() as connection:
        add_budgets(connection, [budget], "jo", "plan", 0)


async def four_days(server: Server) -> None:
    """cc-a held a card for an hour on each of the first four days the ledger knows: 3, 4, 5 and 6 October."""
    for number in range(4):
        sent = body(hour=HOUR + 24 * number, holdings=[holding()])
        server.clock.at_ms = start_ms(HOUR + 24 * number + 1)
        assert (await server.put(sent)).status == 200
    server.clock.at_ms = start_ms(HOUR + 24 * 4 - 10)  # the 7th begins
    await server.close_hours()


async def test_a_budget_over_http(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        set_budget(server.database, "cc-a", 24_000_000)
        set_budget(server.database, "cc-b", 1)
        await four_days(server)
        found = (await server.get("/v1/budgets")).json
        [of_b] = (await server.get("/v1/budgets?month=2026-10&cost_center=cc-b")).json["budgets"]
        both = (await server.get("/v1/budgets?cost_center=cc-a&cost_center=cc-b&cost_center=cc-c")).json["budgets"]
        before = (await server.get("/v1/budgets?month=2026-09")).json
        wrong = [await server.get(f"/v1/budgets?{query}") for query in ("month=10", "team=red")]
    assert (found["month"], found["currency"]) == ("2026-10", "USD")
    assert found["budgets"][0] == {
        "cost_center": "cc-a",
        "budget": "24.000000",
        "spent": "12.000000",
        "used_percent": "50.000000",
        "thresholds": [{"percent": 50, "reached": "2026-10-06"}, {"percent": 100, "reached": None}],
        "forecast_low": "87.000000",
        "forecast": "87.000000",
        "forecast_high": "87.000000",
        "no_forecast": None,
        "used_up": "2026-10-10",
        "version": 1,
    }
    assert (of_b["spent"], of_b["used_percent"]) == ("0.000000", "0.000000")
    assert [each["cost_center"] for each in both] == ["cc-a", "cc-b"]
    assert before == {"month": "2026-09", "currency": "USD", "budgets": []}
    assert [(answer.status, answer.json["field"]) for answer in wrong] == [(400, "month"), (400, "team")]


async def test_the_metrics_say_the_same(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        set_budget(server.database, "cc-a", 24_000_000)
        await four_days(server)
        page = await server.metrics_with('chargeback_budget_spent{cost_center="cc-a",currency="USD"} 12.0')
    samples = dict(re.findall(r"^(chargeback_(?:budget|month)\S*) (\S+)$", page, re.MULTILINE))
    assert {name: float(value) for name, value in samples.items()} == {
        'chargeback_budget{cost_center="cc-a",currency="USD"}': 24,
        'chargeback_budget_spent{cost_center="cc-a",currency="USD"}': 12,
        'chargeback_budget_forecast{bound="low",cost_center="cc-a",currency="USD"}': 87,
        'chargeback_budget_forecast{bound="expected",cost_center="cc-a",currency="USD"}': 87,
        'chargeback_budget_forecast{bound="high",cost_center="cc-a",currency="USD"}': 87,
        'chargeback_budget_threshold{cost_center="cc-a",threshold="50"}': 1,
        'chargeback_budget_threshold{cost_center="cc-a",threshold="100"}': 0,
        'chargeback_month_state{month="2026-10",state="open"}': 1,
        'chargeback_month_state{month="2026-10",state="draft"}': 0,
        'chargeback_month_state{month="2026-10",state="approved"}': 0,
        'chargeback_month_state{month="2026-10",state="closed"}': 0,
        "chargeback_month_unclosed_seconds": 0,
    }


async def test_a_month_that_is_over_grows_older_until_it_is_closed(tmp_path: Path) -> None:
    async with serving(tmp_path) as server:
        await four_days(server)
        server.clock.at_ms = start_ms(HOUR) + 30 * 24 * HOUR_MS  # 10 hours of 2 November are over
        await server.metrics_with("chargeback_month_unclosed_seconds 122400.0")
