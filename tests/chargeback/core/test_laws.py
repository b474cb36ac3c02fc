"""The laws of the ledger, for arbitrary cards, holders, faults and terms. Each docstring is the law."""

from __future__ import annotations

import ast
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import chargeback.core
from chargeback.core.existence import Existence, exist
from chargeback.core.hours import HOUR_MS, rating_intervals
from chargeback.core.lines import HELD, Line
from chargeback.core.merge import merge
from chargeback.core.money import whole_micros
from chargeback.core.node_hour import Gpu, Holding, Instance, Layout, NodeHour, check
from chargeback.core.owners import Owner, OwnerBook
from chargeback.core.policy import Policy, PolicyBook
from chargeback.core.prices import GPU_HOUR, INSTANCE_HOUR, Price, PriceBook, TierFactor
from chargeback.core.rating import rate_node_hour
from chargeback.core.spans import length

HOUR = 497_010  # some hour of 18 UTC: its middle is midnight in Kolkata
MODEL = "NVIDIA A100-SXM4-80GB"
PROFILES = (("3g.40gb", 3, 4), ("2g.20gb", 2, 2), ("1g.10gb", 1, 1), ("1g.20gb", 1, 2), ("4g.40gb", 4, 4))
NAMESPACES = ("a", "b", "c", "nobody")

quick = settings(max_examples=100, deadline=None)
instants = st.integers(0, HOUR_MS)


