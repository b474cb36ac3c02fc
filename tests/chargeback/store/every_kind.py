"""A small ledger with a line of every kind and part: two months, of which the first is closed and then corrected."""

from __future__ import annotations

from chargeback.core import lines as ledger
from chargeback.core.adjustments import Adjustment, Scope
from chargeback.core.hours import HOUR_MS, month_span_ms, parse_hour
from chargeback.core.lines import Line
from chargeback.core.nodes import Node
from chargeback.core.owners.owners import Namespace
from chargeback.core.policy import PolicyChange
from chargeback.files.plans import parse_plans
from chargeback.months.close import approve, close, prepare
from chargeback.months.look import look
from chargeback.store.adjustments import make_adjustment
from chargeback.store.database import Database
from chargeback.store.ledger import lines_of_month
from chargeback.store.node_states import note_nodes
from chargeback.store.owners import note_namespaces
from chargeback.store.plans import import_plans
from chargeback.store.policies import change_policy
from chargeback.tasks.close_hours import close_all
from exporter import wire
from tests.chargeback.store.a_month import LIMITS
from tests.chargeback.store.bodies import (
    CLUSTER,
    GRACE_MS,
    H100,
    HOUR,
    body,
    gpu,
    holding,
    instance,
    mig_gpu,
    put,
    start_ms,
)
from tests.chargeback.store.conftest import begin

MONTHS = ("2026-10", "2026-11")
NOW_MS = month_span_ms("2026-11", "UTC")[1] - 24 * HOUR_MS
NOVEMBER = parse_hour("2026-11-05T10Z")

_SPAN = 'from: "2026-10-03T10:00:00Z", until: "2026-10-03T11:00:00Z"'
PLANS = f"""
plans:
  - {{namespace: gamma, guaranteed: 3, price_key: {H100}, {_SPAN}}}
  - {{namespace: delta, guaranteed: 1, price_key: {H100}, {_SPAN}}}
"""

KINDS = frozenset(
    value for name, value in vars(ledger).items()
    if name.isupper() and isinstance(value, str) and not value.startswith(("platform:", "unowned"))
) - {ledger.CHARGE, ledger.REVERSAL, ledger.RESTATED}  # fmt: skip


def fill(database: Database) -> None:
    """Hours of different policy, each with what it is about; then the month is closed, and something comes late."""
    begin(database)
    with database.write() as connection:
        owners = [
            Namespace(name="alpha", cost_center="cc-a", team="red"),
            Namespace(name="beta", cost_center="cc-b", team="blue", tier="best-effort"),
            Namespace(name="gamma", cost_center="cc-c"),
            Namespace(name="delta", cost_center="cc-d"),
        ]
        note_namespaces(connection, CLUSTER, owners, "file", 1)
        for from_hour, name, value in (
            (HOUR + 1, "basis", "usage"),
            (HOUR + 2, "basis", "allocation"),
            (HOUR + 2, "faulted", "credit"),
            (HOUR + 3, "idle", "even"),
        ):
            change = PolicyChange(version=0, from_ms=start_ms(from_hour), values={name: value})
            change_policy(connection, change, 1, who="ann", why="a new contract")
        import_plans(connection, parse_plans(PLANS, "plans.yaml", CLUSTER, "UTC"), [CLUSTER], "UTC", 1, who="ann")
    _push(database)
    _nodes(database)
    _adjust(database)
    close_all(database, NOW_MS, GRACE_MS)
    _close(database)
    late = [
        holding("GPU-1", busy_ms=900_000, end=3_000_000),
        holding("GPU-2", namespace="delta", pod="d-0", end=1_000),
    ]
    put(database, body(hour=HOUR, seq=9, gpus=[gpu("GPU-1"), gpu("GPU-2"), gpu("GPU-3")], holdings=late), NOW_MS)
    close_all(database, NOW_MS, GRACE_MS)


