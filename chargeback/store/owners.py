"""Namespace owners with history: versions are added and ended, never rewritten."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, and_, insert, select, update

from chargeback.core.hours import HOUR_MS
from chargeback.core.owners.history import Learnt, Version, correct, is_stale, learn, timeline
from chargeback.core.owners.owners import FIELDS, Namespace, Owner, OwnerBook
from chargeback.core.owners.rules import NO_RULES, OwnerRules
from chargeback.core.rating.dimensions import read_dimensions, write_dimensions
from chargeback.store.database import lock
from chargeback.store.node_hours import make_all_due, make_due_between
from chargeback.store.tables import lines, node_hours, owner_looks, owners

_COLUMNS = (
    "namespace", "version", "uid", "from_ms", "until_ms", *FIELDS, "dimensions", "source", "recorded_ms", "who",
    "why",
)  # fmt: skip


def one_at_a_time(connection: Connection) -> None:
    """Have one replica at a time note what a cluster looks like. To be its transaction's first statement."""
    lock(connection, owners)


def note_namespaces(
    connection: Connection,
    cluster: str,
    seen: Iterable[Namespace],
    source: str,
    now_ms: int,
    *,
    rules: OwnerRules = NO_RULES,
) -> list[Owner]:
    """Take what a cluster's namespaces look like now into their history; what is new. Affected hours become due.

    A namespace that is no longer there ends now. Seeing the same again changes nothing, nor does what another replica
    has seen a later state of. now_ms: by the clock that dates the labels.
    """
    lock(connection, owners)  # every replica follows the cluster, and two must not add the same version
    looked_ms = _looked_ms(connection, cluster)
    if is_stale(now_ms, looked_ms):
        return []
    present = {namespace.name: rules.apply(namespace) for namespace in seen}
    histories = _histories(connection, cluster)
    added: list[Owner] = []
    changed_from: list[int] = []
    for name in sorted(present.keys() | histories.keys()):
        learnt = learn(histories.get(name, []), present.get(name), source=source, now_ms=now_ms, looked_ms=looked_ms)
        _store(connection, cluster, name, learnt)
        if learnt.added is not None:
            added.append(learnt.added)
        if learnt.from_ms is not None:
            changed_from.append(learnt.from_ms)
    _note_look(connection, cluster, now_ms, looked_ms)
    if changed_from:
        make_all_due(connection, cluster, min(changed_from) // HOUR_MS, now_ms)
    return added


def correct_owner(connection: Connection, cluster: str, correction: Version) -> tuple[Version, int]:
    """Record a correction, or a clearing, of one namespace; as recorded, and how many node-hours became due.

    Raises ValueError where it would hold at no instant.
    """
    lock(connection, owners)
    recorded = correct(owner_history(connection, cluster, correction.namespace), correction)
    connection.execute(insert(owners).values(_row(cluster, recorded)))
    first_hour, now_ms = recorded.from_ms // HOUR_MS, recorded.recorded_ms
    if recorded.until_ms is None:
        return recorded, make_all_due(connection, cluster, first_hour, now_ms)
    lock(connection, node_hours)  # rows that are waited for one by one could wait for each other
    last_hour = (recorded.until_ms - 1) // HOUR_MS
    return recorded, make_due_between(connection, cluster, None, first_hour, last_hour, now_ms)


def owner_book(connection: Connection, cluster: str) -> OwnerBook:
    return OwnerBook(_timelines(connection, cluster))


def current_owners(connection: Connection, cluster: str, at_ms: int) -> dict[str, Version]:
    """The owner of every namespace that exists at an instant, by name."""
    return {
        version.namespace: version
        for version in _timelines(connection, cluster)
        if version.from_ms <= at_ms and (version.until_ms is None or at_ms < version.until_ms)
    }


def owner_history(connection: Connection, cluster: str, namespace: str) -> list[Version]:
    """A namespace's versions as they were recorded, by number."""
    return _histories(connection, cluster, owners.c.namespace == namespace).get(namespace, [])


def owner_clusters(connection: Connection) -> list[str]:
    """The clusters whose owners are known, in bytewise order."""
    return list(connection.execute(select(owners.c.cluster).distinct().order_by(owners.c.cluster)).scalars())


def is_holder(connection: Connection, cluster: str, namespace: str) -> bool:
    """Whether a namespace, known or not, ever held a device."""
    query = select(lines.c.line_id).where(lines.c.cluster == cluster, lines.c.namespace == namespace).limit(1)
    return connection.execute(query).first() is not None


def owner_names(connection: Connection, at_ms: int) -> dict[str, list[str]]:
    """Per field, the names in use at an instant in any cluster, in bytewise order."""
    current = [
        owner
        for cluster in owner_clusters(connection)
        for owner in current_owners(connection, cluster, at_ms).values()
    ]
    return {name: sorted({getattr(owner, name) for owner in current} - {None}) for name in FIELDS}


def _timelines(connection: Connection, cluster: str) -> list[Version]:
    return list(itertools.chain.from_iterable(map(timeline, _histories(connection, cluster).values())))


def _histories(connection: Connection, cluster: str, *where: Any) -> dict[str, list[Version]]:
    query = (
        select(*(owners.c[name] for name in _COLUMNS))
        .where(owners.c.cluster == cluster, *where)
        .order_by(owners.c.namespace, owners.c.version)
    )
    histories: dict[str, list[Version]] = {}
    for row in connection.execute(query).mappings():
        said = dict(row) | {"dimensions": read_dimensions(row["dimensions"])}
        histories.setdefault(row["namespace"], []).append(Version(**said))
    return histories


def _store(connection: Connection, cluster: str, namespace: str, learnt: Learnt) -> None:
    for version, until_ms in learnt.ends.items():
        _update(connection, cluster, namespace, version, until_ms=until_ms)
    if learnt.uid is not None:
        version, uid = learnt.uid
        _update(connection, cluster, namespace, version, uid=uid)
    if learnt.added is not None:
        connection.execute(insert(owners).values(_row(cluster, learnt.added)))


def _update(connection: Connection, cluster: str, namespace: str, version: int, **values: object) -> None:
    is_it = and_(owners.c.cluster == cluster, owners.c.namespace == namespace, owners.c.version == version)
    connection.execute(update(owners).where(is_it).values(values))


def _looked_ms(connection: Connection, cluster: str) -> int | None:
    looked_ms: int | None = connection.execute(
        select(owner_looks.c.looked_ms).where(owner_looks.c.cluster == cluster)
    ).scalar()
    return looked_ms


def _note_look(connection: Connection, cluster: str, now_ms: int, looked_ms: int | None) -> None:
    if looked_ms is None:
        connection.execute(insert(owner_looks).values(cluster=cluster, looked_ms=now_ms))
    else:
        connection.execute(update(owner_looks).where(owner_looks.c.cluster == cluster).values(looked_ms=now_ms))


def _row(cluster: str, version: Version) -> dict[str, object]:
    row = {name: getattr(version, name) for name in _COLUMNS}
    return row | {"cluster": cluster, "dimensions": write_dimensions(version.dimensions)}
