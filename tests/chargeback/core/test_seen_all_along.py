"""Pods that are alone with their name and seen all along, so nothing is worked out; and pods that nearly are."""

from __future__ import annotations

from chargeback.core.lives import PodSlot
from chargeback.core.pods import OwnerLabels
from tests.chargeback.core.two_meters import GPU, Told, card, known, life, minutes, saw, unix, who

RED = OwnerLabels(cost_center="red")


def test_it_is_billed_by_what_the_api_says_of_it() -> None:
    """Its own labels decide who pays, and nothing else of what was seen changes."""
    seen = saw("p", 0, 60, busy_ms=7)
    metered = Told(gpus=(card(),), saw=(seen,), lives=(life("p", -5, seen=-5, labels=RED),)).metered()
    assert [(each.labels, each.busy_ms) for each in metered.holdings] == [(RED, 7)]
    assert (metered.differences, metered.held, metered.sights) == ({}, (("GPU-1", 0, "uid-p"),), ())


def test_not_one_whose_name_another_pod_takes_meanwhile() -> None:
    """The first has no end yet: from the second's bind on it is the second's."""
    lives = (life("p", -5, seen=-5, uid="one"), life("p", 30, uid="two", labels=RED))
    metered = Told(gpus=(card(),), saw=(saw("p", 0, 60),), lives=lives).metered()
    assert [(each.start, each.labels) for each in metered.holdings][1:] == [(30 * 60_000, RED)]


def test_not_one_that_was_seen_all_along_on_one_of_its_cards() -> None:
    """On the other there was a break, which is filled."""
    both = (saw("p", 0, 60), saw("p", 0, 20, "GPU-2"), saw("p", 40, 60, "GPU-2"))
    metered = Told(gpus=(card(), card("GPU-2")), saw=both, lives=(life("p", -5, seen=-5),)).metered()
    assert ("p", "GPU-2", 20, 40, "api") in who(metered)
    assert minutes(metered) == {"missed": 20}


def test_not_one_whose_other_card_was_not_observed_at_first() -> None:
    """It held that when the hour began, and has it until somebody looks."""
    told = Told(
        gpus=(card(), card("GPU-2", ((50, 60),))),
        saw=(saw("p", 0, 60),),
        lives=(life("p", -5, seen=-5, on=("GPU-1", "GPU-2")),),
        before=(known("GPU-2"),),
        held=(("GPU-1", 0, "uid-p"), ("GPU-2", 0, "uid-p")),
        present=((0, 3_600_000),),
    )
    metered = told.metered()
    assert ("p", "GPU-2", 0, 50, "api") in who(metered)
    assert minutes(metered) == {"unobserved": 50, "freed": 10}


def test_a_sight_that_is_earlier_than_the_one_that_is_known() -> None:
    """An hour that is rated late has it: the first sight is told, with where it was."""
    metered = Told(gpus=(card(),), saw=(saw("p", 0, 60),), lives=(life("p", -5, seen=70),)).metered()
    (sight,) = metered.sights
    assert sight.at_ms == unix(0)
    assert sight.slots == (PodSlot(container="main", device="GPU-1", shares=(0,), resource=GPU),)
