"""The HTTP side of the agent. Every answer is ready before it is asked for: a scrape never waits for a driver."""

from __future__ import annotations

from typing import Protocol

from aiohttp import web

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_LANDING = b"""<!doctype html><title>gpu-exporter</title><h1>gpu-exporter</h1>
<ul><li><a href="/metrics">/metrics</a><li><a href="/healthz">/healthz</a><li><a href="/readyz">/readyz</a></ul>
"""


class Served(Protocol):
    """What is served of an agent."""

    page: bytes

    @property
    def ready(self) -> bool: ...
    @property
    def stuck(self) -> bool: ...


AGENT = web.AppKey("agent", Served)
routes = web.RouteTableDef()


def make_app(agent: Served) -> web.Application:
    """The routes of one agent."""
    app = web.Application()
    app[AGENT] = agent
    app.add_routes(routes)
    return app


@routes.get("/metrics")
async def get_metrics(request: web.Request) -> web.Response:
    """The page of the last beat, copied."""
    return web.Response(body=request.app[AGENT].page, headers={"Content-Type": CONTENT_TYPE})


@routes.get("/healthz")
async def get_healthz(request: web.Request) -> web.Response:
    """Whether the beat goes on. A wedged driver does not stop it; a process that does not beat should be replaced."""
    if request.app[AGENT].stuck:
        return web.Response(text="no beat has ended for more than three beats\n", status=503)
    return web.Response(text="ok\n")


@routes.get("/readyz")
async def get_readyz(request: web.Request) -> web.Response:
    """Whether there is something to scrape."""
    if not request.app[AGENT].ready:
        return web.Response(text="the first beat has not ended yet\n", status=503)
    return web.Response(text="ok\n")


@routes.get("/")
async def get_landing(request: web.Request) -> web.Response:
    """For people."""
    return web.Response(body=_LANDING, content_type="text/html")
