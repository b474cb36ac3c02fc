"""Both meters together, case by case. Times in minutes of the hour; the agent's word comes first in each call."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from chargeback.core.lives import PodSlot
from chargeback.core.pods import Ask, OwnerLabels
from tests.chargeback.core.two_meters import (
    GPU,
    SECOND,
    Told,
    card,
    instance,
    known,
    life,
    minutes,
    ms,
    saw,
    unix,
    who,
)


def test_without_an_api_the_agents_word_is_all() -> None:
    """Nobody knows the pods: nothing is clipped and nothing is filled."""
    metered = Told(gpus=(card(),), saw=(saw("p", 10, 50),), followed=0).metered()
    assert who(metered) == [("p", "GPU-1", 10, 50, "agent")]
    assert (metered.differences, metered.held, metered.sights) == ({}, (), ())


def test_a_holding_begins_when_its_pod_was_bound() -> None:
    """The agent saw it at its next beat."""
    metered = Told(gpus=(card(),), saw=(saw("p", 10.1, 60),), lives=(life("p", 10),)).metered()
    assert who(metered) == [("p", "GPU-1", 10, 10.1, "api"), ("p", "GPU-1", 10.1, 60, "agent")]
    assert minutes(metered) == {"early": pytest.approx(0.1)}
    assert metered.held == (("GPU-1", 0, "uid-p"),)
    assert [(sight.uid, sight.at_ms) for sight in metered.sights] == [("uid-p", unix(10.1))]


@pytest.mark.parametrize("bound", [10, 10 - SECOND])
def test_a_pod_that_was_first_seen_in_its_last_second(bound: float) -> None:
    """By the API, which has its end to the second, it may have been over before; but it was seen."""
    short = life("p", bound, 10 + SECOND, alive=10)
    metered = Told(gpus=(card(),), saw=(saw("p", 10 + SECOND / 4, 10 + 2 * SECOND),), lives=(short,)).metered()
    seen, end = pytest.approx(10 + SECOND / 4), pytest.approx(10 + SECOND)
    assert who(metered) == [("p", "GPU-1", pytest.approx(bound), seen, "api"), ("p", "GPU-1", seen, end, "agent")]


def test_a_finished_pod_that_an_old_kubelet_lists_ends_when_it_ended() -> None:
    """For the rest of the hour, with what it did prorated."""
    metered = Told(
        gpus=(card(),), saw=(saw("p", 0, 60, busy_ms=6_000),), lives=(life("p", -5, 20, seen=-5),)
    ).metered()
    assert who(metered) == [("p", "GPU-1", 0, 20, "agent")]
    assert metered.holdings[0].busy_ms == 2_000
    assert minutes(metered) == {"late": 40}
    assert metered.held == ()


@pytest.mark.parametrize("again", [False, True])
def test_the_kubelet_gives_to_one_container_after_the_other(again: bool) -> None:
    """A look may fall between them: what the second was given was its own from the bind, too, and stays so."""
    saws = (saw("p", 10.1, 60, container="actor"), saw("p", 10.2, 60, "GPU-2", container="learner"))
    told = Told(gpus=(card(), card("GPU-2")), saw=saws, lives=(life("p", 10),))
    metered = told.metered()
    if again:
        (sight,) = metered.sights
        metered = replace(told, lives=(replace(told.lives[0], seen_ms=sight.at_ms, slots=sight.slots),)).metered()
    assert who(metered) == [
        ("p", "GPU-1", 10, 10.1, "api"),
        ("p", "GPU-1", 10.1, 60, "agent"),
        ("p", "GPU-2", 10, 10.2, "api"),
        ("p", "GPU-2", 10.2, 60, "agent"),
    ]
    assert minutes(metered) == {"early": pytest.approx(0.3)}


def test_a_container_that_is_seen_elsewhere_later_was_not_there_before() -> None:
    """Nobody is billed for two cards in place of one."""
    saws = (saw("p", 0, 20), saw("p", 20, 60, "GPU-2"))
    metered = Told(gpus=(card(), card("GPU-2")), saw=saws, lives=(life("p", -5, seen=-5),)).metered()
    assert who(metered) == [("p", "GPU-1", 0, 20, "agent"), ("p", "GPU-2", 20, 60, "agent")]


def test_a_pod_that_lives_and_was_seen_to_hold_no_more() -> None:
    """The agent is believed, and the difference is told."""
    metered = Told(gpus=(card(),), saw=(saw("p", 0, 20),), lives=(life("p", -5, seen=-5),)).metered()
    assert (who(metered), minutes(metered)) == ([("p", "GPU-1", 0, 20, "agent")], {"freed": 40})


def test_a_pod_that_was_not_seen_between_two_sights() -> None:
    """A kubelet that has just begun lists nobody for a moment; what a container was given is its own for life."""
    saws = (saw("p", 0, 20), saw("p", 21, 60))
    metered = Told(gpus=(card(),), saw=saws, lives=(life("p", -5, seen=-5),)).metered()
    assert who(metered) == [
        ("p", "GPU-1", 0, 20, "agent"),
        ("p", "GPU-1", 20, 21, "api"),
        ("p", "GPU-1", 21, 60, "agent"),
    ]
    assert minutes(metered) == {"missed": 1}


@pytest.mark.parametrize("unseen", [5, 10])
def test_nor_in_the_second_in_which_it_ended(unseen: float) -> None:
    """By the API, which has its end to the second, it may have been over at minute 10; but it was seen once more."""
    again = 10 + SECOND / 2
    short = life("p", -5, 10 + SECOND, alive=10, seen=-5)
    metered = Told(gpus=(card(),), saw=(saw("p", 0, unseen), saw("p", again, 11)), lives=(short,)).metered()
    assert who(metered) == [
        ("p", "GPU-1", 0, unseen, "agent"),
        ("p", "GPU-1", unseen, pytest.approx(again), "api"),
        ("p", "GPU-1", pytest.approx(again), pytest.approx(10 + SECOND), "agent"),
    ]


def test_nor_where_the_moment_begins_the_hour() -> None:
    before = (("GPU-1", 0, "uid-p"),)
    metered = Told(gpus=(card(),), saw=(saw("p", 1, 60),), lives=(life("p", -5, seen=-5),), held=before).metered()
    assert who(metered) == [("p", "GPU-1", 0, 1, "api"), ("p", "GPU-1", 1, 60, "agent")]


def test_whoever_was_seen_there_between_keeps_it() -> None:
    saws = (saw("p", 0, 20), saw("q", 20, 21), saw("p", 21, 60))
    lives = (life("p", -5, seen=-5), life("q", 20, 21))
    metered = Told(gpus=(card(),), saw=saws, lives=lives).metered()
    assert sorted((pod, start, end) for pod, _, start, end, _ in who(metered)) == [
        ("p", 0, 20),
        ("p", 21, 60),
        ("q", 20, 21),
    ]


def test_and_in_the_hours_after() -> None:
    """It ended two hours ago."""
    metered = Told(gpus=(card(),), saw=(saw("p", 0, 60),), lives=(life("p", -130, -120, seen=-130),)).metered()
    assert (who(metered), minutes(metered)) == ([], {"late": 60})


def test_nothing_is_clipped_beyond_what_the_api_was_followed_to() -> None:
    """By then another pod of that name may hold it."""
    told = Told(gpus=(card(),), saw=(saw("p", 0, 60),), lives=(life("p", -5, 20, seen=-5),), followed=40)
    assert who(told.metered()) == [("p", "GPU-1", 0, 20, "agent"), ("p", "GPU-1", 40, 60, "agent")]


def test_what_comes_after_a_pods_end_and_was_not_followed_is_not_its_own() -> None:
    """Neither its labels nor its first sight: the pod of that name must be another one."""
    ended = life("p", 10, 20, labels=OwnerLabels(cost_center="cc-own"))
    metered = Told(gpus=(card(),), saw=(saw("p", 45, 60),), lives=(ended,), followed=40).metered()
    after = [holding for holding in metered.holdings if holding.start >= ms(45)]
    assert [holding.labels for holding in after] == [OwnerLabels()]
    assert metered.sights == ()


def test_fills_end_where_the_api_was_followed_to() -> None:
    """Nobody knows whether it lived on."""
    told = Told(
        gpus=(card(observed=((0, 20),)),), saw=(saw("p", 5, 20),), lives=(life("p", 5, alive=30),), followed=30
    )
    assert who(told.metered()) == [("p", "GPU-1", 5, 20, "agent"), ("p", "GPU-1", 20, 30, "api")]


def test_a_pod_made_anew_under_its_name() -> None:
    """The agent saw no break: what lies between the end and the next bind is taken out."""
    first, second = life("p", 0, 20, uid="u1"), life("p", 21, uid="u2")
    metered = Told(gpus=(card(),), saw=(saw("p", 0, 60),), lives=(first, second)).metered()
    assert who(metered) == [("p", "GPU-1", 0, 20, "agent"), ("p", "GPU-1", 21, 60, "agent")]
    assert metered.held == (("GPU-1", 0, "u2"),)
    assert [sight.uid for sight in metered.sights] == ["u1", "u2"]


def test_a_pod_made_anew_whose_end_is_not_known_exactly() -> None:
    """The first was gone by minute 25, and the second was bound at 21, so each has its own time and labels."""
    first = life("p", 0, 25, alive=15, uid="u1", labels=OwnerLabels(cost_center="cc-1"))
    second = life("p", 21, uid="u2", labels=OwnerLabels(cost_center="cc-2"))
    metered = Told(gpus=(card(), card("GPU-2")), saw=(saw("p", 0, 60),), lives=(first, second)).metered()
    assert who(metered) == [("p", "GPU-1", 0, 21, "agent"), ("p", "GPU-1", 21, 60, "agent")]
    assert [holding.labels.cost_center for holding in metered.holdings] == ["cc-1", "cc-2"]


def test_a_pod_made_anew_on_another_card() -> None:
    """Each life has the card it was seen on."""
    first, second = life("p", 0, 20, uid="u1"), life("p", 22, uid="u2")
    told = Told(
        gpus=(card(), card("GPU-2")), saw=(saw("p", 0, 20), saw("p", 22.1, 60, "GPU-2")), lives=(first, second)
    )
    assert who(told.metered()) == [
        ("p", "GPU-1", 0, 20, "agent"),
        ("p", "GPU-2", 22, 22.1, "api"),
        ("p", "GPU-2", 22.1, 60, "agent"),
    ]


def test_a_static_pods_mirror_that_was_made_anew() -> None:
    """The mirror is another object with the same start; the pod ran on, so nothing is clipped and none is unseen."""
    mirrors = [life("p", 0, 30, uid="u9"), life("p", 0, uid="u1")]
    for lives in (mirrors, [replace(mirrors[0], uid="u0"), mirrors[1]]):
        told = Told(gpus=(card(), card("GPU-2")), saw=(saw("p", 0, 60),), lives=tuple(lives))
        assert who(told.metered()) == [("p", "GPU-1", 0, 60, "agent")]


@pytest.mark.parametrize("skew", [-4 * SECOND, 4 * SECOND])
def test_clocks_that_differ_take_nothing_from_a_first_start(skew: float) -> None:
    """What the agent saw before the bind is the pod's; what lies before the sight is filled."""
    metered = Told(gpus=(card(),), saw=(saw("p", 10 + skew, 60),), lives=(life("p", 10),)).metered()
    assert metered.holdings[0].start == ms(min(10, 10 + skew))
    assert {holding.pod for holding in metered.holdings} == {"p"}
    assert metered.held == (("GPU-1", 0, "uid-p"),)


