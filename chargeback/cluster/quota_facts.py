"""What is known of a cluster's quotas: from its API as far as the account's rights go, or from files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec

from chargeback.cluster.api import ApiError, ClusterApi, NotServed
from chargeback.cluster.kind import Kind
from chargeback.cluster.kinds import kinds
from chargeback.cluster.objects import ObjectsError
from chargeback.cluster.quota_files import read_items
from chargeback.core.claims import DeviceClass
from chargeback.core.nodes import Node
from chargeback.core.owners.owners import LabelKeys
from chargeback.core.quota.report import QuotaFacts

# Tables that a report is made of, as the API names them, by their kinds in files. Without quotas there is no report.
NEEDED = "resourcequotas"
TABLES = {
    "ResourceQuota": NEEDED,
    "Namespace": "namespaces",
    "Pod": "pods",
    "Node": "nodes",
    "DeviceClass": "deviceclasses",
    "ResourceClaim": "resourceclaims",
    "Event": "events",
}
_OF_NAMESPACES = (NEEDED, "pods", "events", "resourceclaims")


async def read_facts(api: ClusterApi, keys: LabelKeys, namespace: str | None = None) -> QuotaFacts:
    """Ask the API; of one namespace only, if it is named: its people may see no other.

    What may not be read is not known, and named. Raises ApiError.
    """
    found: dict[str, list[Any]] = {}
    unknown: dict[str, str] = {}
    for kind in kinds(keys):
        if kind.name not in TABLES.values():
            continue
        try:
            found[kind.name] = await _list(api, kind, namespace)
        except NotServed:
            found[kind.name] = []
        except ApiError as error:
            if kind.name == NEEDED or error.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
                raise
            unknown[kind.name] = str(error)
    return to_facts(found, unknown)


def file_facts(paths: Iterable[Path], keys: LabelKeys) -> QuotaFacts:
    """Read files as kubectl prints them; what is in none of them is not known. Raises ObjectsError, OSError."""
    paths = list(paths)
    named = ", ".join(map(str, paths))
    known = {kind.name: kind for kind in kinds(keys)}
    found: dict[str, list[Any]] = {}
    items = list(read_items(paths))
    for path, item in items:
        if (kind := known.get(TABLES.get(item.get("kind", ""), ""))) is not None:
            value = _read(path, kind, item)
            found.setdefault(kind.name, []).extend([] if value is None else [value])
    if items and not found:
        raise ObjectsError(f"{named}: none of {', '.join(TABLES)} in it")
    for quota in found.setdefault(NEEDED, []):
        if not quota.namespace:
            raise ObjectsError(f"{named}: ResourceQuota {quota.name}: metadata.namespace: missing")
    return to_facts(found, {name: f"none in {named}" for name in TABLES.values() if name not in found})


def to_facts(found: Mapping[str, Sequence[Any]], unknown: Mapping[str, str], **others: Any) -> QuotaFacts:
    """found: values by table; one that is absent is not known, `unknown` says why. others: fields of QuotaFacts."""
    nodes: Sequence[Node] | None = found.get("nodes")
    classes: Sequence[DeviceClass] = found.get("deviceclasses", ())
    return QuotaFacts(
        quotas=found[NEEDED],
        namespaces=found.get("namespaces", ()),
        pods=found.get("pods"),
        claims=found.get("resourceclaims"),
        extended=[(each.name, each.extended_resource) for each in classes],
        offered=None if nodes is None else _offered(nodes),
        refusals=found.get("events"),
        unknown=unknown,
        **others,
    )


async def _list(api: ClusterApi, kind: Kind[Any], namespace: str | None) -> list[Any]:
    if namespace is not None and kind.name == "namespaces":
        found = await api.get(kind, namespace)  # to list them, even this one alone, takes rights on the whole cluster
        return [] if found is None else [found]
    if namespace is not None and kind.name in _OF_NAMESPACES:
        kind = kind.within(namespace)
    return list((await api.list_all(kind)).items.values())


def _read(path: Path, kind: Kind[Any], item: dict[str, Any]) -> Any:
    try:
        return kind.read(msgspec.convert(item, kind.of, strict=False))
    except msgspec.ValidationError as error:
        metadata = item.get("metadata")
        name = metadata.get("name", "") if isinstance(metadata, dict) else ""
        raise ObjectsError(f"{path}: {item['kind']} {name}: {error}") from error


def _offered(nodes: Iterable[Node]) -> dict[str, int]:
    total: dict[str, int] = {}
    for node in nodes:
        for resource, count in node.gpus.items():
            total[resource] = total.get(resource, 0) + count
    return dict(sorted(total.items()))
