"""Pods that used GPUs: each is a row from its bind on, which is ended once and then stays."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, or_, select, update

from chargeback.core.hours import HOUR_MS
from chargeback.core.lives import PodLife, PodSlot
from chargeback.core.pods import NO_LABELS, Ask, GroupPart, OwnerLabels, Pod
from chargeback.store.bulk import among
from chargeback.store.database import insert_or
from chargeback.store.feeds import followed, note_followed
from chargeback.store.node_hours import NodeHourKey, make_due_between
from chargeback.store.tables import pods

FEED = "pods"
# A pod that was bound while the list was made may be missing in it.
LIST_SLACK_MS = 5_000


@dataclass(frozen=True, slots=True, kw_only=True)
class GonePod:
    """A pod that is no longer there. alive_ms: when it last was, for certain; gone_ms: when it was not (unix ms)."""

    pod: Pod
    alive_ms: int
    gone_ms: int


class _About(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the API says of a pod beyond its name and times, as the ledger keeps it."""

    asks: tuple[Ask, ...] = ()
    uses_claims: bool = False
    groups: tuple[str, ...] = ()
    container: str = ""
    portion: str | None = None
    memory_mib: int | None = None
    labels: OwnerLabels = NO_LABELS
    priority_class: str | None = None
    watches: tuple[str, ...] = ()


def note_pods(
    connection: Connection,
    cluster: str,
    changed: Iterable[Pod],
    gone: Iterable[GonePod],
    now_ms: int,
    *,
    all_there: Collection[str] | None = None,
) -> int:
    """Take what changed of a cluster's pods; how many rows did. Node-hours that were rated without it become due.

    all_there  the uids of all pods, where a whole list was made: others that lived until now are gone
    now_ms     by the API server's clock
    """
    before_ms = followed(connection, cluster, FEED) or 0
    ends = {each.pod.uid: each for each in gone}
    bound = [
        pod for pod in (*changed, *(each.pod for each in ends.values())) if pod.bound_ms is not None and pod.node
    ]
    rows = _rows(connection, cluster, {pod.uid for pod in bound})
    touched = _Touched()
    new: dict[str, dict[str, object]] = {}
    for pod in bound:
        assert pod.bound_ms is not None
        row = rows.get(pod.uid)
        alive_ms, ended_ms = _end(pod, ends.get(pod.uid), before_ms, now_ms, row)
        if row is None:
            new[pod.uid] = _new_row(cluster, pod, alive_ms, ended_ms)
            # Up to now, though it is over: a kubelet before 1.34 goes on listing it.
            touched.add(pod.node, pod.bound_ms, max(before_ms, now_ms))
        elif alive_ms is not None and ended_ms is not None and _ended_earlier(pod, row):
            _finish(connection, cluster, pod.uid, alive_ms, ended_ms)
            # Hours up to `before_ms` were rated as if it lived.
            touched.add(row.node, min(before_ms, alive_ms, ended_ms), max(before_ms, row.ended_ms or ended_ms))
    if new:
        insert = insert_or(connection, pods)
        connection.execute(insert.on_conflict_do_nothing(index_elements=["cluster", "uid"]), list(new.values()))
    if all_there is not None:
        _end_missing(connection, cluster, all_there, before_ms, now_ms, touched)
    if before_ms and before_ms // HOUR_MS != now_ms // HOUR_MS:
        # Who lives still has lived through these hours, which was not known when they were rated.
        touched.add(None, before_ms, now_ms)
    for (first_hour, last_hour), nodes in touched.by_hours().items():
        make_due_between(connection, cluster, nodes, first_hour, last_hour, now_ms)
    note_followed(connection, cluster, FEED, now_ms)
    return touched.count


