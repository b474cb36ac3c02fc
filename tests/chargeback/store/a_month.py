"""A small month that can be closed: two cards of one model for two hours, of which three card hours are held."""

from __future__ import annotations

from typing import Any

from chargeback.core.hours import month_span_ms, parse_hour
from chargeback.core.months.closing import Limits
from chargeback.core.nodes import Node
from chargeback.months.close import approve, close, prepare
from chargeback.store.database import Database
from chargeback.store.drafts import Draft
from chargeback.store.node_states import note_nodes
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, body, gpu, holding, put, start_ms

# Past for every clock, so that the command itself finds it over.
MONTH = "2024-10"
HOUR = parse_hour("2024-10-03T10Z")
# Long after it, so that nothing is young any more.
NOW_MS = month_span_ms(MONTH, "UTC")[1] + 96 * 3_600_000
LIMITS = Limits()


def fill(database: Database) -> None:
    """cc-a holds one card for two hours, cc-b the other for one; then the node is gone."""
    cards = [gpu("GPU-1"), gpu("GPU-2")]
    put(
        database,
        body(
            hour=HOUR, gpus=cards, holdings=[holding("GPU-1", busy_ms=1_800_000), holding("GPU-2", namespace="beta")]
        ),
    )
    put(database, body(hour=HOUR + 1, gpus=cards, holdings=[holding("GPU-1", busy_ms=1_800_000)]))
    stand(database, "n1", HOUR, HOUR + 2)
    close_all(database, NOW_MS, GRACE_MS)


def stand(database: Database, name: str, first_hour: int, until_hour: int) -> None:
    """Have the API say that a node, the only one, was there from one hour to another."""
    node = Node(name=name, uid=name, created_ms=start_ms(first_hour), gpus={"nvidia.com/gpu": 2})
    with database.write() as connection:
        note_nodes(connection, CLUSTER, [node], start_ms(first_hour))
        note_nodes(connection, CLUSTER, [node], start_ms(until_hour))
        note_nodes(connection, CLUSTER, [], start_ms(until_hour) + 1)


def late(database: Database, seq: int = 2, **changes: Any) -> None:
    """What comes late: cc-b held the other card in the second hour, too; rated as far as may be."""
    cards = [gpu("GPU-1"), gpu("GPU-2")]
    held = [holding("GPU-1", busy_ms=1_800_000), holding("GPU-2", namespace="beta")]
    put(database, body(hour=HOUR + 1, seq=seq, **({"gpus": cards, "holdings": held} | changes)), NOW_MS)
    close_all(database, NOW_MS, GRACE_MS)


def draft(database: Database, who: str = "ann", **changes: Any) -> Draft:
    return prepare(database, MONTH, who, NOW_MS, GRACE_MS, LIMITS, **changes)


def closed(database: Database) -> Draft:
    draft(database)
    approve(database, MONTH, "bob", NOW_MS)
    return close(database, MONTH, "ann", NOW_MS)
