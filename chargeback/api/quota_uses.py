"""`GET /v1/quotas`: what quotas allow, who has taken it, and what waits for it."""

from __future__ import annotations

import asyncio

from aiohttp import web

from chargeback.answers.quotas import report_json
from chargeback.api.errors import BadRequest
from chargeback.api.state import CLOCK, CLUSTER, DATABASE, PAGE, TABLES
from chargeback.reports import policy_of
from chargeback.tasks.quota_look import look

routes = web.RouteTableDef()


@routes.get("/v1/quotas")
async def get_quotas(request: web.Request) -> web.Response:
    """Every GPU key of every ResourceQuota and what surrounds it, of ?namespace=… only; null where nobody says."""
    for name in request.query:
        if name != "namespace":
            raise BadRequest(name, "not a filter: want namespace")
    now_ms = request.app[CLOCK].now_ms()
    policy = await asyncio.to_thread(policy_of, request.app[DATABASE], now_ms, request.app[CLUSTER])
    report = await asyncio.to_thread(look, request.app[TABLES], policy.plans_from, request.app[PAGE].trends, now_ms)
    if namespace := request.query.get("namespace"):
        report = report.of(namespace)
    return web.json_response({"cluster": request.app[CLUSTER], **report_json(report)})
