"""Energy on the ledger: what holders and nobody took is what the lines have, however it is cut and merged."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from chargeback.bodies import read_body
from chargeback.core import lines as ledger
from chargeback.core.existence import exist
from chargeback.core.lines import Line
from chargeback.core.merge import merge
from chargeback.core.node_hour import Gpu, Holding, Layout, NodeHour, cut
from chargeback.core.owners.owners import OwnerBook
from chargeback.core.policy import Policy, PolicyBook
from chargeback.core.prices.book import PriceBook
from chargeback.core.rating.idle_energy import KINDS
from chargeback.core.rating.rating import rate_node_hour
from exporter import wire
from tests.chargeback.core.drawn import HOUR, MODEL, node_hours, owner_books, policies, price_books

HOUR_MS = 3_600_000
HALF_MS = HOUR_MS // 2
ENERGIES = st.none() | st.integers(0, 10**9)
quick = settings(max_examples=60, deadline=None)


@st.composite
def metered(draw: st.DrawFn) -> NodeHour:
    """A node-hour in which the energy of some cards and holdings is known."""
    body = draw(node_hours())
    return replace(
        body,
        gpus=tuple(replace(each, idle_energy_mj=draw(ENERGIES)) for each in body.gpus),
        holdings=tuple(replace(each, energy_mj=draw(ENERGIES)) for each in body.holdings),
    )


def lines_of(body: NodeHour, *, held: tuple[Holding, ...] | None = None, **terms: object) -> list[Line]:
    lines, _ = rate_node_hour(
        "lab", "n1", HOUR, body.holdings if held is None else held, exist(HOUR, [body], body, []),
        terms.get("owners"), terms.get("prices"), PolicyBook([terms["policy"]]), counted=body.holdings,
    )  # type: ignore[arg-type]  # fmt: skip
    return lines


@quick
@given(metered(), owner_books(), price_books(), policies)
def test_no_energy_is_lost(body: NodeHour, owners: object, prices: object, policy: Policy):
    """To the millijoule: lines of holders have what holdings had, those of free capacity the card's idle energy."""
    lines = lines_of(body, owners=owners, prices=prices, policy=policy)
    held = [line for line in lines if line.kind in ledger.HOLDERS]
    assert sum(line.energy_mj or 0 for line in held) == sum(each.energy_mj or 0 for each in body.holdings)
    for gpu in body.gpus:
        free = [line for line in lines if line.parent == gpu.uuid and line.kind in KINDS]
        found = sum(line.energy_mj or 0 for line in free)
        assert found == (gpu.idle_energy_mj or 0 if free else 0)
        assert all((line.energy_mj is None) == (gpu.idle_energy_mj is None) for line in free)
    rest = [line for line in lines if line.kind not in ledger.HOLDERS | KINDS]
    assert all(line.energy_mj is None for line in rest)


@quick
@given(metered(), st.integers(1, HOUR_MS - 1))
def test_two_agents_who_watched_one_after_the_other_lose_nothing(body: NodeHour, border: int):
    """Each with its own records up to the border and after it: merged they are what one agent had."""
    first, second = part(body, 0, border, "a"), part(body, border, HOUR_MS, "b")
    merged = merge([second, first])
    assert sum(each.energy_mj or 0 for each in merged.holdings) == sum(
        each.energy_mj or 0 for half in (first, second) for each in half.holdings
    )
    for gpu in merged.gpus:
        parts = [each.idle_energy_mj for half in (first, second) for each in half.gpus if each.uuid == gpu.uuid]
        known = [each for each in parts if each is not None]
        assert gpu.idle_energy_mj == (sum(known) if known else None)


