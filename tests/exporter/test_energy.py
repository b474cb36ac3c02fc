"""Energy: the parts of a card's joules add up to them, and what is not known is nobody's."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter import wire
from exporter.energy import WATTS_MAX, Energy, between, grown, share_out, split
from exporter.sight import PPM, Card, SeenHolding, Sight
from tests.exporter.builders import NOON_MS, card, holding, instance, sight
from tests.exporter.test_meter import Beat, absolute, metered, only_body, runs_of_beats, watched

WHOLES = st.integers(0, 10**9)


@st.composite
def held_cards(draw: st.DrawFn) -> tuple[Card, list[SeenHolding]]:
    """A card of any layout, true or not, held by anyone in any way."""
    count = draw(st.integers(0, 4))
    instances = tuple(instance(f"MIG-{n}", ordinal=n, shares=draw(st.integers(1, 3))) for n in range(count))
    mig = draw(st.booleans())
    found = card(
        "GPU-a",
        mig=mig,
        shares=draw(st.integers(1, 4)),
        slices_max=draw(st.sampled_from([None, 2, 7])),
        instances=instances if mig else (),
    )
    holdings = [
        holding(
            draw(st.sampled_from("abc")),
            draw(st.sampled_from(["GPU-a", *(each.uuid for each in found.instances)])),
            shares=tuple(sorted(draw(st.sets(st.integers(0, 4), min_size=1, max_size=3)))),
            busy_ppm=draw(st.none() | st.integers(0, PPM)),
        )
        for _ in range(draw(st.integers(0, 5)))
    ]
    return found, holdings


def shared(found: Card, holdings: list[SeenHolding], whole_mj: int) -> Energy:
    return share_out(sight(found, holdings=holdings), {found.uuid: whole_mj})


@given(held_cards(), WHOLES)
def test_the_parts_of_a_cards_energy_are_the_whole(held: tuple[Card, list[SeenHolding]], whole_mj: int):
    """However a card is cut, shared, held and busy: no part is negative, and together they are what it took."""
    energy = shared(*held, whole_mj)
    parts = [energy.of_holding(at) for at in range(len(held[1]))]
    assert all(part is not None and part >= 0 for part in [*parts, energy.idle["GPU-a"]])
    assert sum(part or 0 for part in parts) + energy.idle["GPU-a"] == energy.cards["GPU-a"] == whole_mj


@given(WHOLES, st.lists(st.fractions(0, 1, max_denominator=1000), min_size=1, max_size=20).filter(any))
def test_a_split_is_fair_to_a_millijoule(total: int, weights: list[Fraction]):
    parts = split(total, weights)
    assert sum(parts) == total
    for part, weight in zip(parts, weights, strict=True):
        assert abs(part - total * weight / sum(weights)) < 1


@given(WHOLES, st.integers(1, 60_000), st.lists(st.integers(0, 60_000), max_size=5))
def test_parts_of_an_interval_are_the_whole(growth_mj: int, length_ms: int, cuts: list[int]):
    """Wherever it is cut, as hours do."""
    borders = sorted({0, length_ms, *(each for each in cuts if each < length_ms)})
    parts = [between({"GPU-a": growth_mj}, *span, length_ms)["GPU-a"] for span in itertools.pairwise(borders)]
    assert sum(parts) == growth_mj
    assert min(parts) >= 0


@given(runs_of_beats())
@settings(deadline=None, max_examples=60)
def test_a_node_hour_has_the_counters_growth_and_its_parts_add_up(beats: list[Beat]):
    """Of each card over all hours: what its counter grew by between sights that observed, and nothing else."""
    expected: Counter[str] = Counter()
    sights = {at_ms: seen for seen, at_ms in reversed(beats)}
    for seen, _, end in watched(beats):
        if seen.observed:
            expected.update(_growths(seen, sights[end]))
    found: Counter[str] = Counter()
    for body in metered(beats).bodies():
        held: Counter[str] = Counter()
        for each in body.holdings:
            held["GPU-a" if each.device == "GPU-a" else "GPU-m"] += each.energy_mj or 0
        for gpu in body.gpus:
            assert (gpu.energy_mj is None) == (gpu.idle_energy_mj is None)
            assert held[gpu.uuid] + (gpu.idle_energy_mj or 0) == (gpu.energy_mj or 0)
            found[gpu.uuid] += gpu.energy_mj or 0
    assert found == expected


def _growths(before: Sight, after: Sight) -> dict[str, int]:
    counters = {each.uuid: each.energy_mj for each in before.cards}
    return {
        each.uuid: each.energy_mj - then
        for each in after.cards
        if each.energy_mj is not None and (then := counters[each.uuid]) is not None and each.energy_mj >= then
    }


@given(runs_of_beats())
@settings(deadline=None, max_examples=40)
def test_a_holding_has_energy_for_all_of_its_time_or_none(beats: list[Beat]):
    """A record with energy lies where both ends of every interval had a counter that did not fall."""
    known: dict[str, list[tuple[int, int]]] = {"GPU-a": [], "GPU-m": []}
    sights = {at_ms: seen for seen, at_ms in reversed(beats)}
    for seen, start, end in watched(beats):
        for uuid in _growths(seen, sights[end]):
            known[uuid].append((start, end))
    for body in metered(beats).bodies():
        for each in body.holdings:
            start, end = absolute(body, each.start, each.end)
            spans = known["GPU-a" if each.device == "GPU-a" else "GPU-m"]
            covered = sum(max(0, min(end, b) - max(start, a)) for a, b in spans)
            assert covered == (0 if each.energy_mj is None else end - start)


# Single cases


def at(energy_mj: int | None, *holdings: SeenHolding, observed: bool = True, **changes: object) -> Sight:
    return sight(card(energy_mj=energy_mj, **changes), holdings=holdings, observed=observed)


def hour(*sights: Sight) -> wire.NodeHour:
    """One body of sights ten seconds apart."""
    return only_body(*((seen, NOON_MS + 10_000 * number) for number, seen in enumerate(sights)))


def energies(body: wire.NodeHour) -> list[tuple[str, int, int, int | None]]:
    return [(each.pod, each.start, each.end, each.energy_mj) for each in body.holdings]


def test_who_holds_a_card_alone_has_all_its_energy_busy_or_not():
    found = hour(at(5_000, holding(busy_ppm=0)), at(6_000, holding(busy_ppm=PPM)), at(9_500, holding()))
    assert energies(found) == [("train-0", 0, 20_000, 4_500)]
    assert (found.gpus[0].energy_mj, found.gpus[0].idle_energy_mj) == (4_500, 0)


def test_nobodys_energy_is_idle():
    found = hour(at(5_000), at(6_000))
    assert (found.gpus[0].energy_mj, found.gpus[0].idle_energy_mj) == (1_000, 1_000)


MIG = card("GPU-m", mig=True, instances=tuple(instance(f"MIG-{n}", ordinal=n) for n in range(3)))


@pytest.mark.parametrize(
    ("busy_ppm", "parts", "idle_mj"),
    [
        ((None, None), (1_000, 1_000), 5_000),
        ((PPM, None), (1_000, 1_000), 5_000),  # what is unknown is not idle
        ((0, 0), (1_000, 1_000), 5_000),
        ((PPM // 2, 0), (1_429, 928), 4_643),  # 1/14 for the work, 13/14 as held: 2/14 to each, 10/14 idle
        ((PPM, PPM), (1_714, 1_714), 3_572),
    ],
)
def test_two_of_seven_slices_pay_for_their_work_and_what_they_hold(busy_ppm, parts, idle_mj):
    holdings = [holding(f"pod-{n}", f"MIG-{n}", busy_ppm=each) for n, each in enumerate(busy_ppm)]
    energy = shared(MIG, holdings, 7_000)
    assert (tuple(energy.holdings), energy.idle["GPU-m"]) == (parts, idle_mj)


def test_shares_that_nobody_bought_are_idle_unless_their_device_is_busy():
    (part,) = shared(card(shares=4), [holding()], 1_000).holdings
    assert part == 250
    (part,) = shared(card(shares=4), [holding(busy_ppm=PPM)], 1_000).holdings
    assert part == 1_000


def test_holders_of_one_claim_have_equal_parts():
    assert tuple(shared(card(), [holding("a"), holding("b"), holding("c")], 1_000).holdings) == (334, 333, 333)


def test_a_card_given_away_whole_and_then_cut_is_shared_as_both_say():
    energy = shared(MIG, [holding("old", "GPU-m"), holding("new", "MIG-0")], 10_000)
    assert (tuple(energy.holdings), energy.idle["GPU-m"]) == ((7_000, 1_000), 2_000)


def test_a_counter_that_fell_back_makes_its_time_unknown_and_counts_on_from_there():
    """The driver was reloaded between the second beat and the third."""
    held = holding(busy_ppm=PPM)
    found = hour(at(5_000, held), at(6_000, held), at(40, held), at(340, held))
    assert energies(found) == [
        ("train-0", 0, 10_000, 1_000),
        ("train-0", 10_000, 20_000, None),
        ("train-0", 20_000, 30_000, 300),
    ]
    assert found.gpus[0].energy_mj == 1_300
    assert [each.busy_ms for each in found.holdings] == [10_000] * 3


def test_a_counter_that_jumps_is_not_believed():
    most_mj = WATTS_MAX * 11_000
    assert hour(at(0), at(most_mj)).gpus[0].energy_mj == most_mj
    assert hour(at(0), at(most_mj + 1)).gpus[0].energy_mj is None


def test_a_real_counters_step_is_believed_however_short_the_beat():
    """An H100's moves every 100 ms: a millisecond may have all of a step, and the next ones nothing."""
    survey = json.loads((Path(__file__).with_name("data") / "h100_survey.json").read_text())
    for _, step_mj in survey["static"]["energy_steps"]:
        beats = [(at(energy_mj, holding()), NOON_MS + n) for n, energy_mj in enumerate((0, step_mj, step_mj))]
        assert only_body(*beats).gpus[0].energy_mj == step_mj > 7_000


