"""Up to when each kind of objects of a cluster was followed."""

from __future__ import annotations

from sqlalchemy import Connection, insert, select, update

from chargeback.store.tables import feeds


def followed(connection: Connection, cluster: str, kind: str) -> int | None:
    """Unix ms by the API server's clock; None: never."""
    query = select(feeds.c.followed_ms).where(feeds.c.cluster == cluster, feeds.c.kind == kind)
    found: int | None = connection.execute(query).scalar()
    return found


def note_followed(connection: Connection, cluster: str, kind: str, now_ms: int) -> None:
    """Never back: another replica may be ahead."""
    before = followed(connection, cluster, kind)
    if before is None:
        connection.execute(insert(feeds).values(cluster=cluster, kind=kind, followed_ms=now_ms))
    elif before < now_ms:
        is_it = (feeds.c.cluster == cluster, feeds.c.kind == kind)
        connection.execute(update(feeds).where(*is_it).values(followed_ms=now_ms))