def test_a_short_pod_whose_node_is_behind_the_api() -> None:
    """Its end, by the kubelet's clock, lies before its bind, by the API server's: it was seen, once."""
    short = life("p", 10, 10 - 2 * SECOND, alive=10)
    told = Told(gpus=(card(), card("GPU-2")), saw=(saw("p", 10 - 5 * SECOND, 10 - 2 * SECOND),), lives=(short,))
    metered = told.metered()
    assert who(metered) == [("p", "GPU-1", pytest.approx(10 - 5 * SECOND), pytest.approx(10 - 2 * SECOND), "agent")]
    assert [sight.uid for sight in metered.sights] == ["uid-p"]


def test_what_an_agent_saw_long_before_a_bind_was_another_pod() -> None:
    """Of the same name, from before the API was followed: it lends the later one neither sight nor labels."""
    later = life("p", 50, labels=OwnerLabels(team="red"))
    metered = Told(gpus=(card(), card("GPU-2")), saw=(saw("p", 0, 10, "GPU-2"),), lives=(later,)).metered()
    assert ("p", "GPU-1", 50, 60, "api") in who(metered)
    assert metered.holdings[0].labels == OwnerLabels()
    assert metered.sights == ()


def test_what_an_agent_saw_up_to_a_bind_was_another_pod_too() -> None:
    """A StatefulSet's pod made anew within a beat, the first one over before the API was followed: as said above."""
    later = life("p", 50, labels=OwnerLabels(team="red"))
    metered = Told(gpus=(card(),), saw=(saw("p", 0, 60),), lives=(later,)).metered()
    assert [(h.start, h.labels.team) for h in metered.holdings] == [(0, None), (ms(50), "red")]
    assert [sight.at_ms for sight in metered.sights] == [unix(50)]