def test_a_card_that_never_tells_has_no_energy_and_its_holding_one_record():
    found = hour(at(None, holding()), at(None, holding()), at(None))
    assert energies(found) == [("train-0", 0, 20_000, None)]
    assert (found.gpus[0].energy_mj, found.gpus[0].idle_energy_mj) == (None, None)


def test_time_without_holders_observed_is_neither_held_nor_idle():
    found = hour(at(0, holding()), at(1_000, observed=False), at(3_000, holding()), at(6_000, holding()))
    assert found.gpus[0].energy_mj == 4_000
    assert energies(found) == [("train-0", 0, 10_000, 1_000), ("train-0", 20_000, 30_000, 3_000)]


def test_energy_across_an_hours_border_is_prorated():
    beats = [(at(0, holding()), NOON_MS - 1_000), (at(1_000, holding()), NOON_MS + 2_000)]
    first, second = metered(beats, beat_ms=10_000).bodies()
    assert [energies(first)[0][3], energies(second)[0][3]] == [333, 667]
    restarted = metered(beats, beat_ms=10_000, restarts=[1]).bodies()
    assert restarted == [first, second]


def test_a_kept_spool_goes_on_with_the_energy_of_its_last_beat():
    beats = [(at(energy, holding()), NOON_MS + 10_000 * n) for n, energy in enumerate((100, 300, 700))]
    (whole,) = metered(beats, beat_ms=10_000, restarts=[2]).bodies()
    assert whole.gpus[0].energy_mj == 600


def test_growth_needs_both_ends():
    assert grown(at(5), at(9), 10) == {"GPU-a": 4}
    assert grown(at(None), at(9), 10) == grown(at(5), at(None), 10) == grown(at(5), sight(card("GPU-b")), 10) == {}
