"""The first page: a month per cost center, and where everything else is."""

from __future__ import annotations

import asyncio

import aiohttp_jinja2
from aiohttp import web

from chargeback.api.errors import BadRequest
from chargeback.api.state import CLOCK, CLUSTER, DATABASE, PAGE, TABLES
from chargeback.budget_reports import budget_report, show_no_forecast, show_percent
from chargeback.core.hours import check_month, local_day, month_after
from chargeback.core.money import MICROS, show_micros
from chargeback.reports import month_report, policy_of
from chargeback.store.months import state_of
from chargeback.store.node_hours import last_pushes
from chargeback.tasks.quota_look import look

routes = web.RouteTableDef()


@routes.get("/")
@aiohttp_jinja2.template("month.html")
async def get_month(request: web.Request) -> dict[str, object]:
    """A month by cost center (?month=2026-10; default: the current one), provisional hours included."""
    database, now_ms = request.app[DATABASE], request.app[CLOCK].now_ms()
    policy = await asyncio.to_thread(policy_of, database, now_ms, request.app[CLUSTER])
    current = local_day(now_ms, policy.timezone).isoformat()[:7]
    try:
        month = check_month(request.query.get("month", current))
    except ValueError as error:
        raise BadRequest("month", str(error)) from error
    report = await asyncio.to_thread(month_report, database, month, now_ms)

    def pushes_and_state() -> tuple[list[tuple[str, str, int]], str]:
        with database.read() as connection:
            return last_pushes(connection), state_of(connection, month)

    pushes, state = await asyncio.to_thread(pushes_and_state)
    budgets = await asyncio.to_thread(budget_report, database, month, now_ms)
    quotas = await asyncio.to_thread(look, request.app[TABLES], policy.plans_from, request.app[PAGE].trends, now_ms)
    return {
        "report": report,
        "policy": policy,
        "state": state,
        "budgets": budgets.uses,
        "percent": show_percent,
        "no_forecast": show_no_forecast,
        "before": month_after(month, -1),
        "after": month_after(month) if month < current else None,
        "money": show_micros,
        "hours": lambda hours: show_micros(round(hours * MICROS)),
        "quotas": quotas.uses,
        "cluster": request.app[CLUSTER],
        "nodes": [(cluster, node, (now_ms - at_ms) // 1000) for cluster, node, at_ms in pushes],
    }