def test_a_bind_before_the_slots_previous_holder_ended() -> None:
    """The next pod holds only from there."""
    told = Told(
        gpus=(card(),),
        saw=(saw("old", 0, 20), saw("new", 20.2, 60)),
        lives=(life("old", -5, seen=-5), life("new", 15)),
    )
    assert who(told.metered()) == [
        ("new", "GPU-1", 20, 20.2, "api"),
        ("new", "GPU-1", 20.2, 60, "agent"),
        ("old", "GPU-1", 0, 20, "agent"),
    ]


def test_a_previous_holder_who_is_still_listed_at_the_first_sight() -> None:
    """Nothing before his time is the next one's, though that was bound before him."""
    told = Told(
        gpus=(card(shares=2),),
        saw=(saw("old", 10, 21), saw("new", 20, 60)),
        lives=(life("new", 5),),
    )
    assert [row for row in who(told.metered()) if row[4] == "api"] == []


def test_an_agent_that_was_blind_in_the_middle() -> None:
    """The pod's holding goes on through it."""
    told = Told(
        gpus=(card(observed=((0, 20), (30, 60))),), saw=(saw("p", 0, 20), saw("p", 30, 60)), lives=(life("p", 0),)
    )
    assert who(told.metered())[1] == ("p", "GPU-1", 20, 30, "api")
    assert minutes(told.metered()) == {"unobserved": 10}


