"""How many series the aggregator's page has: for 1,000 nodes of 8 cards fewer than 20,000, whatever runs there.

The page speaks of cost centers, namespaces, quotas and nodes; never of cards, pods or lines. The fleet's lines are
settled, summed and rendered by what `chargeback serve` itself does it with.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest

from chargeback.core.budgets import Budget, Spending, budget_use
from chargeback.core.lines import Line
from chargeback.core.metered import DIFFERENCES
from chargeback.core.owners.owners import Namespace, Owner, OwnerBook
from chargeback.core.quota.idle_shares import IdleShare
from chargeback.core.quota.report import QuotaFacts, quota_report
from chargeback.core.quota.specs import QuotaSpec
from chargeback.core.totals import Total, join, total_of
from chargeback.families import FAMILIES, render
from chargeback.samples.months import MONTHS_MAX
from chargeback.standing import Standing
from tests.chargeback.core.planned import A100, CLUSTER, H100, PRICES, START_MS, idle, line, plan, settled

NODES, CARDS, NAMESPACES, COST_CENTERS = 1000, 8, 100, 25
SERIES_MAX = 20_000
PERIODS = ("today", "yesterday", "month", "last_month")
KEYS = {"requests.nvidia.com/gpu": "64", "limits.nvidia.com/gpu": "96", "requests.nvidia.com/mig-1g.10gb": "16"}

NAMES = [f"team-{number:03}" for number in range(NAMESPACES)]
OWNERS = {
    name: Owner(namespace=name, from_ms=0, cost_center=f"cc-{number % COST_CENTERS:02}", team=name, version=1)
    for number, name in enumerate(NAMES)
}
# Half of the namespaces are guaranteed more than they hold, half less, of both models.
PLANS = [
    plan(200 if number % 2 else 20, name, price_key=model)
    for number, name in enumerate(NAMES)
    for model in (H100, A100)
]


def fleet_lines(nodes: int) -> list[Line]:
    """An hour: every second node is of another model, every namespace is on both, a fifth of the cards is idle."""
    return [card_line(node, card) for node in range(nodes) for card in range(CARDS)]


def card_line(node: int, card: int) -> Line:
    model = (H100, A100)[node % 2]
    device = f"GPU-{node:04}-{card}"
    number = node // 2 * CARDS + card
    if number // NAMESPACES % 5 == 0:
        return replace(idle(device, model=model), node=f"node-{node:04}")
    namespace = NAMES[number % NAMESPACES]
    cost_center = OWNERS[namespace].cost_center
    assert cost_center is not None
    held = line(device, model=model, namespace=namespace, account=cost_center, cost_center=cost_center)
    return replace(held, node=f"node-{node:04}", team=namespace)


def totals_of(nodes: int) -> list[Total]:
    lines, problems = settled(fleet_lines(nodes), *PLANS, owners=OwnerBook(OWNERS.values()), prices=PRICES)
    assert problems == []
    return list(join(sorted(map(total_of, lines), key=lambda total: total.key)))


def standing(nodes: int) -> Standing:
    """As `gather` would find it, with every period as full as the fullest and something of everything."""
    quotas = [
        QuotaSpec(namespace=name, name="gpus", hard=KEYS, status_hard=KEYS, used=dict.fromkeys(KEYS, "8"))
        for name in NAMES
    ]
    facts = QuotaFacts(
        quotas=quotas,
        namespaces=[Namespace(name=name, created_ms=0) for name in NAMES],
        pods=(),
        refusals=(),
        idle=dict.fromkeys(NAMES, IdleShare(held_ms=Fraction(2), known_ms=Fraction(2), idle_ms=Fraction(1))),
        saturation_s={(name, "gpus", key): Fraction(7200) for name in NAMES for key in KEYS},
        plans_from="quota",
    )
    spending = Spending(charged={date(2026, 10, day): 1000 for day in range(1, 20)}, once={})
    budgets = [
        Budget(cost_center=f"cc-{number:02}", version=1, from_month="2026-10", amount_micros=10**9)
        for number in range(COST_CENTERS)
    ]
    return Standing(
        periods=dict.fromkeys(PERIODS, totals_of(nodes)),
        currency="EUR",
        quotas=quota_report(facts, START_MS),
        cluster=CLUSTER,
        owners=OWNERS,
        budgets=[
            budget_use(each, "2026-10", spending, date(2026, 10, 1), date(2026, 10, 20), Fraction(1, 2))
            for each in budgets
        ],
        months={f"{year}-{month:02}": "closed" for year in (2024, 2025, 2026) for month in range(1, 13)},
        backlog={CLUSTER: 0},
        plan_backlog={CLUSTER: 0},
        conservation_error_ms={CLUSTER: 0},
        differences={CLUSTER: dict.fromkeys(DIFFERENCES, 1000)},
        problems={(CLUSTER, f"kind {number}"): 1 for number in range(20)},
        last_pushes=[(CLUSTER, f"node-{node:04}", START_MS) for node in range(nodes)],
        refused={("422", f"gpus[].field_{number}"): 1 for number in range(40)},
        accepted={"stored": 1, "known": 1},
        tables_read_ms=dict.fromkeys(("namespaces", "resourcequotas", "nodes", "pods"), START_MS),
        rendered_ms=START_MS,
    )


@pytest.fixture(scope="module")
def page() -> list[str]:
    """The series of the page, without comments."""
    return [row for row in render(standing(NODES)).decode().splitlines() if not row.startswith("#")]


def test_a_thousand_nodes_of_eight_cards_stay_below_twenty_thousand_series(page: list[str]) -> None:
    counts = Counter(re.split(r"[{ ]", row)[0] for row in page)
    print(f"{len(page)} series: {counts.most_common(5)}")
    assert len(page) < SERIES_MAX
    empty = {family.name for family in FAMILIES} - counts.keys()
    assert empty <= {
        "chargeback_unmetered_pods",
        "chargeback_unmetered_devices",
        "chargeback_owner_lookalikes",
        "chargeback_unowned_gpu_seconds",
    }


def test_what_labels_say_is_one_of_few(page: list[str]) -> None:
    """Namespaces, nodes and cost centers as many as there are; of everything else some dozens."""
    values: dict[str, set[str]] = {}
    for row in page:
        for label, value in re.findall(r'(\w+)="([^"]*)"', row):
            values.setdefault(label, set()).add(value)
    bounds = {"node": NODES, "namespace": NAMESPACES + 1, "team": NAMESPACES + 1, "cost_center": COST_CENTERS + 9}
    bounds |= {"month": MONTHS_MAX}
    assert {label: len(seen) for label, seen in values.items() if len(seen) > bounds.get(label, 50)} == {}
    assert not {"pod", "container", "uuid", "device", "line"} & values.keys()
