"""Metrics and health."""

from __future__ import annotations

import asyncio

from aiohttp import web

from chargeback.api.state import DATABASE, PAGE, TABLES
from chargeback.store.database import DatabaseUnavailable
from chargeback.store.schema import is_current

routes = web.RouteTableDef()


@routes.get("/metrics")
async def get_metrics(request: web.Request) -> web.Response:
    """The page as it was last rendered."""
    return web.Response(
        body=request.app[PAGE].content, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    )


@routes.get("/healthz")
async def get_healthz(request: web.Request) -> web.Response:
    """The process answers."""
    return web.Response(text="ok\n")


@routes.get("/readyz")
async def get_readyz(request: web.Request) -> web.Response:
    """The database answers, its schema is ours, the cluster was read as far as it may be, and the metrics show it."""
    try:
        current = await asyncio.to_thread(is_current, request.app[DATABASE])
    except DatabaseUnavailable as error:
        return web.Response(status=503, text=f"database: {error}\n")
    if not current:
        return web.Response(status=503, text="database: its schema is not this release's, see `chargeback migrate`\n")
    if unread := request.app[TABLES].unread:
        return web.Response(status=503, text=f"cluster: not read yet: {', '.join(unread)}\n")
    if not request.app[PAGE].is_whole:
        return web.Response(status=503, text="metrics: not rendered yet\n")
    return web.Response(text="ready\n")
