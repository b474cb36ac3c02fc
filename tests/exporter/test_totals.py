"""Totals since the start, for the counters: held and idle seconds of a device are its observed ones."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.meter import Meter
from exporter.sight import Claimant, Sight, UnknownHolding
from exporter.totals import KEEPS_MS, Totals
from tests.exporter.builders import HOUR_MS, NOON_MS, card, holding, instance, sight

BEAT_MS = 10_000
HOLDS_MS = 3 * BEAT_MS


def meter() -> Meter:
    return Meter(beat_ms=BEAT_MS)


@dataclass(frozen=True)
class Day:
    """Beats with growing times (ms after noon) and what each saw."""

    beats: tuple[tuple[int, Sight], ...]


@st.composite
def sights(draw: st.DrawFn) -> Sight:
    """A node of one whole or shared card and one in MIG mode, held anyhow. Cards never leave the sight."""
    shares = draw(st.integers(1, 3))
    counters = st.none() | st.integers(0, 10**6)
    whole = card("GPU-a", shares=shares, energy_mj=draw(counters))
    count = draw(st.integers(0, 3))
    parts = tuple(instance(f"MIG-{n}", ordinal=n, shares=draw(st.integers(1, 2))) for n in range(count))
    cut = card("GPU-m", index=1, mig=True, instances=parts, energy_mj=draw(counters))
    slots = [("GPU-a", n) for n in range(shares)] + [(each.uuid, n) for each in parts for n in range(each.shares)]
    holdings = [
        holding(
            pod,
            device,
            shares=(share,),
            evidence="equal",
        )
        for device, share in slots
        if (pod := draw(st.sampled_from(["", "a", "b"])))
    ]
    observed = draw(st.sampled_from([True, True, True, False]))
    return Sight(observed=observed, cards=(whole, cut), holdings=tuple(holdings) if observed else ())


@st.composite
def days(draw: st.DrawFn) -> Day:
    """Beats on time, late and missed, also across hours; no silence so long that totals are dropped."""
    steps = st.sampled_from([1, 7, BEAT_MS, BEAT_MS, BEAT_MS, BEAT_MS + 3, HOLDS_MS, HOLDS_MS + 1])
    at_ms = draw(st.sampled_from([0, 1, 1_234_567, HOUR_MS - 15_000, HOUR_MS - 1]))
    beats = []
    for seen in draw(st.lists(sights(), min_size=2, max_size=14)):
        beats.append((at_ms, seen))
        at_ms += draw(steps)
    return Day(tuple(beats))


@given(days())
def test_totals_balance(day: Day):
    """Of each device held + idle seconds are the observed ones."""
    metered = meter()
    for at_ms, seen in day.beats:
        metered.advance(seen, NOON_MS + at_ms)
    for uuid, device in metered.totals.devices.items():
        held_s = sum(each.held_s for (of, _), each in metered.totals.holders.items() if of == uuid)
        assert held_s + device.idle_s == pytest.approx(device.observed_s)


@given(days())
def test_no_total_ever_goes_down(day: Day):
    metered, last = meter(), {}
    for at_ms, seen in day.beats:
        metered.advance(seen, NOON_MS + at_ms)
        totals = metered.totals
        now = {("observed", uuid): each.observed_s for uuid, each in totals.devices.items()}
        now |= {("idle", uuid): each.idle_s for uuid, each in totals.devices.items()}
        now |= {("held", key): each.held_s for key, each in totals.holders.items()}
        now |= {("energy", key): each.energy_mj or 0 for key, each in totals.holders.items()}
        now |= {("idle energy", uuid): energy_mj for uuid, energy_mj in totals.idle_energy_mj.items()}
        assert all(now[key] >= value for key, value in last.items())
        last = now


@given(days())
def test_energy_of_holders_and_idle_is_what_the_accounts_have(day: Day):
    metered, accounts = meter(), []
    for at_ms, seen in day.beats:
        accounts += metered.advance(seen, NOON_MS + at_ms)
    saved = metered.save()
    assert saved is not None
    written_mj = sum(each.energy_mj or 0 for account in (*accounts, saved.account) for each in account.cards.values())
    held_mj = sum(each.energy_mj or 0 for each in metered.totals.holders.values())
    assert held_mj + sum(metered.totals.idle_energy_mj.values()) == written_mj


def test_totals_of_holders_long_gone_are_dropped():
    metered = meter()
    metered.advance(sight(holdings=[holding()]), NOON_MS)
    for at_ms in range(BEAT_MS, 20 * 60_000, BEAT_MS):
        metered.advance(sight(), NOON_MS + at_ms)
        assert metered.totals.devices["GPU-a"].observed_s == at_ms / 1000
    assert metered.totals.holders == {}
    assert metered.totals.devices["GPU-a"].idle_s == pytest.approx(19 * 60 + 40)


def test_a_shared_card_counts_by_parts_and_a_card_in_mig_mode_is_no_device():
    shared = holding("a", shares=(0,), evidence="equal"), holding("b", shares=(1, 2), evidence="equal")
    cut = card("GPU-m", index=1, mig=True, instances=(instance(),))
    seen = Sight(observed=True, cards=(card(shares=4), cut), holdings=shared)
    metered = meter()
    metered.advance(seen, NOON_MS)
    metered.advance(seen, NOON_MS + 20_000)
    held = {key[1][1]: each.held_s for key, each in metered.totals.holders.items()}
    assert held == {"a": 5.0, "b": 10.0}
    assert {uuid: each.idle_s for uuid, each in metered.totals.devices.items()} == {"GPU-a": 5.0, "MIG-a": 20.0}


def test_a_silent_card_that_nobody_holds_is_not_idle():
    metered = meter()
    for at_ms in (0, BEAT_MS):
        metered.advance(sight(card(healthy=False)), NOON_MS + at_ms)
    assert (metered.totals.devices["GPU-a"].observed_s, metered.totals.devices["GPU-a"].idle_s) == (10.0, 0.0)


def test_who_holds_a_share_is_busy_with_his_part_of_the_device():
    """As he holds his part of it: who keeps all of it busy was busy all the time, and not four times that."""
    metered = meter()
    seen = sight(card(shares=4), holdings=[holding("p", shares=(1,), evidence="equal", busy_ppm=500_000)])
    for at_ms in (0, BEAT_MS):
        metered.advance(seen, NOON_MS + at_ms)
    (held,) = metered.totals.holders.values()
    assert (held.held_s, held.busy_s) == (2.5, 1.25)


def test_busy_time_that_was_never_known_is_unknown():
    metered = meter()
    for at_ms in (0, BEAT_MS):
        metered.advance(sight(holdings=[holding("p"), holding("q", busy_ppm=0)]), NOON_MS + at_ms)
    assert {key[1][1]: each.busy_s for key, each in metered.totals.holders.items()} == {"p": None, "q": 0.0}


def test_a_device_that_no_card_here_has_counts_for_its_holder_once_by_whatever_claims():
    """Its series must stay one; a while after its end it is dropped."""
    totals = Totals()
    one, other = (
        UnknownHolding(
            device="vfio-0", holder=Claimant(namespace="t", pod="p", container="c", resource="r", claim=name)
        )
        for name in ("t/one", "t/other")
    )
    totals.add(Sight(observed=True, unknown=(one, other)), BEAT_MS, now_ms=NOON_MS)
    totals.add(Sight(observed=False, unknown=(one,)), BEAT_MS, now_ms=NOON_MS)
    assert {key: held.held_s for key, held in totals.unknown.items()} == {("vfio-0", "r", ("t", "p", "c")): 10.0}
    totals.add(Sight(observed=True), BEAT_MS, now_ms=NOON_MS + KEEPS_MS + 1)
    assert totals.unknown == {}
