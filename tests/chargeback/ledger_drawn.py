"""Arbitrary stories of a small ledger. Few instants and few shapes of cards: a failing story is soon a short one."""

from __future__ import annotations

import itertools

from hypothesis import strategies as st

from chargeback.core.adjustments import CREDIT, DEBIT, WAIVERS, Scope
from chargeback.core.hours import HOUR_MS, format_hour
from chargeback.core.policy import Policy
from exporter import wire
from tests.chargeback.ledger_story import (
    BEGIN_MS,
    CENTERS,
    CLUSTER,
    END_MS,
    HOURS,
    MODEL,
    NAMESPACES,
    NODES,
    OWNED,
    Adjust,
    Discard,
    Onward,
    Plan,
    Push,
    Relabel,
    Repolicy,
    Reprice,
    Step,
    Story,
    Withdraw,
)

INSTANTS = (0, 1, 599_999, 1_200_001, 1_800_000, 2_400_008, 3_599_999, HOUR_MS)

instants = st.integers(BEGIN_MS, END_MS)
borders = st.sampled_from([hour * HOUR_MS for hour in HOURS])


@st.composite
def bodies(draw: st.DrawFn, node: str, hour: int, seq: int) -> bytes:
    """One card, whole, shared or in MIG mode, seen for some of the hour and healthy for some, and its holders.

    Now and then two hold one slot, with a claim or without, which should not be.
    """
    uuid, end = f"GPU-{node}", draw(st.sampled_from([HOUR_MS, HOUR_MS, 2_400_007]))
    mig, shares = draw(st.sampled_from([(False, 1), (False, 3), (True, 1)]))
    card = wire.Gpu(
        uuid=uuid, model=MODEL, memory_mib=81_920, slices_max=7, observed=[(0, end)],
        unhealthy=draw(st.sampled_from([[], [], [(600_001, 1_800_000)], [(0, HOUR_MS)]])),
        layouts=[wire.Layout(start=0, end=end, mig=mig, shares=shares)],
    )  # fmt: skip
    instances = [
        wire.Instance(uuid=f"MIG-{node}-{n}", gpu=uuid, profile=profile, start=0, end=end, gi=n, ci=0, c=c, g=c, m=m)
        for n, (profile, c, m) in enumerate([("1g.10gb", 1, 1), ("3g.40gb", 3, 4)] if mig else [])
    ]
    slots = [(each.uuid, 0) for each in instances] or [(uuid, share) for share in range(shares)]
    return wire.encode(
        wire.NodeHour(
            v=1, cluster=CLUSTER, node=node, instance="i", started=1, seq=seq, hour=format_hour(hour),
            through=HOUR_MS, final=True, gpus=[card], instances=instances,
            holdings=[each for slot in slots for each in draw(holders(*slot, end))],
        )
    )  # fmt: skip


@st.composite
def holders(draw: st.DrawFn, device: str, share: int, until: int) -> list[wire.Holding]:
    """None, one, or two one after the other or together."""
    found = []
    for number in range(draw(st.sampled_from([0, 1, 1, 1, 2]))):
        start, end = sorted(draw(st.sets(st.sampled_from(INSTANTS), min_size=2, max_size=2)))
        if start < min(end, until):
            busy_ms = draw(st.sampled_from([None, 0, 1, min(end, until) - start, 7]))
            found.append(
                wire.Holding(
                    device=device, shares=[share], start=start, end=min(end, until),
                    namespace=draw(st.sampled_from(NAMESPACES)), pod=f"pod-{device}-{share}-{number}",
                    container="main", resource="nvidia.com/gpu", source="device-plugin", evidence="exclusive",
                    claim=draw(st.sampled_from([None, None, "a/claim"])), busy_ms=busy_ms,
                )
            )  # fmt: skip
    return found


@st.composite
def pushes(draw: st.DrawFn, seq: int, most: int) -> Push:
    places = draw(
        st.lists(st.tuples(st.sampled_from(NODES), st.sampled_from(HOURS)), min_size=1, max_size=most, unique=True)
    )
    return Push(bodies=tuple(draw(bodies(node, hour, seq)) for node, hour in places))


