"""What rating asks of the store about some node-hours, read together: a few queries, however many they are."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from chargeback.bodies import decode, to_node_hour
from chargeback.core.hours import HOUR_MS
from chargeback.core.lives import ClusterWord, PodLife, lived
from chargeback.core.metered import Sight
from chargeback.core.node_hour import NodeHour
from chargeback.core.nodes import NodePlaces
from chargeback.core.rating.waivers import Waiver
from chargeback.store.adjustments import waivers_of
from chargeback.store.bulk import rows_of
from chargeback.store.feeds import followed
from chargeback.store.known import NOTHING, Known, read_known
from chargeback.store.node_hours import NodeHourKey, grouped
from chargeback.store.node_states import StateRows, places_in, spans_in, states_of
from chargeback.store.pods import FEED, lives_of_nodes, slots_of
from chargeback.store.tables import node_hour_bodies, node_hours

# Of zlib: with the header of gzip, which `gzip` itself reads in Python.
_GZIP = 31
# A node's name means nothing without its cluster's.
NodeKey = tuple[str, str]


@dataclass(slots=True)
class Evidence:
    """Read once for many node-hours. What rating one of them tells the others is taken in: `leave` and `see`."""

    _bodies: dict[NodeHourKey, list[NodeHour]] = field(default_factory=dict)
    _left: dict[NodeHourKey, Known] = field(default_factory=dict)
    _followed_ms: dict[str, int | None] = field(default_factory=dict)
    _states: dict[NodeKey, StateRows] = field(default_factory=dict)
    _lives: dict[NodeKey, list[PodLife]] = field(default_factory=dict)
    _waivers: dict[tuple[str, int], list[Waiver]] = field(default_factory=dict)

    def bodies(self, key: NodeHourKey) -> Sequence[NodeHour]:
        """All instances' bodies of a node-hour, in a fixed order."""
        return self._bodies.get(key, [])

    def before(self, key: NodeHourKey) -> Known:
        """What the hour before left."""
        return self._left.get(_before(key), NOTHING)

    def leave(self, key: NodeHourKey, known: Known) -> None:
        """Have the hour after begin with what this one leaves."""
        self._left[key] = known

    def place(self, key: NodeHourKey) -> NodePlaces:
        """What says pool and labels of the node at any instant."""
        return places_in(self._states.get((key.cluster, key.node), ()))

    def waivers(self, key: NodeHourKey) -> Sequence[Waiver]:
        """What people said holds somewhere in the hour."""
        return self._waivers[key.cluster, key.hour]

    def word(self, key: NodeHourKey, names: Collection[str], at_least_ms: int) -> ClusterWord:
        """What the API says of a node-hour. names: of pods whose earlier lives matter, too.

        at_least_ms: up to when things are taken to be as they are, though the API was not followed so far yet.
        """
        present, cordoned = spans_in(self._states.get((key.cluster, key.node), ()), key.hour)
        followed_ms = self._followed_ms[key.cluster]
        if followed_ms is None:
            return ClusterWord(present=present, cordoned=cordoned)
        followed_ms = max(followed_ms, at_least_ms)
        lives = [life for life in self._lives.get((key.cluster, key.node), ()) if lived(life, key.hour, names)]
        if at_least_ms:
            lives = [life if life.ended_ms is not None else _alive(life, followed_ms) for life in lives]
        return ClusterWord(lives=tuple(lives), followed_ms=followed_ms, present=present, cordoned=cordoned)

    def see(self, key: NodeHourKey, sights: Iterable[Sight]) -> list[tuple[Sight, PodLife]]:
        """Those of some sights that are news, each with its pod as it was before. Later hours know of them."""
        lives = self._lives.get((key.cluster, key.node), [])
        places = {life.uid: place for place, life in enumerate(lives)}
        news = []
        for sight in sights:
            place = places.get(sight.uid)
            if place is None or ((seen_ms := lives[place].seen_ms) is not None and seen_ms <= sight.at_ms):
                continue
            life = lives[place]
            lives[place] = replace(life, seen_ms=sight.at_ms, slots=slots_of(sight.slots, life.watches))
            news.append((sight, life))
        return news


def read_evidence(connection: Connection, keys: Collection[NodeHourKey], planned: Sequence[Waiver] = ()) -> Evidence:
    """Everything about these node-hours. planned: waivers that are not recorded yet."""
    evidence = Evidence()
    for cluster, nodes, hours in grouped(keys):
        _read_bodies(connection, evidence, cluster, nodes, hours)
        _read_left(connection, evidence, cluster, nodes, [hour - 1 for hour in hours])
    for cluster, hour in {(key.cluster, key.hour) for key in keys}:
        span = (hour * HOUR_MS, (hour + 1) * HOUR_MS)
        evidence._waivers[cluster, hour] = waivers_of(connection, cluster, *span, planned)
    for cluster in sorted({key.cluster for key in keys}):
        evidence._followed_ms[cluster] = followed_ms = followed(connection, cluster, FEED)
        mine = [key for key in keys if key.cluster == cluster]
        node_names = {key.node for key in mine}
        for node, rows in states_of(connection, cluster, node_names).items():
            evidence._states[cluster, node] = rows
        if followed_ms is not None:
            hours = [key.hour for key in mine]
            names = {h.pod for key in mine for body in evidence.bodies(key) for h in body.holdings if h.pod}
            lives = lives_of_nodes(connection, cluster, node_names, (min(hours), max(hours)), names, followed_ms)
            evidence._lives |= {(cluster, node): each for node, each in lives.items()}
    return evidence


def bodies_of(connection: Connection, key: NodeHourKey) -> Sequence[NodeHour]:
    """All instances' bodies of one node-hour, in a fixed order."""
    evidence = Evidence()
    _read_bodies(connection, evidence, key.cluster, [key.node], [key.hour])
    return evidence.bodies(key)


def known_before(connection: Connection, key: NodeHourKey) -> Known:
    """What the hour before one left."""
    evidence = Evidence()
    _read_left(connection, evidence, key.cluster, [key.node], [key.hour - 1])
    return evidence.before(key)


def _read_bodies(
    connection: Connection, evidence: Evidence, cluster: str, nodes: Sequence[str], hours: Sequence[int]
) -> None:
    """They were checked when they came."""
    table = node_hour_bodies.c
    columns = (table.node, table.hour, table.instance, table.body)
    rows = rows_of(connection, node_hour_bodies, (cluster, nodes, hours), columns)
    for row in sorted(rows, key=lambda row: row.instance.encode()):
        key = NodeHourKey(cluster=cluster, node=row.node, hour=row.hour)
        evidence._bodies.setdefault(key, []).append(to_node_hour(decode(zlib.decompress(row.body, wbits=_GZIP))))


def _read_left(
    connection: Connection, evidence: Evidence, cluster: str, nodes: Sequence[str], hours: Sequence[int]
) -> None:
    table = node_hours.c
    columns = (table.node, table.hour, table.known)
    for row in rows_of(connection, node_hours, (cluster, nodes, hours), columns):
        evidence.leave(NodeHourKey(cluster=cluster, node=row.node, hour=row.hour), read_known(row.known))


def _before(key: NodeHourKey) -> NodeHourKey:
    return NodeHourKey(cluster=key.cluster, node=key.node, hour=key.hour - 1)


def _alive(life: PodLife, followed_ms: int) -> PodLife:
    return replace(life, alive_ms=max(followed_ms, life.bound_ms))
