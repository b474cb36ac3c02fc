"""What a cluster really does with its quotas, and whether GPUs would fit: the lint and the fit, over HTTP.

Read-only, from the tables that follow the cluster; nothing is asked of its API for a request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import asdict

from aiohttp import web

from chargeback.answers.fit import fit_json
from chargeback.api.errors import BadRequest
from chargeback.api.state import CLOCK, CLUSTER, DATABASE, OWNER_RULES, TABLES
from chargeback.core.hours import format_instant
from chargeback.core.quota.fit import fit
from chargeback.core.quota.fit_ask import Ask, ask_for_gpus
from chargeback.core.quota.limit_ranges import is_gpu
from chargeback.core.quota.lint import lint
from chargeback.core.quota.specs import GPU, QuotaObjects
from chargeback.reports import policy_of
from chargeback.tasks.quota_objects import known_objects

routes = web.RouteTableDef()

# More than any cluster has; beyond it a number is a slip.
MOST = 1_000_000
FIELDS = ("namespace", "gpus", "pods", "resource", "priority_class")


@routes.get("/v1/quotas/lint")
async def get_lint(request: web.Request) -> web.Response:
    """Every finding, the worst first: object, field, what the cluster really does, how to mend it."""
    for name in request.query:
        raise BadRequest(name, "not a filter: want none")
    objects = _objects(request)
    policy = await asyncio.to_thread(
        policy_of, request.app[DATABASE], request.app[CLOCK].now_ms(), request.app[CLUSTER]
    )
    findings = await asyncio.to_thread(lint, objects, policy.plans_from)
    return web.json_response(_about(request, objects) | {"findings": [asdict(finding) for finding in findings]})


@routes.get("/v1/quotas/fit")
async def get_fit(request: web.Request) -> web.Response:
    """An estimate: would ?gpus=… of ?resource=… fit into ?namespace=… now, in ?pods=… of ?priority_class=…"""
    ask = _ask(request.query)
    objects = _objects(request)
    if ask.namespace not in objects.namespace_names:
        raise BadRequest("namespace", f"{ask.namespace!r}: no such namespace", status=404)
    lines = await asyncio.to_thread(fit, objects, ask)
    return web.json_response(_about(request, objects) | fit_json(ask, lines))


def _objects(request: web.Request) -> QuotaObjects:
    """Raises BadRequest: 409 where there is no cluster to ask, 503 where it does not answer."""
    quotas = request.app[TABLES].resourcequotas
    if quotas.read_ms is None and quotas.lack is None:
        problem = "no ResourceQuotas were read: want --kubeconfig FILE, an in-cluster account, or --quotas FILE"
        raise BadRequest("cluster", problem, status=409)
    if quotas.read_ms is None:
        raise BadRequest("cluster", f"ResourceQuotas cannot be read: {quotas.lack}", status=503)
    return known_objects(request.app[TABLES], request.app[OWNER_RULES]())


def _about(request: web.Request, objects: QuotaObjects) -> dict[str, object]:
    """as_of: when the quotas were last known to be whole."""
    read_ms = request.app[TABLES].resourcequotas.read_ms or 0
    return {
        "cluster": request.app[CLUSTER],
        "as_of": format_instant(read_ms),
        "unknown": dict(objects.unknown),
    }


def _ask(query: Mapping[str, str]) -> Ask:
    """Raises BadRequest, which names the field."""
    for name in query:
        if name not in FIELDS:
            raise BadRequest(name, f"not a field: want some of {', '.join(FIELDS)}")
    if not (namespace := query.get("namespace", "")):
        raise BadRequest("namespace", "missing: want the name of a namespace")
    resource = query.get("resource", GPU)
    if not is_gpu(resource):
        raise BadRequest("resource", f"{resource!r}: want a GPU resource as pods write it, such as {GPU}")
    return ask_for_gpus(
        namespace,
        _whole(query, "gpus", ""),
        resource=resource,
        pods=_whole(query, "pods", "1"),
        priority_class=query.get("priority_class") or None,
    )


def _whole(query: Mapping[str, str], name: str, default: str) -> int:
    text = query.get(name, default)
    if text.isascii() and text.isdecimal() and len(text) <= len(str(MOST)) and 1 <= int(text) <= MOST:
        return int(text)
    raise BadRequest(name, f"{text!r}: want a whole number from 1 to {MOST}")
