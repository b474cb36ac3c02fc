"""`GET /v1/budgets`: what cost centers may spend in a month, what they did, and where it will end."""

from __future__ import annotations

import asyncio

from aiohttp import web

from chargeback.api.errors import BadRequest
from chargeback.api.state import CLOCK, DATABASE
from chargeback.budget_reports import budget_json, budget_report
from chargeback.core.hours import check_month

routes = web.RouteTableDef()

FIELDS = ("month", "cost_center")


@routes.get("/v1/budgets")
async def get_budgets(request: web.Request) -> web.Response:
    """Of ?month=… (default: the current one), of ?cost_center=… only; the running hours are in it."""
    for name in request.query:
        if name not in FIELDS:
            raise BadRequest(name, f"not a filter: want {' or '.join(FIELDS)}")
    try:
        month = check_month(request.query["month"]) if "month" in request.query else None
    except ValueError as error:
        raise BadRequest("month", str(error)) from error
    now_ms = request.app[CLOCK].now_ms()
    report = await asyncio.to_thread(budget_report, request.app[DATABASE], month, now_ms)
    wanted = request.query.getall("cost_center", [])
    uses = [use for use in report.uses if not wanted or use.budget.cost_center in wanted]
    return web.json_response(
        {"month": report.month, "currency": report.currency, "budgets": [budget_json(use) for use in uses]}
    )