def test_a_pod_that_ended_and_one_that_began_while_the_agent_was_blind() -> None:
    """Each has its own part; between them the slot is nobody's."""
    told = Told(
        gpus=(card(observed=((0, 20), (40, 60))),),
        saw=(saw("old", 0, 20), saw("new", 40, 60)),
        lives=(life("old", 0, 25), life("new", 30)),
    )
    assert [row for row in who(told.metered()) if row[4] == "api"] == [
        ("new", "GPU-1", 30, 40, "api"),
        ("old", "GPU-1", 20, 25, "api"),
    ]


def test_a_pod_that_was_no_longer_there_when_the_agent_looked_again() -> None:
    """It is filled to its end, and not into what was observed."""
    told = Told(gpus=(card(observed=((0, 20), (30, 60))),), saw=(saw("p", 0, 20),), lives=(life("p", 0),))
    assert who(told.metered()) == [("p", "GPU-1", 0, 20, "agent"), ("p", "GPU-1", 20, 30, "api")]


def test_two_consumers_of_one_claim_go_on_together() -> None:
    """They split the slot while nobody looks, as they did while somebody did."""
    claim = {"claim": "a/shared", "source": "dra"}
    told = Told(
        gpus=(card(observed=((0, 20),)),),
        saw=(saw("p", 0, 20, **claim), saw("q", 0, 20, **claim)),
        lives=(life("p", 0), life("q", 0, 40)),
    )
    assert [row for row in who(told.metered()) if row[4] == "api"] == [
        ("p", "GPU-1", 20, 60, "api"),
        ("q", "GPU-1", 20, 40, "api"),
    ]
    lines, problems = told.rated()
    assert not problems
    held: Counter[tuple[str, str]] = Counter()
    for line in lines:
        if line.kind == "held":  # p's is cut where q goes
            held[line.pod, line.evidence] += line.gpu_ms_num // line.ms_den
    assert held == {
        ("p", "exclusive"): ms(10),
        ("q", "exclusive"): ms(10),
        ("p", "api"): ms(30),
        ("q", "api"): ms(10),
    }


