"""What slots a node has, when they are there, and which resource each answers to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chargeback.core.node_hour import Layout
from chargeback.core.offers import Offer, offers
from chargeback.core.spans import Spans
from tests.chargeback.core.two_meters import GPU, Told, card, instance, known, ms, spans

HOUR_END = ms(60)


def found(told: Told) -> dict[tuple[str, int], Offer]:
    return {offer.slot: offer for offer in offers(told.existence(), HOUR_END)}


def present(told: Told) -> dict[tuple[str, int], Spans]:
    return {slot: offer.present for slot, offer in found(told).items()}


def test_a_card_is_one_slot_and_a_shared_one_as_many_as_it_has_shares() -> None:
    slots = found(Told(gpus=(card("GPU-1"), card("GPU-2", shares=3))))
    assert list(slots) == [("GPU-1", 0), ("GPU-2", 0), ("GPU-2", 1), ("GPU-2", 2)]
    assert [offer.shares for offer in slots.values()] == [1, 3, 3, 3]


def test_a_card_in_mig_mode_is_its_instances() -> None:
    told = Told(gpus=(card(mig=True),), instances=(instance("MIG-1"), instance("MIG-2", shares=2)))
    assert list(found(told)) == [("MIG-1", 0), ("MIG-2", 0), ("MIG-2", 1)]


def test_unobserved_time_keeps_what_was_known_before_it() -> None:
    """In the middle, and at the end; what begins to exist is not there before."""
    told = Told(gpus=(card(observed=((5, 20), (30, 50))),))
    assert present(told) == {("GPU-1", 0): spans((5, 60))}
    assert found(told)[("GPU-1", 0)].observed == spans((5, 20), (30, 50))


def test_a_share_that_was_taken_away_is_gone_from_the_next_look_on() -> None:
    """Four shares until the agent looked away, two when it looked again."""
    four, two = (
        Layout(start=0, end=ms(20), mig=False, shares=4),
        Layout(start=ms(40), end=HOUR_END, mig=False, shares=2),
    )
    told = Told(gpus=(card(observed=((0, 20), (40, 60)), layouts=(four, two)),))
    assert present(told) == {
        ("GPU-1", 0): spans((0, 60)),
        ("GPU-1", 1): spans((0, 60)),
        ("GPU-1", 2): spans((0, 40)),
        ("GPU-1", 3): spans((0, 40)),
    }


def test_a_silent_hour_has_the_slots_that_were_known() -> None:
    """Of the card as it was last seen."""
    told = Told(gpus=(card("GPU-1", shares=2), card("GPU-2", mig=True)), instances=(instance("MIG-1", gpu="GPU-2"),))
    assert list(found(told.next_hour())) == [("GPU-1", 0), ("GPU-1", 1), ("MIG-1", 0)]
    assert set(present(told.next_hour()).values()) == {spans((0, 60))}


def test_a_card_that_comes_back_in_mig_mode_was_whole_until_then() -> None:
    told = Told(
        gpus=(card(mig=True, observed=((30, 60),)),),
        instances=(instance("MIG-1", 30, 60),),
        before=(known(last=-10),),
    )
    assert present(told) == {("GPU-1", 0): spans((0, 30)), ("MIG-1", 0): spans((30, 60))}


def test_a_slot_is_there_only_while_its_card_exists() -> None:
    """A node that was made anew: between the two there is none to hold."""
    told = Told(gpus=(card(observed=((50, 60),)),), before=(known(last=-10),), present=spans((0, 30), (40, 60)))
    assert present(told) == {("GPU-1", 0): spans((0, 30), (50, 60))}


def test_an_instance_that_was_destroyed_while_somebody_looked_is_gone() -> None:
    """Also for the unobserved time after."""
    told = Told(
        gpus=(card(mig=True, observed=((0, 40),)),), instances=(instance("MIG-1", 0, 20), instance("MIG-2", 20, 40))
    )
    assert present(told) == {("MIG-1", 0): spans((0, 20)), ("MIG-2", 0): spans((20, 60))}


def test_a_card_whose_layout_nobody_tells_is_whole() -> None:
    assert present(Told(gpus=(card(layouts=()),))) == {("GPU-1", 0): spans((0, 60))}


@pytest.mark.parametrize(
    ("resource", "mixed", "single"),
    [
        (GPU, ["GPU-2"], ["MIG-1", "MIG-2"]),
        ("nvidia.com/gpu.shared", ["GPU-2"], ["MIG-1", "MIG-2"]),
        ("nvidia.com/mig-1g.10gb", ["MIG-1"], ["MIG-1"]),
        ("nvidia.com/mig-1g.10gb.me", ["MIG-2"], ["MIG-2"]),
        ("nvidia.com/mig-1g.10gb.shared", ["MIG-1"], ["MIG-1"]),
        ("nvidia.com/mig-1g.10gb.me.shared", ["MIG-2"], ["MIG-2"]),
        ("nvidia.com/mig-3g.40gb", [], []),
    ],
)
def test_which_resource_a_slot_answers_to(resource: str, mixed: list[str], single: list[str]) -> None:
    """By profile, shares renamed or not; by the plain name where a node has nothing but MIG instances (single)."""
    told = Told(
        gpus=(card("GPU-1", mig=True), card("GPU-2")),
        instances=(instance("MIG-1"), instance("MIG-2", profile="1g.10gb+me")),
    )
    for each, wanted in ((told, mixed), (replace(told, gpus=told.gpus[:1]), single)):
        assert [offer.device for offer in found(each).values() if offer.gives(resource)] == wanted
