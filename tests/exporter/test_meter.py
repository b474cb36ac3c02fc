"""The meter: what is watched is accounted for once, exactly, wherever hours, silences and restarts fall."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargeback.bodies import read_body
from exporter import wire
from exporter.account import Account
from exporter.meter import HOLDS_BEATS, Identity, Meter, Saved, body, hour_name
from exporter.sight import PPM, Card, Claimant, SeenHolding, SeenUse, Sight
from tests.exporter.builders import HOUR_MS, NOON_MS, card, holding, instance, sight

BEAT_MS = 600_000  # the longest: so a few beats cross an hour
SECOND_MS = 1_000
IDENTITY = Identity(cluster="lab", node="n1", instance="1" * 32, started_ms=NOON_MS)

Beat = tuple[Sight, int]


@dataclass(slots=True)
class Ledger:
    """What a meter was shown and wrote: the finished accounts, and the open one."""

    finished: list[Account] = field(default_factory=list)
    open: Account | None = None

    def bodies(self) -> list[wire.NodeHour]:
        accounts = [*self.finished, *([self.open] if self.open else [])]
        return [body(account, IDENTITY, seq=1) for account in accounts]


def metered(beats: Iterable[Beat], *, beat_ms: int = BEAT_MS, restarts: Sequence[int] = ()) -> Ledger:
    """Run a meter over beats; before those in `restarts` a new one goes on from the state as the spool has it."""
    meter, ledger = Meter(beat_ms=beat_ms), Ledger()
    for number, (seen, at_ms) in enumerate(beats):
        if number in restarts:
            meter = Meter(beat_ms=beat_ms, saved=after_spool(meter.save()))
        ledger.finished += [
            msgspec.json.decode(msgspec.json.encode(a), type=Account) for a in meter.advance(seen, at_ms)
        ]
    saved = after_spool(meter.save())
    ledger.open = saved.account if saved else None
    return ledger


def after_spool(saved: Saved | None) -> Saved | None:
    return msgspec.json.decode(msgspec.json.encode(saved), type=Saved | None)


def only_body(*beats: Beat, beat_ms: int = 10 * SECOND_MS) -> wire.NodeHour:
    (found,) = metered(beats, beat_ms=beat_ms).bodies()
    return found


def every(seen: Sight, *seconds: float) -> list[Beat]:
    return [(seen, NOON_MS + round(second * SECOND_MS)) for second in seconds]


# Arbitrary nodes: a whole card that may be shared, one that may be in MIG mode, either silent, the kubelet too.


def claimants(names: str, claim: str | None = None) -> list[Claimant]:
    source = "dra" if claim else "device-plugin"
    return [
        Claimant(namespace="team", pod=name, container="main", resource="nvidia.com/gpu", source=source, claim=claim)  # type: ignore[arg-type]
        for name in names
    ]


# Who may be on one slot: nobody, one of two, an unnamed one, or two who share a claim.
PARTIES = ([], claimants("a"), claimants("b"), [claimants("a")[0].nobody()], claimants("ab", claim="team/both"))


@st.composite
def sights(draw: st.DrawFn) -> Sight:
    shares = draw(st.sampled_from([1, 1, 3]))
    counters = st.none() | st.integers(0, 10**7)
    whole = card("GPU-a", shares=shares, healthy=draw(st.booleans()), energy_mj=draw(counters))
    instances = tuple(instance(f"MIG-{n}", ordinal=n) for n in draw(st.sets(st.integers(0, 2))))
    split = card("GPU-m", index=1, mig=draw(st.booleans()), instances=instances, healthy=draw(st.booleans()))
    split = msgspec.structs.replace(split, energy_mj=draw(counters))
    if not split.mig:
        split = msgspec.structs.replace(split, instances=())
    slots = [("GPU-a", share) for share in range(shares)] + [(each.uuid, 0) for each in split.instances]
    if not split.mig:
        slots.append(("GPU-m", 0))
    observed = draw(st.booleans() | st.just(True))
    return Sight(
        observed=observed,
        cards=(whole, split),
        holdings=tuple(draw(_holdings(slots))) if observed else (),
        uses=tuple(draw(_uses())) if observed else (),
    )


@st.composite
def _holdings(draw: st.DrawFn, slots: list[tuple[str, int]]) -> list[SeenHolding]:
    found = []
    for device, share in slots:
        party = draw(st.sampled_from(PARTIES))
        for holder in party:
            known = len(party) == 1 and holder.pod
            found.append(
                SeenHolding(
                    device=device,
                    shares=(share,),
                    holder=holder,
                    evidence="exclusive" if known else "equal",
                    pod_uid=draw(st.sampled_from([None, "1", "2"])) if known else None,
                    busy_ppm=draw(st.none() | st.integers(0, 1_000_000)) if known else None,
                    memory_bytes=draw(st.none() | st.integers(0, 2**40)) if known else None,
                )
            )
    return found


@st.composite
def _uses(draw: st.DrawFn) -> list[SeenUse]:
    containers = draw(st.sets(st.sampled_from(["host", "c1"])))
    ppm = st.none() | st.integers(0, 1_000_000)
    return [SeenUse(device="GPU-a", container=each, busy_ppm=draw(ppm)) for each in sorted(containers)]


STEPS_MS = (1, 7, SECOND_MS, BEAT_MS, BEAT_MS + 1, HOLDS_BEATS * BEAT_MS)  # within three beats
SILENCES_MS = (HOLDS_BEATS * BEAT_MS + 1, HOUR_MS, 5 * HOUR_MS + 1)
BACK_MS = (0, -1, -HOUR_MS)


@st.composite
def runs_of_beats(draw: st.DrawFn) -> list[Beat]:
    at_ms = NOON_MS + draw(st.integers(0, HOUR_MS - 1))
    beats = []
    for _ in range(draw(st.integers(1, 10))):
        beats.append((draw(sights()), at_ms))
        at_ms += draw(st.sampled_from((*STEPS_MS, *STEPS_MS, *SILENCES_MS, *BACK_MS)))
    return beats


def watched(beats: list[Beat]) -> list[tuple[Sight, int, int]]:
    """What the sampling rule says, worked out apart: each sight and the time for which it holds."""
    forward: list[Beat] = []
    for seen, at_ms in beats:
        if not forward or at_ms > forward[-1][1]:
            forward.append((seen, at_ms))
    held = []
    for (seen, at_ms), (_, next_ms) in itertools.pairwise(forward):
        if next_ms - at_ms <= HOLDS_BEATS * BEAT_MS:
            held.append((seen, at_ms, next_ms))
    return held


def absolute(found: wire.NodeHour, start: int, end: int) -> tuple[int, int]:
    base_ms = next(ms for ms in range(NOON_MS, NOON_MS + 200 * HOUR_MS, HOUR_MS) if hour_name(ms) == found.hour)
    return base_ms + start, base_ms + end


def joined(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Spans that touch become one; none may overlap."""
    found: list[tuple[int, int]] = []
    for start, end in sorted(spans):
        assert start < end
        assert not found or found[-1][1] <= start, "overlap"
        if found and found[-1][1] == start:
            found[-1] = (found[-1][0], end)
        else:
            found.append((start, end))
    return found


