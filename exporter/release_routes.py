"""`POST /v1/release?for=120s` and `DELETE /v1/release`: driver work on this node asks for NVML, and gives it back.

For this host alone: whoever can reach the metrics over the network must not be able to blind the meter.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Protocol

from aiohttp import web

from exporter.release import DEFAULT_S, MAX_S, Release

_UNIT_S = {"s": 1, "m": 60}
# What a proxy on this host says of whom it speaks for: then the peer's address proves nothing.
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


class Released(Protocol):
    """What is released. let_go: closes NVML if it is to be; returns why it is still held, or nothing."""

    release: Release

    async def let_go(self) -> str: ...


RELEASED = web.AppKey("released", Released)
routes = web.RouteTableDef()


def serve_release(app: web.Application, agent: Released) -> None:
    """Add the routes."""
    app[RELEASED] = agent
    app.add_routes(routes)


@routes.post("/v1/release")
async def post_release(request: web.Request) -> web.Response:
    """Let go of NVML. Answers once it is: 200, or 503 while a call that hangs in the driver still holds it."""
    _check_peer(request)
    seconds = _seconds(request)
    agent = request.app[RELEASED]
    agent.release.order(seconds, by="request")
    if problem := await agent.let_go():
        return web.json_response({"released": False, "problem": problem, "for_s": seconds}, status=503)
    return web.json_response({"released": True, "for_s": seconds})


@routes.delete("/v1/release")
async def delete_release(request: web.Request) -> web.Response:
    """The next beat opens NVML again."""
    _check_peer(request)
    request.app[RELEASED].release.end(by="request")
    return web.json_response({"released": False})


def _check_peer(request: web.Request) -> None:
    if not _is_loopback(request) or any(name in request.headers for name in _FORWARDED):
        problem = f"{request.remote}: want a request from this host itself, by 127.0.0.1 or ::1 and without a proxy"
        raise web.HTTPForbidden(text=problem + "\n")


def _is_loopback(request: web.Request) -> bool:
    peer = request.transport and request.transport.get_extra_info("peername")
    if not peer:
        return False
    address = ipaddress.ip_address(peer[0].partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def _seconds(request: web.Request) -> int:
    unknown = sorted(request.query.keys() - {"for"})
    text = request.query.get("for", f"{DEFAULT_S}s")
    match = re.fullmatch(r"(\d{1,4})(s|m)", text, re.ASCII)
    seconds = int(match[1]) * _UNIT_S[match[2]] if match else 0
    if unknown or len(request.query.getall("for", [])) > 1 or not 1 <= seconds <= MAX_S:
        seen = request.query_string or "nothing"
        raise web.HTTPBadRequest(text=f"for: {seen!r}: want one duration from 1s to {MAX_S // 60}m, as in for=120s\n")
    return seconds
