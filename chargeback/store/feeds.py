"""Up to when each kind of objects of a cluster was followed."""

from __future__ import annotations

from sqlalchemy import Connection, select

from chargeback.store.database import insert_or
from chargeback.store.tables import feeds


def followed(connection: Connection, cluster: str, kind: str) -> int | None:
    """Unix ms by the API server's clock; None: never."""
    query = select(feeds.c.followed_ms).where(feeds.c.cluster == cluster, feeds.c.kind == kind)
    found: int | None = connection.execute(query).scalar()
    return found


def note_followed(connection: Connection, cluster: str, kind: str, now_ms: int) -> None:
    """Never back: another replica may be ahead."""
    upsert = insert_or(connection, feeds).values(cluster=cluster, kind=kind, followed_ms=now_ms)
    connection.execute(
        upsert.on_conflict_do_update(
            index_elements=["cluster", "kind"],
            set_={"followed_ms": now_ms},
            where=feeds.c.followed_ms < now_ms,
        )
    )