@given(runs_of_beats())
@settings(deadline=None, max_examples=60)
def test_observed_spans_tile_what_was_watched(beats: list[Beat]):
    """Of each card: observed is exactly the time that an observing sight held, whatever hours it crosses."""
    bodies = metered(beats).bodies()
    expected = joined((start, end) for seen, start, end in watched(beats) if seen.observed)
    for uuid in ("GPU-a", "GPU-m"):
        cards = [(found, gpu) for found in bodies for gpu in found.gpus if gpu.uuid == uuid]
        observed = [absolute(found, *span) for found, gpu in cards for span in gpu.observed]
        layouts = [absolute(found, each.start, each.end) for found, gpu in cards for each in gpu.layouts]
        assert joined(observed) == joined(layouts) == expected
        for _, gpu in cards:
            assert all(any(a <= start and end <= b for a, b in gpu.observed) for start, end in gpu.unhealthy)


@given(runs_of_beats())
@settings(deadline=None, max_examples=60)
def test_every_slot_is_at_each_moment_held_or_idle_or_in_a_gap(beats: list[Beat]):
    """Held + idle + gap = existence, with held as shown, held inside observed, and no slot held twice."""
    bodies = metered(beats).bodies()
    expected: Counter[tuple[str, int, Claimant]] = Counter()
    for seen, start, end in watched(beats):
        for each in seen.holdings:
            expected[each.device, each.shares[0], each.holder] += end - start
    found_ms: Counter[tuple[str, int, Claimant]] = Counter()
    for found in bodies:
        observed_ms = {gpu.uuid: sum(end - start for start, end in gpu.observed) for gpu in found.gpus}
        slots: dict[tuple[str, int], set[tuple[int, int, str | None]]] = {}
        for held in found.holdings:
            holder = Claimant(
                namespace=held.namespace,
                pod=held.pod,
                container=held.container,
                resource=held.resource,
                source=held.source,  # type: ignore[arg-type]
                claim=held.claim,
            )
            found_ms[held.device, held.shares[0], holder] += held.end - held.start
            slots.setdefault((held.device, held.shares[0]), set()).add((held.start, held.end, held.claim))
        for (device, _), spans in slots.items():
            held_ms = sum(end - start for start, end in joined((start, end) for start, end, _ in spans))
            idle_ms = observed_ms.get(device, observed_ms["GPU-m"]) - held_ms
            gap_ms = found.through - observed_ms.get(device, observed_ms["GPU-m"])
            assert min(idle_ms, gap_ms) >= 0
            assert held_ms + idle_ms + gap_ms == found.through
    assert found_ms == expected


