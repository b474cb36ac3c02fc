"""The laws of the ledger with the second meter, for arbitrary bodies, pod lives, nodes, cordons and shared cards."""

from __future__ import annotations

import random
from dataclasses import replace
from fractions import Fraction

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargeback.core.existence import exist
from chargeback.core.hours import HOUR_MS, rating_intervals
from chargeback.core.lines import Line
from chargeback.core.lives import PodLife, PodSlot
from chargeback.core.metered import Metered
from chargeback.core.money import whole_micros
from chargeback.core.node_hour import Holding, NodeHour
from chargeback.core.owners.owners import OwnerBook
from chargeback.core.pods import Ask, GroupPart, OwnerLabels
from chargeback.core.policy import Policy
from chargeback.core.prices.book import Asked, PriceBook
from chargeback.core.prices.entries import Place
from chargeback.core.spans import intersect, length, subtract, union
from tests.chargeback.core.drawn import (
    HOUR,
    MODEL,
    NAMESPACES,
    instants,
    node_hours,
    owner_books,
    policies,
    price_books,
    spans,
)
from tests.chargeback.core.two_meters import GPU, MINUTE_MS, Told, unix

START_MS = HOUR * HOUR_MS
RESERVATIONS = "kai-resource-reservation"
# Much is drawn for one example: on a busy machine that may take long, and is no fault.
slow = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])

labels = st.builds(
    OwnerLabels,
    cost_center=st.sampled_from((None, None, "cc-pod")),
    tier=st.sampled_from((None, None, "spot", "critical")),
)
around = st.integers(-2 * HOUR_MS, 2 * HOUR_MS)


@st.composite
def lives(draw: st.DrawFn, namespace: str, pod: str, slots: tuple[PodSlot, ...], number: int = 0) -> PodLife:
    """A life of a name: bound, ended, certain and seen whenever."""
    bound = draw(around)
    ended = draw(st.none() | st.integers(bound, 2 * HOUR_MS))
    alive = draw(st.integers(bound, 2 * HOUR_MS if ended is None else ended))
    seen = draw(st.none() | st.integers(bound, 2 * HOUR_MS)) if slots else None
    return PodLife(
        namespace=namespace,
        pod=pod,
        uid=f"{namespace}/{pod}/{number}",
        bound_ms=START_MS + bound,
        alive_ms=START_MS + alive,
        ended_ms=None if ended is None else START_MS + ended,
        seen_ms=None if seen is None else START_MS + seen,
        slots=slots if seen is not None else (),
        asks=(Ask(container="main", resource=GPU, count=draw(st.integers(1, 2))),),
        labels=draw(labels),
    )


def near(holding: Holding, life: PodLife, start: int, end: int | None) -> PodLife:
    """The life, about as long as its holding: as it is where nothing is wrong."""
    ended = None if end is None else START_MS + holding.end + end
    bound = START_MS + holding.start + start
    return replace(
        life,
        bound_ms=bound,
        ended_ms=ended,
        alive_ms=START_MS + HOUR_MS if ended is None else max(ended - 1000, bound),
    )


@st.composite
def shared_out(draw: st.DrawFn, holding: Holding) -> tuple[Holding, list[PodLife]]:
    """A holding that is a reservation's, with up to three pods behind it."""
    group = f"g-{holding.pod}"
    held = replace(holding, namespace=RESERVATIONS, claim=None)
    own = draw(lives(RESERVATIONS, holding.pod, ()))
    found = [replace(own, part=GroupPart(groups=(group,), container="main"), asks=())]
    for number in range(draw(st.integers(0, 3))):
        user = draw(lives(draw(st.sampled_from(NAMESPACES)), f"user-{number}-{holding.pod}", ()))
        portion = draw(st.none() | st.fractions(Fraction(1, 10), Fraction(3, 2), max_denominator=10))
        memory = draw(st.integers(1, 100_000)) if portion is None else None
        part = GroupPart(groups=(group,), container="main", portion=portion, memory_mib=memory)
        found.append(replace(user, part=part, asks=()))
    return held, found


def _shared(holding: Holding, holdings: tuple[Holding, ...]) -> bool:
    """Whether another holds its slot meanwhile: agents never name two holders of one, but consumers of a claim."""
    return any(
        other is not holding
        and (other.device, other.shares) == (holding.device, holding.shares)
        and intersect(((other.start, other.end),), ((holding.start, holding.end),))
        for other in holdings
    )


