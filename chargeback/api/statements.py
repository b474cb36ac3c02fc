"""Reading the ledger: statements and costs."""

from __future__ import annotations

import asyncio
from datetime import date

from aiohttp import web

from chargeback.answers.costs import cost_json
from chargeback.api.errors import BadRequest
from chargeback.api.state import CLOCK, DATABASE
from chargeback.core.costs import check_group, check_where
from chargeback.core.hours import check_month
from chargeback.reports import costs, month_csv, policy_of

routes = web.RouteTableDef()

NO_FILTERS = ("from", "until", "group_by")


@routes.get("/v1/statements/{month}.csv")
async def get_month_csv(request: web.Request) -> web.StreamResponse:
    """The monthly CSV, the same bytes as `chargeback export --month`."""
    month = _month(request.match_info["month"])
    pieces = await asyncio.to_thread(month_csv, request.app[DATABASE], month)
    first = await asyncio.to_thread(next, pieces)
    response = web.StreamResponse(
        headers={
            "Content-Type": "text/csv; charset=utf-8; header=present",
            "Content-Disposition": f'attachment; filename="chargeback-{month}.csv"',
        }
    )
    await response.prepare(request)
    piece: bytes | None = first
    while piece is not None:
        await response.write(piece)
        piece = await asyncio.to_thread(next, pieces, None)
    await response.write_eof()
    return response


@routes.get("/v1/costs")
async def get_costs(request: web.Request) -> web.Response:
    """Costs over ?from=…&until=… (local days, `until` excluded), ?group_by=account,label:KEY,…, filtered likewise.

    Amounts are what is charged, and beside it what would be by allocation and by usage.
    """
    query = request.query
    first, until = _day(request, "from"), _day(request, "until")
    names = [name for text in query.getall("group_by", ["account"]) for name in text.split(",") if name]
    group_by = [_group(name) for name in names]
    where = check_where((_group(name), value) for name, value in query.items() if name not in NO_FILTERS)
    if until <= first:
        raise BadRequest("until", f"{until}: want a day after {first}")
    last = date.fromordinal(until.toordinal() - 1)
    rows = await asyncio.to_thread(
        costs,
        request.app[DATABASE],
        first.isoformat(),
        last.isoformat(),
        group_by,
        where,
        request.app[CLOCK].now_ms(),
    )
    policy = await asyncio.to_thread(policy_of, request.app[DATABASE])
    return web.json_response(
        {
            "currency": policy.currency,
            "timezone": policy.timezone,
            "costs": [cost_json(names, row) | {"provisional": row.provisional} for row in rows],
        }
    )


def _group(name: str) -> str:
    try:
        return check_group(name)
    except ValueError as error:
        raise BadRequest(name, f"not a group: {error}") from error


def _month(text: str) -> str:
    try:
        return check_month(text)
    except ValueError as error:
        raise BadRequest("month", str(error)) from error


def _day(request: web.Request, name: str) -> date:
    text, *others = request.query.getall(name, [""])
    if others:
        raise BadRequest(name, f"{others[0]!r} beside {text!r}: want one day")
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise BadRequest(name, f"{text!r}: want a local day such as 2026-10-01") from error