@st.composite
def spans(draw: st.DrawFn) -> tuple[int, int]:
    start, end = sorted(draw(st.sets(instants, min_size=2, max_size=2)))
    return start, end


@st.composite
def relabels(draw: st.DrawFn) -> Relabel:
    start, end = draw(spans())
    namespace = draw(st.sampled_from(NAMESPACES))
    # One that the API never saw is somebody's for a while only.
    return Relabel(
        namespace=namespace,
        cost_center=draw(st.sampled_from(["", *CENTERS])),
        tier=draw(st.sampled_from(["", "spot", "critical"])),
        from_ms=start,
        until_ms=draw(st.sampled_from([None, end] if namespace in OWNED else [end])),
    )


prices = st.builds(
    Reprice,
    from_ms=borders,
    low=st.integers(1, 5_000_000),
    high=st.integers(1, 5_000_000),
    model=st.sampled_from([MODEL, MODEL, MODEL, None]),
)
policies = st.one_of(
    st.builds(Repolicy, from_ms=borders, name=st.just("sharing"), value=st.sampled_from(["configured", "active"])),
    st.builds(Repolicy, from_ms=borders, name=st.just("basis"), value=st.sampled_from(["allocation", "usage"])),
    st.builds(Repolicy, from_ms=borders, name=st.just("faulted"), value=st.sampled_from(["bill", "credit"])),
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    start, end = draw(spans())
    return Plan(
        namespace=draw(st.sampled_from(NAMESPACES)),
        guaranteed=draw(st.sampled_from([None, 0, 1, 2, 3])),
        from_ms=draw(st.sampled_from([0, start])),
        until_ms=draw(st.sampled_from([None, end])),
    )


@st.composite
def adjusts(draw: st.DrawFn) -> Adjust:
    start, end = draw(spans())
    kind = draw(st.sampled_from([CREDIT, DEBIT, *WAIVERS]))
    if kind in WAIVERS:
        scope = draw(
            st.sampled_from([Scope(cluster=CLUSTER), Scope(namespace="a_b"), Scope(cluster=CLUSTER, node="n_1")])
        )
        return Adjust(kind=kind, scope=scope, from_ms=start, until_ms=end, amount_micros=None)
    scope = Scope(cluster=CLUSTER, cost_center=draw(st.sampled_from(CENTERS)))
    return Adjust(kind=kind, scope=scope, from_ms=start, until_ms=end, amount_micros=draw(st.integers(1, 10**9)))


# Three steps close a month.
onward = st.builds(Onward, steps=st.sampled_from([3, 3, 1, 2, 4, 6]))


@st.composite
def stories(draw: st.DrawFn, most: int = 6, closing: bool = True) -> Story:
    """It begins with what agents push; then anything comes; months go on; and anything comes again, late.

    most: so many steps may come late.
    """
    numbers = itertools.count(1)

    def anything(*more: st.SearchStrategy[Step]) -> Step:
        kinds = (relabels(), prices, policies, plans(), adjusts(), st.just(Withdraw()))
        late = pushes(next(numbers), 2)
        return draw(st.one_of(late, late, *kinds, *more))

    steps: list[Step] = [draw(pushes(next(numbers), 6))]
    steps += [anything() for _ in range(draw(st.integers(0, 2)))]
    if closing:
        steps.append(draw(onward))
    again = (onward, st.just(Discard())) if closing else ()
    steps += [anything(*again) for _ in range(draw(st.integers(min(2, most), most)))]
    begin = draw(
        st.builds(
            Policy,
            sharing=st.sampled_from(["configured", "active"]),
            basis=st.sampled_from(["allocation", "usage"]),
            idle=st.sampled_from(["none", "even", "list"]),
            timezone=st.sampled_from(["UTC", "Asia/Kolkata"]),
        )
    )
    return Story(begin=begin, prices=draw(prices), steps=tuple(steps))