def _push(database: Database) -> None:
    cards = [gpu("GPU-1"), gpu("GPU-2"), gpu("GPU-3")]
    held = [
        holding("GPU-1", busy_ms=1_234_567),
        holding("GPU-2", namespace="delta", pod="d-0"),
        holding("GPU-3", namespace="delta", pod="d-1", start=7, end=2_000_003),
    ]
    put(database, body(gpus=cards, holdings=held))
    of_gamma = [holding("GPU-9", namespace="gamma", pod="g", end=1_111_111)]
    put(database, body("n9", gpus=[gpu("GPU-9")], holdings=of_gamma))
    # By usage, with slices, shares, and a price that comes out uneven.
    seventh = [instance(f"MIG-{n}", gi=n, gpu="GPU-7") for n in range(7)]
    slices = [holding(f"MIG-{n}", namespace="beta", pod=f"s-{n}", busy_ms=n * 1001) for n in range(7)]
    of_seven = mig_gpu("GPU-7")
    of_seven = wire.Gpu(**{name: getattr(of_seven, name) for name in of_seven.__struct_fields__} | {"model": H100})
    put(database, body("n2", HOUR + 1, gpus=[of_seven], instances=seventh, holdings=slices))
    used = [holding("GPU-1", busy_ms=777_777, end=3_333_333), holding("GPU-2", namespace="beta", end=1_000_000)]
    put(database, body(hour=HOUR + 1, gpus=cards, holdings=used))
    shared = gpu("GPU-4", layouts=[wire.Layout(start=0, end=HOUR_MS, mig=False, shares=4)])
    few = [instance(f"MIG-{n}", gi=n, c=3, g=3, m=4, profile="3g.40gb") for n in (1, 2)]
    odd = [
        holding("GPU-4", shares=[1, 2], namespace="beta", pod="web-0"),
        holding("MIG-1", namespace="", pod="", container=""),
    ]
    put(database, body("n2", HOUR + 2, gpus=[shared, mig_gpu()], instances=few, holdings=odd))
    faulty = [gpu("GPU-1", unhealthy=[(100, 2_000_000)]), gpu("GPU-2", observed=[(0, 3_000_000)]), gpu("GPU-3")]
    put(database, body(hour=HOUR + 2, gpus=faulty, holdings=[holding("GPU-1", end=1_000_000)]))
    for hour in (HOUR + 3, HOUR + 4):
        put(database, body(hour=hour, gpus=cards, holdings=[holding("GPU-1"), holding("GPU-2", namespace="beta")]))
    unknown = [gpu("GPU-1"), gpu("GPU-U", model="Unknown 9000")]
    two = [holding("GPU-1"), holding("GPU-1", namespace="beta"), holding("GPU-U")]
    put(database, body("n8", NOVEMBER, gpus=unknown, holdings=two))


def _nodes(database: Database) -> None:
    """The API had the nodes for these hours only; one was cordoned for the last of them."""
    first = [Node(name=name, uid=name, created_ms=start_ms(HOUR), gpus={}) for name in ("n1", "n2", "n9")]
    cordoned = [
        Node(name=n.name, uid=n.uid, created_ms=n.created_ms, gpus={}, cordoned=n.name == "n1") for n in first
    ]
    last = [Node(name="n8", uid="n8", created_ms=start_ms(NOVEMBER), gpus={})]
    with database.write() as connection:
        note_nodes(connection, CLUSTER, first, start_ms(HOUR))
        note_nodes(connection, CLUSTER, cordoned, start_ms(HOUR + 4))
        note_nodes(connection, CLUSTER, cordoned, start_ms(HOUR + 5))
        note_nodes(connection, CLUSTER, [], start_ms(HOUR + 5) + 1)
        note_nodes(connection, CLUSTER, last, start_ms(NOVEMBER))
        note_nodes(connection, CLUSTER, last, start_ms(NOVEMBER + 1))
        note_nodes(connection, CLUSTER, [], start_ms(NOVEMBER + 1) + 1)


def _adjust(database: Database) -> None:
    with database.write() as connection:
        for kind, hour, scope, micros in (
            ("outage", HOUR + 3, Scope(namespace="alpha"), None),
            ("nonbillable", HOUR + 3, Scope(cost_center="cc-b"), None),
            ("credit", HOUR, Scope(cluster=CLUSTER, cost_center="cc-a"), 1_500_000),
            ("debit", HOUR, Scope(cost_center="cc-b"), 250_000),
        ):
            wanted = Adjustment(
                number=0, kind=kind, from_ms=start_ms(hour), until_ms=start_ms(hour) + 1_800_000, scope=scope,
                amount_micros=micros, month="", reason="said so", ticket="OPS-7", who="ann", recorded_ms=NOW_MS,
            )  # fmt: skip
            make_adjustment(connection, wanted, "UTC", 1)


def _close(database: Database) -> None:
    month = MONTHS[0]
    found = look(database, month, NOW_MS, GRACE_MS, LIMITS)
    waivers = sorted({each.name for each in found.findings if each.blocks and each.waivable})
    prepare(database, month, "ann", NOW_MS, GRACE_MS, LIMITS, waivers, "a test")
    approve(database, month, "bob", NOW_MS)
    close(database, month, "ann", NOW_MS)


def all_lines(database: Database) -> list[Line]:
    with database.read() as connection:
        return [line for month in MONTHS for line in lines_of_month(connection, month)]
