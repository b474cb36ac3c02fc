"""Lines are deleted and put with their node-hour: rating again leaves nothing behind and doubles nothing."""

from __future__ import annotations

from fractions import Fraction

from chargeback.core.lines import Line
from chargeback.store.database import Database
from chargeback.store.ledger import lines_of, lines_of_month
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import (
    GRACE_MS,
    HOUR,
    body,
    gpu,
    holding,
    instance,
    key_of,
    mig_gpu,
    put,
    start_ms,
)

LATER_MS = start_ms(HOUR + 2)


def month(database: Database) -> list[Line]:
    with database.read() as connection:
        return list(lines_of_month(connection, "2026-10"))


def test_a_line_comes_back_as_it_went_in(ledger: Database) -> None:
    """Fractions, absent values and names of any script."""
    sent = body(
        gpus=[mig_gpu()],
        instances=[instance()],
        holdings=[holding("MIG-1", namespace="beta", pod="Zürich-é", claim="c/1", busy_ms=3, energy_mj=4)],
    )
    put(ledger, sent)
    close_all(ledger, LATER_MS, GRACE_MS)
    with ledger.read() as connection:
        lines = lines_of(connection, [key_of(sent)])
    (held,) = (line for line in lines if line.kind == "held")
    assert (held.pod, held.claim, held.busy_ms, held.memory_byte_seconds) == ("Zürich-é", "c/1", 3, None)
    assert Fraction(held.gpu_ms_num, held.ms_den) == Fraction(3_600_000, 7)
    assert held.unit_price == Fraction("1.05") * 1_000_000
    assert (held.cost_center, held.tier, held.list_micros, held.amount_micros) == (
        "cc-b",
        "best-effort",
        300_000,
        150_000,
    )
    assert month(ledger) == lines


def test_rating_an_hour_again_replaces_its_lines(ledger: Database) -> None:
    """What a late body takes away goes from the ledger as well."""
    put(ledger, body(holdings=[holding()]))
    close_all(ledger, LATER_MS, GRACE_MS)
    assert [line.account for line in month(ledger)] == ["cc-a"]
    put(ledger, body(seq=2, gpus=[gpu()], holdings=[holding(end=1_800_000)]), LATER_MS)
    close_all(ledger, LATER_MS, GRACE_MS)
    assert [(line.account, line.amount_micros) for line in month(ledger)] == [
        ("cc-a", 1_500_000),
        ("platform:idle", 1_500_000),
    ]
    put(ledger, body(seq=3, gpus=[], holdings=[]), LATER_MS)
    close_all(ledger, LATER_MS, GRACE_MS)
    assert month(ledger) == []


def test_rating_again_leaves_other_node_hours_alone(ledger: Database) -> None:
    """Neither the neighbour's lines nor the next hour's, and the same ids for the same lines."""
    for node in ("n1", "n2"):
        put(ledger, body(node, gpus=[gpu(f"GPU-{node}")]))
    close_all(ledger, LATER_MS, GRACE_MS)
    before = {line.line_id for line in month(ledger)}
    put(ledger, body("n1", seq=2, gpus=[gpu("GPU-n1")]), LATER_MS)
    close_all(ledger, LATER_MS, GRACE_MS)
    assert {line.line_id for line in month(ledger)} == before


def test_names_as_long_as_the_wire_lets_them_be(ledger: Database) -> None:
    """A body that is accepted can be rated: no column is narrower than the door."""
    sent = body(
        "n" * 253,
        instance="i" * 253,
        gpus=[gpu("G" * 128, model="m" * 253)],
        holdings=[holding("G" * 128, namespace="n" * 512, pod="p" * 512, container="c" * 512, claim="d" * 512)],
    )
    put(ledger, sent)
    put(ledger, body(gpus=[mig_gpu()], instances=[instance(profile="f" * 253)], holdings=[holding("MIG-1")]))
    close_all(ledger, LATER_MS, GRACE_MS)
    assert {line.kind for line in month(ledger)} == {"held", "unpartitioned"}
