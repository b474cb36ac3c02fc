"""Who changed what, and why: only ever added to, in the transaction of the change itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, insert, select

from chargeback.store.tables import audit


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """action: such as `close`; subject: what it was done to, such as `2026-10`; detail: plain values."""

    recorded_ms: int
    who: str
    action: str
    subject: str
    why: str = ""
    detail: Mapping[str, object] | None = None


def note(connection: Connection, entry: Entry) -> None:
    connection.execute(
        insert(audit).values(
            recorded_ms=entry.recorded_ms,
            who=entry.who,
            action=entry.action,
            subject=entry.subject,
            why=entry.why,
            detail=json.dumps(entry.detail or {}, sort_keys=True),
        )
    )


def entries(connection: Connection, subject: str | None = None) -> Iterator[Entry]:
    """In the order in which they were noted; of one subject, or all."""
    query = select(audit).order_by(audit.c.number)
    if subject is not None:
        query = query.where(audit.c.subject == subject)
    for row in connection.execute(query):
        yield Entry(
            recorded_ms=row.recorded_ms,
            who=row.who,
            action=row.action,
            subject=row.subject,
            why=row.why,
            detail=json.loads(row.detail),
        )