@given(runs_of_beats())
@settings(deadline=None, max_examples=40)
def test_the_aggregator_takes_every_body(beats: list[Beat]):
    for found in metered(beats).bodies():
        read_body(wire.encode(found))


@given(runs_of_beats(), st.data())
@settings(deadline=None, max_examples=60)
def test_a_restart_anywhere_changes_no_byte(beats: list[Beat], data: st.DataObject):
    """However often an agent is cut off, from the spooled state its bodies are those of one that never was."""
    restarts = data.draw(st.lists(st.integers(1, len(beats)), max_size=4))
    uninterrupted = [wire.encode(found) for found in metered(beats).bodies()]
    assert [wire.encode(found) for found in metered(beats, restarts=restarts).bodies()] == uninterrupted


@given(runs_of_beats())
@settings(deadline=None, max_examples=60)
def test_busy_time_and_memory_are_exact(beats: list[Beat]):
    """The sums of all records are those of what was seen, rounded down once a record and nowhere else."""
    ledger = metered(beats)
    expected_busy = expected_memory = 0
    for seen, start, end in watched(beats):
        for each in seen.holdings:
            expected_busy += (each.busy_ppm or 0) * (end - start)
            expected_memory += (each.memory_bytes or 0) * (end - start)
    accounts = [*ledger.finished, *([ledger.open] if ledger.open else [])]
    spans = [span for account in accounts for span in account.holdings]
    assert sum(span.busy_ppm_ms or 0 for span in spans) == expected_busy
    assert sum(span.memory_byte_ms or 0 for span in spans) == expected_memory
    written = [each for found in ledger.bodies() for each in found.holdings]
    assert [each.busy_ms for each in written] == [
        None if span.busy_ppm_ms is None else span.busy_ppm_ms // 1_000_000 for span in spans
    ]
    assert all(each.busy_ms is None or 0 <= each.busy_ms <= each.end - each.start for each in written)


# Single cases


def test_time_is_accounted_for_when_the_next_beat_comes_never_ahead():
    assert only_body((sight(), NOON_MS)).through == 0
    assert only_body(*every(sight(), 0, 10)).gpus[0].observed == [(0, 10_000)]


def test_a_sight_holds_for_three_beats_and_no_longer():
    assert only_body(*every(sight(), 0, 30)).gpus[0].observed == [(0, 30_000)]
    silent = only_body(*every(sight(), 0, 30.001, 40))
    assert (silent.gpus[0].observed, silent.through) == ([(30_001, 40_000)], 40_000)


