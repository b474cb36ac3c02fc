"""Labels on lines: of the namespace as it was, and of the pod as it was first seen; the ledger gives them back."""

from __future__ import annotations

from chargeback.core.lines import Line
from chargeback.core.owners.owners import Namespace, Owner
from chargeback.core.pods import Ask, OwnerLabels, Pod
from chargeback.store.database import Database
from chargeback.store.ledger import lines_of_month
from chargeback.store.owners import note_namespaces
from chargeback.store.pods import note_pods
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, MINUTE_MS, body, holding, put, start_ms

NOW_MS = start_ms(HOUR + 2)


def at(minute: int) -> int:
    return start_ms(HOUR) + minute * MINUTE_MS


POD = Pod(
    namespace="alpha", name="train", uid="u-1", node="n1", bound_ms=start_ms(HOUR),
    asks=(Ask(container="main", resource="nvidia.com/gpu", count=1),),
    labels=OwnerLabels(dimensions=(("app", "pod"),)),
)  # fmt: skip


def note(database: Database, *dimensions: tuple[str, str], labelled_ms: int, now_ms: int) -> list[Owner]:
    seen = Namespace(
        name="alpha", created_ms=start_ms(HOUR), labelled_ms=labelled_ms, cost_center="cc-a", dimensions=dimensions
    )
    with database.write() as connection:
        return note_namespaces(connection, CLUSTER, [seen], "api", now_ms)


def held(database: Database) -> list[Line]:
    close_all(database, NOW_MS, GRACE_MS)
    with database.read() as connection:
        return [line for line in lines_of_month(connection, "2026-10") if line.kind == "held"]


def test_lines_have_the_labels_of_their_time(ledger: Database) -> None:
    """A pod's wins; where the namespace's changes the line is cut, and other keys later leave it alone."""
    with ledger.write() as connection:
        note_pods(connection, CLUSTER, [POD], [], at(5))
    note(ledger, ("app", "ns"), ("env", "test"), labelled_ms=start_ms(HOUR), now_ms=at(10))
    note(ledger, ("app", "ns"), ("env", "prod"), labelled_ms=at(30), now_ms=at(31))
    put(ledger, body(holdings=[holding()]))
    found = held(ledger)
    assert [line.dimensions for line in found] == [
        (("app", "pod"), ("env", "test")),
        (("app", "pod"), ("env", "prod")),
    ]
    assert [line.end_ms - line.start_ms for line in found] == [30 * MINUTE_MS] * 2
    assert len(note(ledger, ("site", "x"), labelled_ms=at(30), now_ms=NOW_MS)) == 1
    assert held(ledger) == found