def test_whole_silent_hours_chain() -> None:
    """The agent is gone, the pod lives: hour after hour it holds its card, until it ends."""
    first = Told(gpus=(card(observed=((0, 50),)),), saw=(saw("p", 10, 50),), lives=(life("p", 10, 140),))
    first = replace(first, lives=(replace(first.lives[0], seen_ms=unix(10), slots=_slots("GPU-1")),))
    second = first.next_hour()
    third = second.next_hour()
    assert who(first.metered())[-1] == ("p", "GPU-1", 50, 60, "api")
    assert who(second.metered()) == [("p", "GPU-1", 0, 60, "api")]
    assert who(third.metered()) == [("p", "GPU-1", 0, 20, "api")]
    assert third.metered().held == ()


def _slots(*devices: str) -> tuple[PodSlot, ...]:
    return tuple(PodSlot(container="main", device=device, shares=(0,), resource=GPU) for device in devices)


def test_an_agent_that_comes_back_after_hours() -> None:
    """What the hour before left fills up to its first look."""
    told = Told(
        gpus=(card(observed=((30, 60),)),),
        saw=(saw("p", 30, 60),),
        lives=(life("p", -200, seen=-200),),
        before=(known(last=-100),),
        held=(("GPU-1", 0, "uid-p"),),
    )
    assert who(told.metered())[0] == ("p", "GPU-1", 0, 30, "api")


def test_a_pod_that_was_bound_in_this_hour_and_seen_in_the_next() -> None:
    """Its bind lies in this hour, so it holds from there."""
    seen = life("p", 59.9, seen=60.05)
    assert who(Told(gpus=(card(),), lives=(seen,)).metered()) == [("p", "GPU-1", 59.9, 60, "api")]


def test_a_pod_on_two_cards_is_filled_on_both() -> None:
    """And on no third."""
    told = Told(
        gpus=(card(), card("GPU-2"), card("GPU-3")),
        saw=(saw("p", 10.1, 60), saw("p", 10.1, 60, "GPU-2")),
        lives=(life("p", 10),),
    )
    assert minutes(told.metered()) == {"early": pytest.approx(0.2)}


def test_shares_keep_their_weights_and_holders_while_nobody_looks() -> None:
    """Two of four shares are held; in the dark, too, each is a quarter, and nobody's ending moves another's line."""
    told = Told(
        gpus=(card(shares=4, observed=((0, 20),)),),
        saw=(saw("p", 0, 20, share=0), saw("q", 0, 20, share=3)),
        lives=(life("p", 0), life("q", 0, 40)),
    )
    lines, problems = told.rated()
    assert not problems
    assert {(x.pod, x.evidence): x.gpu_ms_num // x.ms_den for x in lines if x.kind == "held"} == {
        ("p", "exclusive"): ms(5),
        ("p", "api"): ms(10),
        ("q", "exclusive"): ms(5),
        ("q", "api"): ms(5),
    }


