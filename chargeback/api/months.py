"""Months over HTTP: their states and drafts, what closed ones state, and the approval of a draft."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import ip_address

import msgspec
from aiohttp import web

from chargeback.answers.months import draft_json, state_json, statement_json
from chargeback.api.errors import BadRequest
from chargeback.api.state import CLOCK, DATABASE
from chargeback.core.hours import check_month
from chargeback.months.close import MonthRefused, approve
from chargeback.months.look import all_months
from chargeback.reports import NoLedger
from chargeback.store.database import Database
from chargeback.store.drafts import draft_of
from chargeback.store.months import CLOSED, MonthState
from chargeback.store.statements import statements_of
from chargeback.web_guard import USER

routes = web.RouteTableDef()

Json = Mapping[str, object]

JSON_TYPE = "application/json"
# What a proxy on this host says of whom it speaks for: then the peer's address proves nothing.
_FORWARDED = ("Forwarded", "X-Forwarded-For", "X-Real-IP")


class Approval(msgspec.Struct, forbid_unknown_fields=True):
    """draft, sha256: of the draft that was looked at. who: may be left out where the server knows who asks."""

    draft: int
    sha256: str
    who: str = ""


@routes.get("/v1/months")
async def get_months(request: web.Request) -> web.Response:
    """All months that have lines, oldest first, with their states."""
    found = await asyncio.to_thread(_months, request.app[DATABASE])
    return web.json_response({"months": [state_json(state, waiting) for state, waiting in found]})


@routes.get("/v1/months/{month}")
async def get_month(request: web.Request) -> web.Response:
    """A month's state and its newest draft: totals, hash, what was found and what was waived."""
    month = _month(request)
    return web.json_response(await asyncio.to_thread(_described, request.app[DATABASE], month))


@routes.get("/v1/statements/{month}")
async def get_statements(request: web.Request) -> web.Response:
    """What a closed month states, account by account, with the chain's hashes; an open one states nothing yet."""
    month = _month(request)
    return web.json_response(await asyncio.to_thread(_stated, request.app[DATABASE], month))


@routes.post("/v1/months/{month}/approve")
async def post_approval(request: web.Request) -> web.Response:
    """Approve a month's draft, as the person who asks: {"who": …, "draft": …, "sha256": …}."""
    month = _month(request)
    if request.content_type != JSON_TYPE:  # a form of another site cannot say so
        raise BadRequest("Content-Type", f"{request.content_type}: want {JSON_TYPE}", status=415)
    try:
        asked = msgspec.json.decode(await request.read(), type=Approval)
    except msgspec.MsgspecError as error:
        raise BadRequest("body", str(error)) from error
    who = _person(request, asked.who)
    now_ms = request.app[CLOCK].now_ms()
    try:
        draft = await asyncio.to_thread(
            approve, request.app[DATABASE], month, who, now_ms, number=asked.draft, sha256=asked.sha256
        )
    except (MonthRefused, NoLedger) as error:
        raise BadRequest("month", str(error), status=409) from error
    return web.json_response({"month": month, **draft_json(draft)})


def _person(request: web.Request, said: str) -> str:
    """Who asks: the user of the web config; without one only the loopback is believed. Raises BadRequest."""
    user: str | None = request.get(USER)
    if user is not None:
        if said not in ("", user):
            raise BadRequest("who", f"{said!r}: want {user!r}, who has logged in", status=403)
        return user
    is_forwarded = any(name in request.headers for name in _FORWARDED)
    if is_forwarded or not ip_address(request.remote or "0.0.0.0").is_loopback:
        wanted = "want a user of --web-config: beyond loopback, or through a proxy, anybody could approve"
        raise BadRequest("who", wanted, status=403)
    if not said.strip():
        raise BadRequest("who", f"{said!r}: want the name of the person who approves")
    return said.strip()


def _months(database: Database) -> list[tuple[MonthState, int]]:
    try:
        return all_months(database)
    except NoLedger:
        return []


def _described(database: Database, month: str) -> Json:
    state, waiting = _known(database, month)
    with database.read() as connection:
        draft = draft_of(connection, month, state.draft) if state.draft else None
    newest = None if draft is None else draft_json(draft)
    return {**state_json(state, waiting), "newest_draft": newest}


def _stated(database: Database, month: str) -> Json:
    state, _ = _known(database, month)
    with database.read() as connection:
        links = statements_of(connection, month)
        draft = draft_of(connection, month, state.draft) if state.state == CLOSED else None
    said = {} if draft is None else draft_json(draft)
    names = ("draft", "lines", "list_amount", "amount", "sha256", "closed", "closed_by", "approved_by", "waived")
    return {
        "month": month,
        "state": state.state,
        **{name: said.get(name) for name in names},
        "accounts": [statement_json(link) for link in links],
    }


def _known(database: Database, month: str) -> tuple[MonthState, int]:
    """Raises BadRequest for a month that the ledger has nothing of."""
    for state, waiting in _months(database):
        if state.month == month:
            return state, waiting
    raise BadRequest("month", f"{month}: the ledger has no lines of it", status=404)


def _month(request: web.Request) -> str:
    try:
        return check_month(request.match_info["month"])
    except ValueError as error:
        raise BadRequest("month", str(error)) from error