@st.composite
def told(draw: st.DrawFn, *, reservations: bool = True) -> Told:
    """A node's hour as agents and the API tell it, after an hour before."""
    body, earlier = draw(node_hours(again=False)), draw(node_hours())
    before = exist(HOUR, [earlier], earlier, []).known if draw(st.booleans()) else ()
    holdings: list[Holding] = []
    found: list[PodLife] = []
    for holding in body.holdings:
        if reservations and not _shared(holding, body.holdings) and draw(st.booleans()):
            held, behind = draw(shared_out(holding))
            holdings.append(held)
            found += behind
            continue
        holdings.append(holding)
        slot = PodSlot(
            container="main", device=holding.device, shares=holding.shares, resource="", claim=holding.claim
        )
        for number in range(draw(st.integers(0, 2))):
            life = draw(lives(holding.namespace, holding.pod, draw(st.sampled_from(((), (slot,)))), number))
            if draw(st.booleans()):
                end = draw(st.none() | st.integers(-10 * MINUTE_MS, 10 * MINUTE_MS))
                life = near(holding, life, draw(st.integers(-MINUTE_MS, 5_000)), end)
            found.append(life)
    for number in range(draw(st.integers(0, 2))):
        found.append(draw(lives(draw(st.sampled_from(NAMESPACES)), f"unseen-{number}", ())))
    held_before = [(slot.device, share, life.uid) for life in found for slot in life.slots for share in slot.shares]
    return Told(
        gpus=body.gpus,
        instances=body.instances,
        saw=tuple(holdings),
        lives=tuple(found),
        before=tuple(replace(each, last_observed_ms=each.last_observed_ms - HOUR_MS) for each in before),
        held=tuple(draw(st.lists(st.sampled_from(held_before), unique=True))) if held_before else (),
        followed=draw(around) / MINUTE_MS,
        present=draw(st.none() | spans()),
        cordoned=draw(st.just(()) | spans()),
    )


@slow
@given(told(), owner_books(), price_books(), policies)
def test_conservation(told: Told, owners: OwnerBook, prices: PriceBook, policy: Policy) -> None:
    """Laws 1 and 5: however the meters differ, each card's lines are its time exactly, and its money to the micro."""
    lines, problems = told.rated(owners, prices, policy)
    assert {problem.kind for problem in problems} <= {"unplaced", "overcommitted"}
    existence = told.existence()
    for interval in rating_intervals(HOUR, policy.timezone):
        within = ((interval.start, interval.end),)
        cards = sorted(gpu.uuid for gpu in existence.gpus if intersect(existence.spans[gpu.uuid], within))
        for gpu in existence.gpus:
            mine = [
                line
                for line in lines
                if line.parent == gpu.uuid and interval.start <= line.start_ms - START_MS < interval.end
            ]
            existed = length(intersect(existence.spans[gpu.uuid], within))
            if not existed:
                assert not mine
                continue
            place = Place(cluster="lab", cards=tuple(cards))
            during = {"start_ms": START_MS + interval.start, "end_ms": START_MS + interval.end}
            rate = prices.list_rate(Asked(model=MODEL, place=place, card=gpu.uuid, **during))
            assert rate is not None
            assert sum(Fraction(line.gpu_ms_num, line.ms_den) for line in mine) == existed
            assert sum(line.list_micros or 0 for line in mine) == whole_micros(rate.hourly * existed / HOUR_MS)
            assert sum(line.amount_micros or 0 for line in mine) == sum(line.list_micros or 0 for line in mine)
    assert len({line.line_id for line in lines}) == len(lines)


@slow
@given(told(), st.randoms(use_true_random=False))
def test_the_order_in_which_things_are_told_does_not_matter(told: Told, chance: random.Random) -> None:
    """Law 2: neither of holdings nor of lives."""
    saw, found = list(told.saw), list(told.lives)
    chance.shuffle(saw)
    chance.shuffle(found)
    shuffled = replace(told, saw=tuple(saw), lives=tuple(found)).metered()
    metered = told.metered()
    assert sorted(shuffled.holdings, key=repr) == sorted(metered.holdings, key=repr)
    assert (shuffled.held, shuffled.differences) == (metered.held, metered.differences)
    assert sorted(shuffled.sights, key=repr) == sorted(metered.sights, key=repr)


@slow
@given(told())
def test_the_second_meter_adds_only_where_nobody_is(told: Told) -> None:
    """What it adds lies in its pod's life and its card's existence, and on no slot that another holds meanwhile."""
    metered, existence = told.metered(), told.existence()
    first_seen = {sight.uid: sight.at_ms for sight in metered.sights}
    window = {}
    for life in told.lives:
        seen_ms = first_seen.get(life.uid, life.seen_ms or 0)
        known_ms = life.alive_ms if seen_ms >= (life.ended_ms or 2**60) else max(life.alive_ms, seen_ms)
        again = [
            holding.start
            for holding in metered.holdings
            if holding.evidence != "api" and (holding.namespace, holding.pod) == life.name
            if START_MS + holding.start < (life.ended_ms or 2**60)
        ]
        window[life.uid] = ((life.bound_ms - START_MS, max(known_ms - START_MS, *again, 0)),)
    card_of = {gpu.uuid: gpu.uuid for gpu in existence.gpus} | {i.uuid: i.gpu for i in existence.instances}
    for number, added in enumerate(metered.holdings):
        if added.evidence != "api":
            continue
        span = ((added.start, added.end),)
        assert added.pod_uid is not None
        assert not subtract(span, window[added.pod_uid])
        assert not subtract(span, existence.spans[card_of[added.device]])
        for other_number, other in enumerate(metered.holdings):
            mates = added.claim is not None and added.claim == other.claim
            if other_number != number and other.device == added.device and other.shares == added.shares and not mates:
                assert not intersect(span, ((other.start, other.end),))


