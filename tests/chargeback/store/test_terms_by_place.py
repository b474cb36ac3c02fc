"""Prices and policy by place, from the node's labels to the lines of the ledger."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from chargeback.core.nodes import Node
from chargeback.core.policy import PolicyChange
from chargeback.files.prices import parse_prices
from chargeback.store.database import Database
from chargeback.store.ledger import lines_of_month
from chargeback.store.node_states import note_nodes
from chargeback.store.policies import change_policy
from chargeback.store.terms import import_prices
from chargeback.tasks.close_hours import close_all
from tests.chargeback.store.bodies import CLUSTER, GRACE_MS, HOUR, PRICES, body, gpu, holding, put, start_ms

LATER_MS = start_ms(HOUR + 2)
P5 = (("node.kubernetes.io/instance-type", "p5"),)


def node(name: str, pool: str, labels: tuple[tuple[str, str], ...] = (), labelled_ms: int | None = None) -> Node:
    return Node(name=name, uid=name, created_ms=start_ms(HOUR - 1), pool=pool, labels=labels, labelled_ms=labelled_ms)


def see(database: Database, now_ms: int, *nodes: Node) -> None:
    with database.write() as connection:
        note_nodes(connection, CLUSTER, nodes, now_ms)


def add_prices(database: Database, text: str) -> None:
    with database.write() as connection:
        import_prices(
            connection, parse_prices(text, "p.yaml"), "p.yaml", "UTC", LATER_MS, force=True, who="ada", why="test"
        )


def change(database: Database, values: dict[str, Any], **where: Any) -> None:
    made = PolicyChange(version=0, from_ms=start_ms(HOUR), values=values, **where)
    with database.write() as connection:
        change_policy(connection, made, LATER_MS, who="ada", why="test")


def lines(database: Database, hour: int = HOUR) -> list[Any]:
    close_all(database, LATER_MS, GRACE_MS)
    with database.read() as connection:
        found = [line for line in lines_of_month(connection, "2026-10") if line.hour == hour]
    assert sum(line.amount_micros or 0 for line in found) == sum(line.list_micros or 0 for line in found)
    return found


def test_a_nodes_price_is_billed_card_by_card(ledger: Database) -> None:
    """R1 (OpenCost specification, Appendix A): 35 for the node of three cards, two held, sums exactly to 35."""
    cards = [gpu(f"GPU-{number}") for number in (3, 1, 2)]
    put(ledger, body(gpus=cards, holdings=[holding("GPU-1"), holding("GPU-2", namespace="beta", pod="other")]))
    put(ledger, body("n2"))
    see(ledger, LATER_MS, node("n1", "", P5), node("n2", ""))
    price = '{price: "35", unit: node-hour, node_labels: {node.kubernetes.io/instance-type: p5}}'
    add_prices(ledger, PRICES.replace("prices:\n", f"prices:\n  - {price}\n"))
    found = lines(ledger)
    listed = {line.device: line.list_micros for line in found if line.node == "n1" and line.list_micros}
    assert listed == {"GPU-1": 11_666_666, "GPU-2": 11_666_667, "GPU-3": 11_666_667}
    (held,) = [line for line in found if line.pod == "train"]
    assert (held.unit, held.unit_price, held.amount_micros) == ("node-hour", 35_000_000, 11_666_666)
    assert Fraction(held.quantity_ms_num, held.ms_den) * 3 == Fraction(held.gpu_ms_num, held.ms_den) == 3_600_000
    assert [line.list_micros for line in found if line.node == "n2"] == [3_000_000]


def test_a_price_of_a_pool_holds_where_the_node_was_then(ledger: Database) -> None:
    """A node that moved to another pool in the second hour pays that pool's price from there, and not before."""
    for hour in (HOUR, HOUR + 1):
        put(ledger, body(hour=hour, holdings=[holding()]))
    see(ledger, start_ms(HOUR), node("n1", "a"))
    see(ledger, LATER_MS, node("n1", "b", labelled_ms=start_ms(HOUR + 1)))
    pool_b = '  - {model: NVIDIA H100 80GB HBM3, pool: b, price: "5", unit: gpu-hour}\ntiers:'
    add_prices(ledger, PRICES.replace("tiers:", pool_b))
    close_all(ledger, LATER_MS + GRACE_MS, GRACE_MS)
    found = [(line.hour - HOUR, line.list_micros) for hour in (HOUR, HOUR + 1) for line in lines(ledger, hour)]
    assert found == [(0, 3_000_000), (1, 5_000_000)]


def test_a_policy_of_a_pool_is_not_that_of_its_cluster(ledger: Database) -> None:
    """Basis usage in pool a alone; each line names the version that it was billed by."""
    for name in ("n1", "n2"):
        put(ledger, body(name, holdings=[holding(busy_ms=900_000)]))
    see(ledger, LATER_MS, node("n1", "a"), node("n2", "b"))
    change(ledger, {"basis": "usage"}, cluster=CLUSTER, pool="a")
    paid = {
        (line.node, line.kind): (line.amount_micros, line.policy_version)
        for line in lines(ledger)
        if line.account == "cc-a"
    }
    assert paid == {
        ("n1", "held"): (750_000, 2),
        ("n1", "idle-held"): (0, 2),
        ("n2", "held"): (3_000_000, 1),
    }