@pytest.mark.parametrize("hours", [0, 1])
def test_shares_that_are_held_and_not_offered_keep_their_count_in_the_dark(hours: int) -> None:
    """A plugin that is down offers none; who ends in the dark leaves the other's part as it was."""
    told = Told(
        gpus=(card(observed=((0, 20),)),),
        saw=(saw("p", 0, 20, share=0), saw("q", 0, 20, share=2)),
        lives=(life("p", 0, seen=0), life("q", 0, 40 + 60 * hours, seen=0)),
    )
    slot = {"p": 0, "q": 2}
    told = replace(told, lives=tuple(replace(each, slots=_share(slot[each.pod])) for each in told.lives))
    for _ in range(hours):
        told = told.next_hour()
    lines, problems = told.rated()
    assert not problems
    dark = {x.pod: x.gpu_ms_num // x.ms_den for x in lines if x.evidence == "api"}
    assert dark == {"p": ms(30 if hours else 20), "q": ms(20 if hours else 10)}


def _share(number: int) -> tuple[PodSlot, ...]:
    return (PodSlot(container="main", device="GPU-1", shares=(number,), resource=GPU),)


def test_mig_instances_keep_their_weight_in_the_dark() -> None:
    """A 1g slice of seven is a seventh, in the hour and in the next."""
    seen = replace(life("p", 0, seen=0), slots=_slots("MIG-1"))
    told = Told(
        gpus=(card(mig=True, observed=((0, 20),)),),
        instances=(instance("MIG-1", 0, 20),),
        saw=(saw("p", 0, 20, "MIG-1"),),
        lives=(seen,),
    )
    for each, dark in ((told, 40), (told.next_hour(), 60)):
        lines, problems = each.rated()
        assert not problems
        (line,) = [line for line in lines if line.evidence == "api"]
        assert (line.device, line.profile, line.gpu_ms_num * 7) == ("MIG-1", "1g.10gb", ms(dark) * line.ms_den)


def test_a_body_that_says_no_layout_is_of_whole_cards() -> None:
    """As where it is rated."""
    told = Told(gpus=(card(layouts=()),), saw=(saw("p", 10.1, 60),), lives=(life("p", 10), life("q", 2, 5)))
    assert minutes(told.metered()) == {"early": pytest.approx(0.1), "unseen": 3}


# Pods that no agent ever saw.


def test_a_pod_shorter_than_a_beat_takes_the_lowest_free_card() -> None:
    """GPU-1 is held then; GPU-2 is the first of those that are free."""
    told = Told(
        gpus=(card("GPU-3"), card("GPU-2"), card("GPU-1")),
        saw=(saw("p", 0, 60),),
        lives=(life("p", 0), life("job", 10, 10.1)),
    )
    assert ("job", "GPU-2", 10, 10.1, "api") in who(told.metered())
    assert minutes(told.metered()) == {"unseen": pytest.approx(0.1)}
    assert all(uid != "uid-job" for _, _, uid in told.metered().held)


def test_a_pod_that_was_over_before_the_first_look_has_the_card_it_is_listed_on() -> None:
    """An old kubelet lists finished pods: too late to bill, but not too late to know where it was."""
    told = Told(
        gpus=(card("GPU-1"), card("GPU-2")), saw=(saw("job", 10.1, 60, "GPU-2"),), lives=(life("job", 10, 10.05),)
    )
    metered = told.metered()
    assert who(metered) == [("job", "GPU-2", 10, 10.05, "api")]
    assert minutes(metered) == {"late": pytest.approx(49.9), "early": pytest.approx(0.05)}
    assert [(sight.uid, sight.slots[0].device) for sight in metered.sights] == [("uid-job", "GPU-2")]


def test_two_unseen_pods_take_a_card_each() -> None:
    """In the order of their binds."""
    told = Told(gpus=(card("GPU-1"), card("GPU-2")), lives=(life("z", 10, 10.2), life("a", 10.1, 10.3)))
    assert [row[:2] for row in who(told.metered())] == [("a", "GPU-2"), ("z", "GPU-1")]
    assert told.metered().problems == ()


@pytest.mark.parametrize("reason", ["none is free", "prices differ", "too few", "other resource"])
def test_a_pod_that_cannot_be_placed_is_a_problem(reason: str) -> None:
    """Its time is told, and nobody is guessed."""
    job = life("job", 10, 12)
    told = Told(gpus=(card("GPU-1"), card("GPU-2")), lives=(job,))
    if reason == "none is free":
        told = replace(told, gpus=(card("GPU-1"),), saw=(saw("p", 11, 60),))
    elif reason == "prices differ":
        told = replace(told, same_price=lambda offers, life: len(offers) < 2)
    elif reason == "too few":
        told = replace(told, lives=(replace(job, asks=(Ask(container="main", resource=GPU, count=3),)),))
    else:
        told = replace(told, lives=(replace(job, asks=(Ask(container="m", resource="nvidia.com/mig-1g", count=1),)),))
    metered = told.metered()
    assert [holding for holding in metered.holdings if holding.pod == "job"] == []
    (problem,) = metered.problems
    count = 3 if reason == "too few" else 1
    assert (problem.kind, problem.ms) == ("unplaced", ms(2) * count)
    assert problem.subject.startswith(f"a/job: {count} of ")
    assert minutes(metered)["unplaced"] == 2 * count


def test_a_card_whose_shares_are_held_and_not_offered_has_none_to_give() -> None:
    """One more would make the parts of those who hold it smaller."""
    told = Told(
        gpus=(card(),), saw=(saw("p", 0, 60, share=2), saw("q", 0, 60, share=3)), lives=(life("job", 10, 12),)
    )
    assert [problem.kind for problem in told.metered().problems] == ["unplaced"]


def test_one_free_card_needs_no_comparison() -> None:
    """Whatever it costs, it was that one."""
    told = Told(
        gpus=(card("GPU-1"), card("GPU-2")),
        saw=(saw("p", 0, 60),),
        lives=(life("job", 10, 12),),
        same_price=lambda offers, life: len(offers) < 2,
    )
    assert ("job", "GPU-2", 10, 12, "api") in who(told.metered())


def test_a_pod_of_a_claim_that_nobody_saw_is_a_problem() -> None:
    """Which devices a claim gave is not known here."""
    told = Told(gpus=(card(),), lives=(life("job", 10, 12, asks=(), uses_claims=True),))
    (problem,) = told.metered().problems
    assert (problem.subject, problem.ms) == ("a/job: devices of a claim", ms(2))


def ask(container: str, count: int = 1, *, init: bool = False) -> Ask:
    return Ask(container=container, resource=GPU, count=count, init=init)


@pytest.mark.parametrize(
    ("asks", "taken"),
    [
        ((ask("prep", init=True), ask("main")), ["main"]),
        ((ask("sidecar"), ask("prep", 2, init=True), ask("main")), ["main", "prep", "sidecar"]),
        ((ask("prep", 3, init=True), ask("main")), ["main", "prep", "prep"]),
        ((ask("sidecar"), ask("main")), ["main", "sidecar"]),
        ((ask("prep", init=True),), ["prep"]),
    ],
)
def test_init_containers_lend_their_devices_and_sidecars_keep_theirs(asks: tuple[Ask, ...], taken: list[str]) -> None:
    """As the kubelet counts them for the pod."""
    gpus = tuple(card(f"GPU-{number}") for number in range(4))
    metered = Told(gpus=gpus, lives=(life("job", 10, 11, asks=asks),)).metered()
    assert sorted(holding.container for holding in metered.holdings) == taken
    assert len({holding.device for holding in metered.holdings}) == len(taken)


def test_an_unseen_pod_in_the_dark_takes_a_card_that_no_carried_pod_has() -> None:
    """The agent has been silent for hours."""
    told = Told(
        before=(known("GPU-1", -100), known("GPU-2", -100)),
        held=(("GPU-1", 0, "uid-p"),),
        lives=(life("p", -200, seen=-200), life("job", 10, 12)),
    )
    assert who(told.metered()) == [("job", "GPU-2", 10, 12, "api"), ("p", "GPU-1", 0, 60, "api")]
    assert minutes(told.metered()) == {"unobserved": 60, "unseen": 2}


def test_a_seen_pod_is_not_placed_where_it_is_not() -> None:
    """The agents saw it in another hour: that they see it no more is no reason to guess."""
    told = Told(gpus=(card("GPU-1"), card("GPU-2")), lives=(life("p", -30, seen=-30),))
    assert who(told.metered()) == []