def test_an_agent_that_begins_in_mid_hour_has_seen_nothing_before():
    found = only_body(*every(sight(), 1800, 1810))
    assert (found.gpus[0].observed, found.through) == ([(1_800_000, 1_810_000)], 1_810_000)


def test_an_hour_is_final_when_a_beat_comes_after_its_end():
    ledger = metered(every(sight(holdings=[holding()]), 3590, 3605), beat_ms=10 * SECOND_MS)
    first, second = ledger.bodies()
    assert (first.hour, first.final, first.through) == ("2026-10-01T12Z", True, HOUR_MS)
    assert [(each.start, each.end) for each in first.holdings] == [(3_590_000, HOUR_MS)]
    assert (second.hour, second.final, second.through) == ("2026-10-01T13Z", False, 5_000)
    assert [(each.start, each.end) for each in second.holdings] == [(0, 5_000)]


def test_a_beat_on_the_border_ends_the_hour_with_nothing_yet_in_the_next():
    first, second = metered(every(sight(), 3590, 3600), beat_ms=10 * SECOND_MS).bodies()
    assert (first.final, first.gpus[0].observed) == (True, [(3_590_000, HOUR_MS)])
    assert (second.through, second.final, [gpu.uuid for gpu in second.gpus]) == (0, False, ["GPU-a"])


def test_after_a_long_silence_the_old_hour_is_final_and_unseen_hours_have_no_body():
    first, last = metered(every(sight(), 0, 10, 3 * 3600 + 60, 3 * 3600 + 70), beat_ms=10 * SECOND_MS).bodies()
    assert (first.hour, first.final, first.gpus[0].observed) == ("2026-10-01T12Z", True, [(0, 10_000)])
    assert (last.hour, last.final, last.gpus[0].observed) == ("2026-10-01T15Z", False, [(60_000, 70_000)])


def test_a_clock_set_back_drops_beats_until_time_has_passed():
    meter = Meter(beat_ms=10 * SECOND_MS)
    for seen, at_ms in every(sight(), 0, 10, 5, 10, 20):
        assert meter.advance(seen, at_ms) == []
    saved = meter.save()
    assert saved is not None
    found = body(saved.account, IDENTITY, seq=1)
    assert (found.gpus[0].observed, meter.steps_back) == ([(0, 20_000)], 1)


def test_a_dropped_beat_does_not_replace_what_was_seen():
    found = only_body(
        (sight(holdings=[holding("a")]), NOON_MS),
        (sight(holdings=[holding("b")]), NOON_MS - 1),
        (sight(), NOON_MS + 10_000),
    )
    assert [each.pod for each in found.holdings] == ["a"]


def test_a_card_that_vanishes_stays_listed_hour_after_hour():
    """Even one of which later sights say nothing: what existed for a moment is in every body of this process."""
    both, one = sight(card(), card("GPU-b", index=1)), sight(card())
    beats = [*every(both, 0, 10), *every(one, 20, 3600, 7200)]
    assert [[gpu.uuid for gpu in found.gpus] for found in metered(beats).bodies()] == [["GPU-a", "GPU-b"]] * 3


def test_a_silent_card_is_unhealthy_and_keeps_its_holding_with_usage_unknown():
    well = sight(card(), holdings=[holding(busy_ppm=500_000, memory_bytes=8_000)])
    ill = sight(card(healthy=False), holdings=[holding()])
    found = only_body(*every(well, 0, 10), *every(ill, 20), *every(well, 30, 40))
    assert (found.gpus[0].observed, found.gpus[0].unhealthy) == ([(0, 40_000)], [(20_000, 30_000)])
    assert [(each.start, each.end, each.busy_ms) for each in found.holdings] == [
        (0, 20_000, 10_000),
        (20_000, 30_000, None),
        (30_000, 40_000, 5_000),
    ]


def test_usage_is_rounded_down_at_the_end_only():
    """Three thirds of a millisecond are one."""
    found = only_body(*every(sight(holdings=[holding(busy_ppm=333_334, memory_bytes=1)]), 0, 0.001, 0.002, 0.003))
    assert [(each.busy_ms, each.memory_byte_seconds) for each in found.holdings] == [(1, 0)]


