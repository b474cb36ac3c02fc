"""Ingest: `PUT /v1/node-hours/{cluster}/{node}/{hour}`.

400, 413 and 422 say that this body will never do; every other refusal may pass, and the agent tries again.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

from aiohttp import web

from chargeback.api.errors import BadRequest
from chargeback.api.state import AGENTS, CLOCK, CLUSTER, DATABASE, GRACE_MS, PUSHES, TABLES
from chargeback.bodies import Garbled, read_body
from chargeback.core.hours import HOUR_MS, format_hour
from chargeback.core.node_hour import NodeHour, Refused
from chargeback.store.database import Database
from chargeback.store.node_hours import put_body
from chargeback.store.partitions import TooOld

# A node of 16 cards in 7 slices, each held by a new pod every minute, is 6 MiB of JSON.
BODY_MAX_BYTES = 16 * 2**20
OLDEST_MS = 400 * 24 * HOUR_MS
FUTURE_MS = 10 * 60 * 1000
# For how long an agent lets go of NVML; ordered anew by each answer while the work goes on. Agents push about every
# 30 s, so that three answers may be lost.
RELEASE_S = 120

routes = web.RouteTableDef()


@routes.put("/v1/node-hours/{cluster}/{node}/{hour}")
async def put_node_hour(request: web.Request) -> web.Response:
    """Keep one agent's account of one node-hour. Answers the sequence and whether it was new; and release_s, for
    how long the agent shall let go of NVML, where the node announces driver work."""
    pushes, path = request.app[PUSHES], request.match_info
    try:
        await request.app[AGENTS].check(request, path["cluster"], path["node"])
        data = await _read(request)
        body = _check(request, data)
    except BadRequest as error:
        pushes.refused[str(error.status), _plain(error.field)] += 1
        raise
    now_ms = request.app[CLOCK].now_ms()
    try:
        stored = await asyncio.to_thread(_put, request.app[DATABASE], body, data, now_ms, request.app[GRACE_MS])
    except TooOld as error:
        pushes.refused["422", "hour"] += 1
        raise BadRequest("hour", str(error), status=422) from error
    pushes.accepted["stored" if stored else "known"] += 1
    order = {"release_s": RELEASE_S} if _announces_driver_work(request, body) else {}
    return web.json_response({"seq": body.seq, "stored": stored} | order)


def _announces_driver_work(request: web.Request, body: NodeHour) -> bool:
    """By the API's nodes as they are now; of other clusters' nodes nothing is known."""
    if body.cluster != request.app[CLUSTER]:
        return False
    return any(node.driver_work for node in request.app[TABLES].nodes.values() if node.name == body.node)


def _put(database: Database, body: NodeHour, data: bytes, now_ms: int, grace_ms: int) -> bool:
    with database.write() as connection:
        return put_body(connection, body, data, now_ms=now_ms, grace_ms=grace_ms)


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.content.iter_chunked(2**16):
            yield chunk
    except ConnectionResetError as error:  # who pushed is gone in the middle of it, and comes again
        raise web.HTTPServiceUnavailable(reason=str(error)) from error


async def _read(request: web.Request) -> bytes:
    """The body, unpacked; never more of it in memory than BODY_MAX_BYTES, whatever it claims to be."""
    encoding = request.headers.get("Content-Encoding", "identity").lower()
    if encoding not in ("gzip", "identity"):
        raise BadRequest("Content-Encoding", f"{encoding!r}: want gzip or none")
    unpack = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
    data = bytearray()
    async for chunk in _chunks(request):
        room = BODY_MAX_BYTES - len(data) + 1
        try:
            data += unpack.decompress(chunk, room) if unpack else chunk
        except zlib.error as error:
            raise BadRequest("body", f"not gzip as its Content-Encoding says: {error}") from error
        if unpack is not None and unpack.unused_data:
            raise BadRequest("body", "goes on after its gzip has ended")
        if len(data) > BODY_MAX_BYTES:
            raise BadRequest("body", f"larger than {BODY_MAX_BYTES} bytes", status=413)
    if unpack is not None and not unpack.eof:
        raise BadRequest("body", "gzip that ends too early")
    return bytes(data)


def _check(request: web.Request, data: bytes) -> NodeHour:
    try:
        body = read_body(data)
    except Garbled as error:
        raise BadRequest("body", str(error)) from error
    except Refused as error:
        raise BadRequest(error.field, error.problem, status=422) from error
    path = request.match_info
    for field, seen in (("cluster", body.cluster), ("node", body.node), ("hour", format_hour(body.hour))):
        if seen != path[field]:
            raise BadRequest(field, f"{seen!r} in the body, {path[field]!r} in the path: want the same", status=422)
    age_ms = request.app[CLOCK].now_ms() - body.hour * HOUR_MS
    if age_ms > OLDEST_MS:
        raise BadRequest("hour", f"{format_hour(body.hour)}: want one of the last 400 days", status=422)
    if age_ms + FUTURE_MS < body.through:
        field = "hour" if age_ms + FUTURE_MS < 0 else "through"
        seen = f"{body.through} ms into {format_hour(body.hour)}"
        raise BadRequest(field, f"{seen}: that is yet to come, want the past", status=425)
    return body


def _plain(field: str) -> str:
    """The field without its indexes: a label value of a metric must be one of few."""
    return "".join("[]" if part.isdigit() else part for part in field.replace("]", "[").split("["))