def part(body: NodeHour, start: int, end: int, instance: str) -> NodeHour:
    """What an agent that ran in [start, end) alone would have said."""

    def inside(spans: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        return tuple((max(a, start), min(b, end)) for a, b in spans if max(a, start) < min(b, end))

    def clipped(records: tuple) -> tuple:
        return tuple(
            replace(each, start=max(each.start, start), end=min(each.end, end))
            for each in records
            if max(each.start, start) < min(each.end, end)
        )

    return replace(
        body,
        instance=instance,
        started=start,
        gpus=tuple(
            replace(
                gpu,
                observed=inside(gpu.observed),
                unhealthy=inside(gpu.unhealthy),
                layouts=clipped(gpu.layouts),
                idle_energy_mj=gpu.idle_energy_mj if inside(gpu.observed) else None,
            )
            for gpu in body.gpus
        ),
        instances=clipped(body.instances),
        holdings=tuple(piece for each in body.holdings for piece in cut(each, ((start, end),))),
    )


def card(**changes: object) -> Gpu:
    layout = Layout(start=0, end=HOUR_MS, mig=False, shares=1)
    known = Gpu(uuid="GPU-0", model=MODEL, memory_mib=81_920, observed=((0, HOUR_MS),), layouts=(layout,))
    return replace(known, **changes)  # type: ignore[arg-type]


def hour(gpu: Gpu, *holdings: Holding, started: int = 1) -> NodeHour:
    return NodeHour(cluster="lab", node="n1", hour=HOUR, started=started, gpus=(gpu,), holdings=holdings)


def held(start: int, end: int, **changes: object) -> Holding:
    known = Holding(device="GPU-0", shares=(0,), start=start, end=end, namespace="a", pod="p", container="main")
    return replace(known, **changes)  # type: ignore[arg-type]


def test_where_two_agents_saw_the_same_the_later_one_is_believed():
    older = hour(card(idle_energy_mj=800), held(0, HALF_MS, energy_mj=1_000))
    newer_card = card(
        observed=((HALF_MS, HOUR_MS),),
        layouts=(Layout(start=HALF_MS, end=HOUR_MS, mig=False),),
        idle_energy_mj=50,
    )
    newer = hour(newer_card, held(HALF_MS, HOUR_MS, energy_mj=7), started=2)
    merged = merge([older, newer])
    assert [each.energy_mj for each in merged.holdings] == [1_000, 7]
    assert merged.gpus[0].idle_energy_mj == 400 + 50


def test_energy_of_a_holding_that_the_second_meter_takes_away_is_idle():
    """A pod that was over at half past: what its card took from there on was for nobody."""
    body = hour(card(idle_energy_mj=100), held(0, HOUR_MS, energy_mj=1_000))
    left = tuple(cut(body.holdings[0], ((0, HALF_MS),)))
    lines = lines_of(body, held=left, owners=OwnerBook([]), prices=PriceBook([], []), policy=Policy())
    assert {line.kind: line.energy_mj for line in lines} == {ledger.HELD: 500, ledger.FREE: 600}


def test_idle_energy_needs_free_capacity_to_lie_on():
    body = hour(card(idle_energy_mj=100), held(0, HOUR_MS, energy_mj=1_000))
    lines = lines_of(body, owners=OwnerBook([]), prices=PriceBook([], []), policy=Policy())
    assert [line.energy_mj for line in lines if line.kind == ledger.HELD] == [1_000]


def test_the_aggregator_reads_the_energy_that_the_agent_wrote():
    gpu = wire.Gpu(
        uuid="GPU-0", model=MODEL, memory_mib=81_920, observed=[(0, HOUR_MS)], energy_mj=1_100, idle_energy_mj=100
    )
    holding = wire.Holding(
        device="GPU-0", shares=[0], start=0, end=HOUR_MS, namespace="a", pod="p", container="main",
        resource="nvidia.com/gpu", source="device-plugin", evidence="exclusive", energy_mj=1_000,
    )  # fmt: skip
    written = wire.NodeHour(
        v=1, cluster="lab", node="n1", instance="i", started=1, seq=1, hour="2026-10-01T12Z", through=HOUR_MS,
        final=True, gpus=[gpu], holdings=[holding],
    )  # fmt: skip
    read = read_body(wire.encode(written))
    assert (read.gpus[0].idle_energy_mj, read.holdings[0].energy_mj) == (100, 1_000)
    old = wire.encode(written).replace(b',"idle_energy_mj":100', b"")
    assert read_body(old).gpus[0].idle_energy_mj is None