@slow
@given(told())
def test_the_second_meter_takes_only_between_an_end_and_the_next_bind(told: Told) -> None:
    """Of what agents saw all the rest is there, with its busy time; what is taken is told as a difference."""
    metered = told.metered()
    taken_ms = 0
    for saw in told.saw:
        left = union(
            (h.start, h.end)
            for h in metered.holdings
            if h.evidence != "api"
            and (h.device, h.shares, h.holder) == (saw.device, saw.shares, saw.holder)
            and saw.start <= h.start
            and h.end <= saw.end
        )
        taken = subtract(((saw.start, saw.end),), left)
        taken_ms += length(taken) * len(saw.shares)
        for start, end in taken:
            mine = [life for life in told.lives if life.name == (saw.namespace, saw.pod)]
            assert any(life.ended_ms is not None and life.ended_ms - START_MS <= start for life in mine)
            assert START_MS + end <= unix(told.followed)
            alive = union((x.bound_ms - START_MS, (x.ended_ms or 2**60) - START_MS) for x in mine)
            assert not intersect(((start, end),), alive)
    assert metered.differences.get("late", 0) == taken_ms


def slots_of(metered: Metered, pod: str) -> set[tuple[str, int]]:
    return {(h.device, share) for h in metered.holdings if h.pod == pod for share in h.shares}


@slow
@given(told(reservations=False), owner_books(), price_books(), policies, st.data())
def test_no_stranger_pays(
    told: Told, owners: OwnerBook, prices: PriceBook, policy: Policy, data: st.DataObject
) -> None:
    """Law 9: however one pod's life changes, what agents saw of others costs the same to the micro, and so does what
    is added to them on slots that this pod was never on. Where none can be told from another, the guess may move."""
    if not told.lives:
        return
    told = replace(told, saw=tuple(replace(h, claim=None) for h in told.saw))
    policy = replace(policy, sharing="configured")
    old = data.draw(st.sampled_from(told.lives))
    new = replace(data.draw(lives(old.namespace, old.pod, old.slots)), uid=old.uid)
    changed = replace(told, lives=tuple(new if life is old else life for life in told.lives))
    touched = slots_of(told.metered(), old.pod) | slots_of(changed.metered(), old.pod)
    guessed = {life.pod for life in told.lives if life.pod.startswith("unseen")} | unseen(told) | unseen(changed)

    def others(case: Told) -> list[Line]:
        lines, _ = case.rated(owners, prices, policy)
        return [
            line
            for line in lines
            if line.pod
            and line.pod != old.pod
            and (
                not line.evidence.startswith("api")
                or (line.pod not in guessed and not _on(line, touched | freed(case)))
            )
        ]

    def freed(case: Told) -> set[tuple[str, int]]:
        """Slots that a guess took: it may keep others off."""
        return {slot for pod in guessed for slot in slots_of(case.metered(), pod)}

    def _on(line: Line, slots: set[tuple[str, int]]) -> bool:
        return any((line.device, int(share)) in slots for share in line.shares.split(","))

    assert others(changed) == others(told)


def unseen(told: Told) -> set[str]:
    """Pods of which no agent saw anything: whatever they have is a guess."""
    seen = {h.pod for h in told.saw}
    return {life.pod for life in told.lives if life.pod not in seen or life.seen_ms is None}


@slow
@given(told(), price_books(), instants, instants)
def test_pods_of_another_group_are_never_touched(told: Told, prices: PriceBook, bound: int, alive: int) -> None:
    """Law 9: who comes to share one card changes nothing on any other."""
    reserved = [h for h in told.saw if h.namespace == RESERVATIONS]
    if not reserved or bound >= alive:
        return
    device = reserved[0].device
    comer = PodLife(
        namespace="a",
        pod="comer",
        uid="comer",
        bound_ms=START_MS + bound,
        alive_ms=START_MS + alive,
        part=GroupPart(groups=(f"g-{reserved[0].pod}",), container="main", portion=Fraction(1, 3)),
    )
    joined = replace(told, lives=(*told.lives, comer))

    def elsewhere(case: Told) -> list[Line]:
        lines, _ = case.rated(prices=prices)
        parent = {i.uuid: i.gpu for i in case.existence().instances}.get(device, device)
        return [line for line in lines if line.device != device and (line.parent != parent or line.pod)]

    assert elsewhere(joined) == elsewhere(told)


@slow
@given(node_hours(), owner_books(), price_books(), policies)
def test_an_api_that_knows_no_pod_changes_nothing(
    body: NodeHour, owners: OwnerBook, prices: PriceBook, policy: Policy
) -> None:
    """Without lives the agents' word is all, and the lines are those of one meter."""
    case = Told(gpus=body.gpus, instances=body.instances, saw=body.holdings)
    metered = case.metered()
    assert sorted(metered.holdings, key=repr) == sorted(body.holdings, key=repr)
    assert (metered.held, metered.sights, metered.differences, metered.problems) == ((), (), {}, ())
