"""What agents have pushed, as the ledger keeps it: holdings over all hours, in unix milliseconds."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from chargeback.core.hours import HOUR_MS
from exporter import wire

Body = tuple[int, wire.NodeHour]  # with the start of its hour


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """One holding of one device, whole even where an hour or a change of usage cut its record."""

    device: str
    holder: tuple[str, str, str]
    start_ms: int
    end_ms: int
    records: tuple[wire.Holding, ...]


def bodies(ledger: Path, node: str) -> list[Body]:
    """The newest body of each hour and instance of a node, oldest first."""
    query = "SELECT hour, body FROM node_hour_bodies WHERE node = ? ORDER BY hour, started_ms"
    with closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        return [
            (hour * HOUR_MS, wire.decode(gzip.decompress(body))) for hour, body in connection.execute(query, [node])
        ]


def through_ms(found: list[Body]) -> int:
    """Up to when the agents have accounted; 0 where nothing was pushed."""
    return max((start + body.through for start, body in found), default=0)


def holdings(found: list[Body]) -> list[Held]:
    """Records that follow each other without a gap, joined; by holder, device and start."""
    records = [
        ((each.namespace, each.pod, each.container), each.device, start + each.start, start + each.end, each)
        for start, body in found
        for each in body.holdings
    ]
    joined: list[Held] = []
    for holder, device, start_ms, end_ms, record in sorted(records, key=lambda row: row[:4]):
        last = joined[-1] if joined else None
        if last and (last.holder, last.device, last.end_ms) == (holder, device, start_ms):
            joined.pop()
            start_ms, earlier = last.start_ms, last.records
        else:
            earlier = ()
        joined.append(
            Held(device=device, holder=holder, start_ms=start_ms, end_ms=end_ms, records=(*earlier, record))
        )
    return joined