@st.composite
def spans(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    """Up to three disjoint intervals of the hour."""
    cuts = sorted(draw(st.sets(instants, min_size=2, max_size=6)))
    return tuple(zip(cuts[::2], cuts[1::2], strict=False))


@st.composite
def cards(draw: st.DrawFn, number: int) -> tuple[Gpu, list[Instance], list[Holding]]:
    """One card: whole, shared or in MIG mode, observed and healthy now and then, held by some."""
    uuid = f"GPU-{number}"
    observed = draw(spans())
    mig = draw(st.booleans())
    shares = 1 if mig else draw(st.integers(1, 4))
    layouts = tuple(Layout(start=a, end=b, mig=mig, shares=shares) for a, b in observed)
    gpu = Gpu(
        uuid=uuid,
        model=MODEL,
        memory_mib=81_920,
        slices_max=7,
        observed=observed,
        unhealthy=draw(spans()),
        layouts=layouts,
    )
    instances: list[Instance] = []
    if mig:
        for i, (profile, slices, memory) in enumerate(draw(st.lists(st.sampled_from(PROFILES), max_size=4))):
            split = draw(st.integers(1, 2))
            for a, b in observed:
                instances.append(
                    Instance(
                        uuid=f"MIG-{number}-{i}", gpu=uuid, profile=profile, start=a, end=b, gi=i, ci=0,
                        c=slices, g=slices, m=memory, shares=split,
                    )
                )  # fmt: skip
    devices = [(uuid, shares)] if not mig else sorted({(i.uuid, i.shares) for i in instances})
    holdings = [
        h for device, count in devices for share in range(count) for h in draw(_holders(device, share, observed))
    ]
    return gpu, instances, holdings


@st.composite
def _holders(draw: st.DrawFn, device: str, share: int, observed: tuple[tuple[int, int], ...]) -> list[Holding]:
    """Who holds a share, one after the other or together, within observed time."""
    found = []
    for a, b in observed:
        claim = draw(st.sampled_from((None, None, "a/claim")))
        for number in range(draw(st.integers(0, 2))):
            start = draw(st.integers(a, b - 1))
            end = draw(st.integers(start + 1, b))
            namespace = draw(st.sampled_from(NAMESPACES))
            found.append(
                Holding(
                    device=device, shares=(share,), start=start, end=end, namespace=namespace,
                    pod=f"{device}-{share}-{a}-{number}", container="main", claim=claim,
                    busy_ms=draw(st.none() | st.integers(0, end - start)),
                )
            )  # fmt: skip
    return found


@st.composite
def node_hours(draw: st.DrawFn) -> NodeHour:
    drawn = [draw(cards(number)) for number in range(draw(st.integers(1, 2)))]
    body = NodeHour(
        cluster="lab",
        node="n1",
        hour=HOUR,
        instance="i",
        started=1,
        gpus=tuple(gpu for gpu, _, _ in drawn),
        instances=tuple(each for _, instances, _ in drawn for each in instances),
        holdings=tuple(each for _, _, holdings in drawn for each in holdings),
    )
    check(body)
    return body


@st.composite
def owner_books(draw: st.DrawFn) -> OwnerBook:
    """Owners of a, b and c, each changing hands within the hour."""
    owners = []
    for namespace in NAMESPACES[:3]:
        change = HOUR * HOUR_MS + draw(instants)
        tiers = st.sampled_from((None, "critical", "spot"))
        first = Owner(
            namespace=namespace, from_ms=0, until_ms=change, cost_center="cc-1", tier=draw(tiers), version=1
        )
        centers = st.sampled_from((None, "cc-2"))
        second = Owner(namespace=namespace, from_ms=change, cost_center=draw(centers), tier=draw(tiers), version=2)
        owners += [first, second]
    return OwnerBook(owners)


@st.composite
def price_books(draw: st.DrawFn) -> PriceBook:
    micros = st.integers(1, 5_000_000).map(Fraction)
    prices = [Price(model=MODEL, unit=GPU_HOUR, amount=draw(micros))]
    if draw(st.booleans()):
        prices.append(Price(model=MODEL, unit=INSTANCE_HOUR, profile="1g.10gb", amount=draw(micros)))
    if draw(st.booleans()):
        prices.append(Price(model=MODEL, unit=GPU_HOUR, tier="spot", amount=draw(micros)))
    return PriceBook(prices, [TierFactor(tier="critical", factor=Fraction(draw(st.integers(0, 300)), 100))])


policies = st.builds(
    Policy,
    sharing=st.sampled_from(("configured", "active")),
    mig_weight=st.sampled_from((Fraction(0), Fraction(1, 2), Fraction(1))),
    timezone=st.sampled_from(("UTC", "Asia/Kolkata")),
)


def rated(body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy) -> tuple[list[Line], Existence]:
    existence = exist(HOUR, [body], body, [])
    lines, problems = rate_node_hour(
        "lab", "n1", HOUR, body.holdings, existence, owners, prices, PolicyBook([policy])
    )
    assert not problems
    return lines, existence


@quick
@given(node_hours(), owner_books(), price_books(), policies)
def test_conservation(body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy) -> None:
    """Law 1: per card and rating interval, all lines' time is the time the card existed, Σ list is ⌊price × it⌋, and
    Σ amount is Σ list, to the micro."""
    lines, existence = rated(body, owners, prices, policy)
    start_ms = HOUR * HOUR_MS
    for interval in rating_intervals(HOUR, policy.timezone):
        for gpu in existence.gpus:
            mine = [
                line
                for line in lines
                if line.parent == gpu.uuid and interval.start <= line.start_ms - start_ms < interval.end
            ]
            existed = length(
                (max(a, interval.start), min(b, interval.end))
                for a, b in existence.spans[gpu.uuid]
                if max(a, interval.start) < min(b, interval.end)
            )
            rate = prices.list_rate(MODEL, start_ms + interval.start, start_ms + interval.end)
            assert rate is not None
            assert sum(Fraction(line.gpu_ms_num, line.ms_den) for line in mine) == existed
            assert sum(line.list_micros or 0 for line in mine) == whole_micros(rate.hourly * existed / HOUR_MS)
            assert sum(line.amount_micros or 0 for line in mine) == sum(line.list_micros or 0 for line in mine)
    assert len({line.line_id for line in lines}) == len(lines)


@quick
@given(node_hours(), owner_books(), price_books(), policies)
def test_no_usage_is_lost(body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy) -> None:
    """What a holding was busy is, to the millisecond, what its lines were busy, however it was cut."""
    lines, _ = rated(body, owners, prices, policy)
    assert sum(line.busy_ms or 0 for line in lines) == sum(holding.busy_ms or 0 for holding in body.holdings)


@quick
@given(node_hours(), owner_books(), price_books(), policies)
def test_no_stranger_pays(body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy) -> None:
    """Law 9: whoever owns a namespace, and however often that changes, no other namespace's line moves."""
    lines, _ = rated(body, owners, prices, policy)
    relabelled = OwnerBook(
        [
            Owner(namespace=namespace, from_ms=0, cost_center="cc-9", tier="spot", version=9)
            if namespace == "a"
            else owner
            for namespace in NAMESPACES[:3]
            for owner in owners._of[namespace]
        ]
    )
    after, _ = rated(body, relabelled, prices, policy)

    def others(found: list[Line]) -> list[Line]:
        return [line for line in found if line.kind == HELD and line.namespace != "a"]

    assert others(after) == others(lines)


@quick
@given(node_hours(), owner_books(), price_books(), policies)
def test_removing_a_holder_moves_nobody_elses_line(
    body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy
) -> None:
    """Law 9: with configured shares and without claims, a holder that goes leaves every other line as it was."""
    policy = replace(policy, sharing="configured")
    body = replace(body, holdings=tuple(replace(holding, claim=None) for holding in body.holdings))
    lines, _ = rated(body, owners, prices, policy)
    without, _ = rated(
        replace(body, holdings=tuple(h for h in body.holdings if h.namespace != "a")), owners, prices, policy
    )

    def others(found: list[Line]) -> list[Line]:
        return [line for line in found if line.kind == HELD and line.namespace != "a"]

    assert others(without) == others(lines)


@quick
@given(node_hours(), price_books(), instants)
def test_a_cut_neither_makes_nor_loses_money(body: NodeHour, prices: PriceBook, at: int) -> None:
    """A change of owner to the same tier cuts lines in two, and their sums stay what they were."""
    whole = OwnerBook([Owner(namespace=n, from_ms=0, cost_center=n, version=1) for n in NAMESPACES[:3]])
    change = HOUR * HOUR_MS + at
    cut = OwnerBook(
        [
            owner
            for n in NAMESPACES[:3]
            for owner in (
                Owner(namespace=n, from_ms=0, until_ms=change, cost_center=n, version=1),
                Owner(namespace=n, from_ms=change, cost_center=n, version=2),
            )
        ]
    )
    before, _ = rated(body, whole, prices, Policy())
    after, _ = rated(body, cut, prices, Policy())

    def sums(found: list[Line]) -> dict[tuple[str, str, str, str], tuple[int, int]]:
        totals: dict[tuple[str, str, str, str], tuple[int, int]] = {}
        for line in found:
            key = (line.account, line.kind, line.device, line.pod)
            listed, amount = totals.get(key, (0, 0))
            totals[key] = (listed + (line.list_micros or 0), amount + (line.amount_micros or 0))
        return totals

    assert sums(after) == sums(before)


@quick
@given(st.lists(node_hours(), min_size=1, max_size=3), st.randoms())
def test_the_order_of_bodies_does_not_matter(bodies: list[NodeHour], random: object) -> None:
    """Law 2: however the bodies of several instances come, and how often, the account is the same."""
    instances = [replace(body, instance=f"i{n}", started=n // 2) for n, body in enumerate(bodies)]
    shuffled = list(instances)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert merge(shuffled) == merge(instances)
    assert exist(HOUR, shuffled, merge(shuffled), []) == exist(HOUR, instances, merge(instances), [])


@quick
@given(st.lists(node_hours(), min_size=2, max_size=3))
def test_what_several_saw_counts_once(bodies: list[NodeHour]) -> None:
    """A card's merged observed time is what any instance observed, and its account balances."""
    # As agents of one node see the same cards in the same mode, only the times and the holders differ.
    first = bodies[0]
    instances = [
        replace(first, instance=f"i{n}", started=n, gpus=first.gpus, holdings=first.holdings if n == 0 else ())
        for n in range(len(bodies))
    ]
    merged = merge(instances)
    assert {gpu.uuid: gpu.observed for gpu in merged.gpus} == {
        gpu.uuid: tuple(s for s in gpu.observed) for gpu in sorted(first.gpus, key=lambda gpu: gpu.uuid)
    }
    assert merged.holdings == ()  # the latest instance speaks, and it saw none


def test_floats_never_touch_money() -> None:
    """Law 5: the core has no float literal and never names float."""
    for path in Path(chargeback.core.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), path
            assert not (isinstance(node, ast.Name) and node.id == "float"), path
