"""When agents first saw pods hold devices, and which: kept with the pods, as rating finds it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import msgspec
from sqlalchemy import Connection, bindparam, update

from chargeback.core.hours import HOUR_MS
from chargeback.core.lives import PodLife
from chargeback.core.metered import Sight
from chargeback.store.bulk import among
from chargeback.store.database import take
from chargeback.store.node_hours import NodeHourKey, make_due_between
from chargeback.store.tables import pods

# Cluster, first and last hour, and hours between them that know already.
_Hours = tuple[str, int, int, frozenset[int]]
News = Sequence[tuple[Sight, PodLife]]


def note_sights(
    connection: Connection, found: Mapping[NodeHourKey, News], now_ms: int, rated: Collection[NodeHourKey] = ()
) -> None:
    """Keep when agents first saw pods, and with which slots. Hours that were rated without it become due.

    It never waits, for whoever notes pods may wait for the node-hours. Raises Busy.

    found  by node-hour, in the order in which they were rated: sights, each with its pod as it was before
    rated  node-hours that were rated in the same transaction: of what an earlier one found, later ones know
    """
    sights: dict[str, list[Sight]] = {}
    for key, news in found.items():
        sights.setdefault(key.cluster, []).extend(sight for sight, _ in news)
    for cluster, seen in sights.items():
        if seen:
            _keep(connection, cluster, seen)
    for (cluster, first, last, knowing), nodes in _unknowing(found, now_ms, rated).items():
        make_due_between(connection, cluster, sorted(nodes), first, last, now_ms, but_not=knowing, wait=False)


def _keep(connection: Connection, cluster: str, seen: Sequence[Sight]) -> None:
    take(connection, pods, pods.c.cluster == cluster, among(connection, pods.c.uid, {sight.uid for sight in seen}))
    is_it = (pods.c.cluster == cluster, pods.c.uid == bindparam("of_uid"))
    change = update(pods).where(*is_it).values(seen_ms=bindparam("at_ms"), slots=bindparam("with_slots"))
    rows = [
        {"of_uid": each.uid, "at_ms": each.at_ms, "with_slots": msgspec.json.encode(each.slots).decode()}
        for each in seen
    ]
    connection.execute(change, rows)


def _unknowing(
    found: Mapping[NodeHourKey, News], now_ms: int, rated: Collection[NodeHourKey]
) -> Mapping[_Hours, set[str]]:
    """The hours that were rated as if nobody had seen the pods, each with its nodes: a fleet's are mostly alike."""
    hours: dict[tuple[str, str], list[int]] = {}
    for key in rated:
        hours.setdefault((key.cluster, key.node), []).append(key.hour)
    spans: dict[_Hours, set[str]] = {}

    def add(key: NodeHourKey, first: int, last: int, knowing: Collection[int] = ()) -> None:
        if first <= last:
            of = (key.cluster, first, last, frozenset(hour for hour in knowing if first <= hour <= last))
            spans.setdefault(of, set()).add(key.node)

    for key, news in found.items():
        for _, life in news:
            add(key, life.bound_ms // HOUR_MS, key.hour - 1)
            if life.seen_ms is None:  # in later hours it was one that nobody had seen
                last_ms = now_ms if life.ended_ms is None else life.ended_ms
                add(key, key.hour + 1, last_ms // HOUR_MS, hours.get((key.cluster, key.node), ()))
    return spans