def test_the_greatest_memory_is_kept():
    seen = [sight(holdings=[holding(memory_bytes=each)]) for each in (5, 9, 7)]
    found = only_body(*((each, NOON_MS + n * 10_000) for n, each in enumerate([*seen, sight()])))
    assert [each.memory_peak_bytes for each in found.holdings] == [9]


def test_the_greatest_memory_between_beats_is_kept_where_it_is_known():
    peak = msgspec.structs.replace(holding(memory_bytes=5), memory_peak_bytes=50)
    found = only_body(*every(sight(holdings=[peak]), 0), *every(sight(holdings=[holding(memory_bytes=9)]), 10, 20))
    assert [(each.memory_peak_bytes, each.memory_byte_seconds) for each in found.holdings] == [(50, 140)]


def test_a_pod_uid_that_is_learnt_late_counts_for_the_whole_record():
    found = only_body(*every(sight(holdings=[holding()]), 0), *every(sight(holdings=[holding(pod_uid="u")]), 10, 20))
    assert [(each.start, each.end, each.pod_uid) for each in found.holdings] == [(0, 20_000, "u")]


def test_another_pod_of_the_same_name_is_another_record():
    first, second = (sight(holdings=[holding(pod_uid=uid)]) for uid in "uv")
    found = only_body(*every(first, 0), *every(second, 10, 20))
    assert [(each.start, each.pod_uid) for each in found.holdings] == [(0, "u"), (10_000, "v")]


def test_a_layout_ends_where_the_card_is_laid_out_anew():
    mig: Card = card(mig=True, instances=(instance("MIG-a"),))
    found = only_body(*every(sight(card(shares=4)), 0), *every(sight(mig), 10), *every(sight(card()), 20, 30))
    assert [(each.start, each.end, each.mig, each.shares) for each in found.gpus[0].layouts] == [
        (0, 10_000, False, 4),
        (10_000, 20_000, True, 1),
        (20_000, 30_000, False, 1),
    ]
    assert [(each.uuid, each.start, each.end) for each in found.instances] == [("MIG-a", 10_000, 20_000)]


def test_use_without_allocation_is_summed_by_container_and_unknown_once_is_unknown():
    def use(busy_ppm: int | None) -> Sight:
        return Sight(
            observed=True, cards=(card(),), uses=(SeenUse(device="GPU-a", container="c", busy_ppm=busy_ppm),)
        )

    found = only_body(*every(use(500_000), 0, 10, 20))
    assert [(each.container, each.busy_ms) for each in found.unallocated_use] == [("c", 10_000)]
    found = only_body(*every(use(500_000), 0), *every(use(None), 10), *every(use(500_000), 20, 30))
    assert [each.busy_ms for each in found.unallocated_use] == [None]


def test_of_more_containers_than_the_wire_takes_the_rest_is_one_a_device():
    """Short jobs beside the device plugin, each on all cards: their number must not have the hour refused."""
    cards = (card("GPU-a"), card("GPU-b"))

    def use(beat: int) -> Sight:
        containers = [f"{beat}-{number:02}" for number in range(10)]
        uses = tuple(SeenUse(device=c.uuid, container=each, busy_ppm=PPM) for c in cards for each in containers)
        return Sight(observed=True, cards=cards, uses=uses)

    found = only_body(*((use(beat), NOON_MS + beat * 10_000) for beat in range(301)))
    assert wire.decode(wire.encode(found)) == found
    assert sum(each.busy_ms or 0 for each in found.unallocated_use) == 300 * 20 * 10_000
    assert {each.device for each in found.unallocated_use if each.container is None} == {"GPU-a", "GPU-b"}


def test_without_a_beat_there_is_nothing_to_save():
    assert Meter(beat_ms=10_000).save() is None


@pytest.mark.parametrize(
    ("at_ms", "name"),
    [(NOON_MS, "2026-10-01T12Z"), (0, "1970-01-01T00Z"), (NOON_MS + 12 * HOUR_MS, "2026-10-02T00Z")],
)
def test_hours_are_named_in_utc(at_ms: int, name: str):
    assert hour_name(at_ms) == name