class _Touched:
    """By node (None: all), from when to when something changed."""

    def __init__(self) -> None:
        self.spans: dict[str | None, tuple[int, int]] = {}
        self.count = 0

    def add(self, node: str | None, first_ms: int, last_ms: int) -> None:
        first, last = self.spans.get(node, (first_ms, last_ms))
        self.spans[node] = (min(first, first_ms), max(last, last_ms))
        self.count += node is not None

    def by_hours(self) -> dict[tuple[int, int], list[str] | None]:
        """The nodes by their first and last hour; None: all."""
        found: dict[tuple[int, int], list[str] | None] = {}
        for node, (first_ms, last_ms) in self.spans.items():
            hours = (first_ms // HOUR_MS, last_ms // HOUR_MS)
            nodes = found.setdefault(hours, [])
            if node is None or nodes is None:
                found[hours] = None
            else:
                nodes.append(node)
        return found


def _end(
    pod: Pod, gone: GonePod | None, before_ms: int, now_ms: int, row: Row[Any] | None
) -> tuple[int | None, int | None]:
    """Up to when the pod lived for certain, and from when it did not; None, None: it lives."""
    assert pod.bound_ms is not None
    if pod.finished_ms is not None:
        # As the kubelet says, to its second: it lived up to the second and was over at the next.
        return max(pod.finished_ms - 1000, pod.bound_ms), pod.finished_ms
    if gone is not None:
        return max(gone.alive_ms, pod.bound_ms), gone.gone_ms
    if pod.terminal:
        # Another replica may be ahead of what we know: it lived when we last looked, and no longer than now.
        return (pod.bound_ms if row is None else max(min(before_ms, now_ms), pod.bound_ms)), now_ms
    return None, None


def _ended_earlier(pod: Pod, row: Row[Any]) -> bool:
    """Than the ledger has it: one that was only found to be over was so since the kubelet's stamp, if that comes."""
    return row.ended_ms is None or (pod.finished_ms is not None and pod.finished_ms < row.ended_ms)


def _end_missing(
    connection: Connection, cluster: str, all_there: Collection[str], before_ms: int, now_ms: int, touched: _Touched
) -> None:
    """Pods that lived when we last looked, and are not in a list of all: when each went is not known."""
    living = select(pods.c.uid, pods.c.node, pods.c.bound_ms).where(
        pods.c.cluster == cluster, pods.c.ended_ms.is_(None), pods.c.bound_ms < now_ms - LIST_SLACK_MS
    )
    for row in [row for row in connection.execute(living) if row.uid not in all_there]:
        alive_ms = max(min(before_ms, now_ms), row.bound_ms)
        _finish(connection, cluster, row.uid, alive_ms, now_ms)
        touched.add(row.node, alive_ms, max(before_ms, now_ms))


def lives_of(connection: Connection, key: NodeHourKey, names: Collection[str], followed_ms: int) -> list[PodLife]:
    """A node's pods that lived in an hour, and those of some names whenever they lived; as they were bound."""
    lives = lives_of_nodes(connection, key.cluster, [key.node], (key.hour, key.hour), names, followed_ms)
    return lives.get(key.node, [])


def lives_of_nodes(
    connection: Connection,
    cluster: str,
    nodes: Collection[str],
    hours: tuple[int, int],
    names: Collection[str],
    followed_ms: int,
) -> dict[str, list[PodLife]]:
    """By node, as they were bound: pods that lived in hours from the first to the last, and those of some names."""
    query = (
        select(*_OF_LIFE)
        .where(
            pods.c.cluster == cluster,
            among(connection, pods.c.node, nodes),
            pods.c.bound_ms < (hours[1] + 1) * HOUR_MS,
            or_(
                pods.c.ended_ms.is_(None), pods.c.ended_ms > hours[0] * HOUR_MS, among(connection, pods.c.pod, names)
            ),
        )
        .order_by(pods.c.bound_ms, pods.c.uid)
    )
    found: dict[str, list[PodLife]] = {}
    for node, *of_life in connection.execute(query).all():
        found.setdefault(node, []).append(_life(of_life, followed_ms))
    return found


def slots_of(slots: tuple[PodSlot, ...], watches: Collection[str]) -> tuple[PodSlot, ...]:
    """Without those by claims that only watch."""
    return tuple(slot for slot in slots if slot.claim is None or slot.claim not in watches) if watches else slots


def note_watching(connection: Connection, cluster: str, watching: Iterable[tuple[str, str]], now_ms: int) -> set[str]:
    """Keep that pods hold no GPU by a claim; the uids of those pods that have a row by now.

    watching  (uid, namespace/name of the claim). Hours that were rated without it become due.
    """
    claims: dict[str, set[str]] = {}
    for uid, claim in watching:
        claims.setdefault(uid, set()).add(claim)
    rows = _rows(connection, cluster, claims.keys())
    for uid, row in rows.items():
        about = _read_about(row.about)
        if claims[uid] <= set(about.watches):
            continue
        watches = tuple(sorted(claims[uid] | set(about.watches)))
        text = msgspec.json.encode(msgspec.structs.replace(about, watches=watches)).decode()
        connection.execute(update(pods).where(pods.c.cluster == cluster, pods.c.uid == uid).values(about=text))
        last_ms = now_ms if row.ended_ms is None else row.ended_ms
        make_due_between(connection, cluster, [row.node], row.bound_ms // HOUR_MS, last_ms // HOUR_MS, now_ms)
    return set(rows)


def _finish(connection: Connection, cluster: str, uid: str, alive_ms: int, ended_ms: int) -> None:
    """Never later: what another replica has written meanwhile stays."""
    it = (pods.c.cluster == cluster, pods.c.uid == uid, or_(pods.c.ended_ms.is_(None), pods.c.ended_ms > ended_ms))
    connection.execute(update(pods).where(*it).values(alive_ms=alive_ms, ended_ms=ended_ms))


def _rows(connection: Connection, cluster: str, uids: Collection[str]) -> Mapping[str, Row[Any]]:
    found: dict[str, Row[Any]] = {}
    wanted = sorted(uids)
    for start in range(0, len(wanted), 500):  # a statement takes only so many parameters
        query = select(pods).where(pods.c.cluster == cluster, pods.c.uid.in_(wanted[start : start + 500]))
        found |= {row.uid: row for row in connection.execute(query)}
    return found


def _new_row(cluster: str, pod: Pod, alive_ms: int | None, ended_ms: int | None) -> dict[str, object]:
    part = pod.part
    about = _About(
        asks=pod.asks,
        uses_claims=pod.uses_claims,
        groups=part.groups if part else (),
        container=part.container if part else "",
        portion=str(part.portion) if part and part.portion is not None else None,
        memory_mib=part.memory_mib if part else None,
        labels=pod.labels,
        priority_class=pod.priority_class,
    )
    return {
        "cluster": cluster,
        "uid": pod.uid,
        "namespace": pod.namespace,
        "pod": pod.name,
        "node": pod.node,
        "bound_ms": pod.bound_ms,
        "alive_ms": alive_ms,
        "ended_ms": ended_ms,
        "seen_ms": None,
        "slots": "[]",
        "about": msgspec.json.encode(about).decode(),
    }


@lru_cache(maxsize=4096)
def _read_about(text: str) -> _About:
    """A cluster's pods are many, and mostly alike."""
    return msgspec.json.decode(text, type=_About)


_read_slots = msgspec.json.Decoder(tuple[PodSlot, ...]).decode
_OF_LIFE = (
    pods.c.node, pods.c.namespace, pods.c.pod, pods.c.uid, pods.c.bound_ms, pods.c.alive_ms, pods.c.ended_ms,
    pods.c.seen_ms, pods.c.slots, pods.c.about,
)  # fmt: skip


def _life(of_life: Sequence[Any], followed_ms: int) -> PodLife:
    """of_life: as `_OF_LIFE` says, without the node."""
    namespace, name, uid, bound_ms, alive_ms, ended_ms, seen_ms, held, said = of_life
    about, slots = _read_about(said), _read_slots(held)
    part = None
    if about.groups:
        portion = Fraction(about.portion) if about.portion is not None else None
        part = GroupPart(groups=about.groups, container=about.container, portion=portion, memory_mib=about.memory_mib)
    return PodLife(
        namespace=namespace,
        pod=name,
        uid=uid,
        bound_ms=bound_ms,
        alive_ms=max(followed_ms, bound_ms) if ended_ms is None else alive_ms,
        ended_ms=ended_ms,
        seen_ms=seen_ms,
        slots=slots_of(slots, about.watches),
        asks=about.asks,
        uses_claims=about.uses_claims,
        part=part,
        labels=about.labels,
        priority_class=about.priority_class,
        watches=about.watches,
    )
