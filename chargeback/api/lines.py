"""One line of the ledger, explained: `GET /v1/lines/{id}/explain`."""

from __future__ import annotations

import asyncio

from aiohttp import web

from chargeback.api.errors import BadRequest
from chargeback.api.state import DATABASE
from chargeback.core.explaining.explaining import as_json
from chargeback.explaining.explain import NoSuchLine, NotAnId, explain
from chargeback.reports import NoLedger

routes = web.RouteTableDef()


@routes.get("/v1/lines/{id}/explain")
async def get_explanation(request: web.Request) -> web.Response:
    """What stands behind a line, by its id or the beginning of it; 400: no id, 404: none's, or several's."""
    try:
        found = await asyncio.to_thread(explain, request.app[DATABASE], request.match_info["id"])
    except NotAnId as error:
        raise BadRequest("id", str(error)) from error
    except (NoSuchLine, NoLedger) as error:
        raise BadRequest("id", str(error), status=404) from error
    return web.json_response(as_json(found))
