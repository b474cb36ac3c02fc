"""When cards exist, where the API knows their node: as long as it has it. And what cordoning means for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.chargeback.core.two_meters import Told, card, instance, known, life, ms, saw, spans


def test_a_node_that_is_there_keeps_its_silent_cards() -> None:
    """Beyond the 72 hours that an unknown node has."""
    told = Told(before=(known(last=-100 * 60),), present=spans((0, 60)))
    assert told.existence().spans == {"GPU-1": spans((0, 60))}
    assert [each.uuid for each in told.existence().known] == ["GPU-1"]


@pytest.mark.parametrize(("hours_ago", "lives"), [(71, True), (73, False)])
def test_a_node_that_the_api_never_knew_has_72_hours(hours_ago: int, lives: bool) -> None:
    told = Told(before=(known(last=-hours_ago * 60),), present=None)
    assert bool(told.existence().spans) is lives


def test_the_cards_of_a_node_that_is_dropped_end_with_it() -> None:
    """And the next hour begins with none."""
    told = Told(gpus=(card(observed=((0, 20),)),), present=spans((0, 30)))
    assert told.existence().spans == {"GPU-1": spans((0, 30))}
    assert told.existence().known == ()


def test_a_node_that_was_dropped_before_the_hour_has_no_cards() -> None:
    told = Told(before=(known(last=-10),), present=())
    assert (told.existence().spans, told.existence().known) == ({}, ())


def test_what_an_agent_observes_exists_whatever_the_api_says() -> None:
    """It goes on pushing for a while after its node was dropped."""
    told = Told(gpus=(card(observed=((0, 40),)),), present=spans((0, 30)))
    assert told.existence().spans == {"GPU-1": spans((0, 40))}


def test_a_node_made_anew_under_its_name_begins_a_new_existence() -> None:
    """With the first observation, not with the node."""
    told = Told(gpus=(card(observed=((0, 20), (50, 60))),), present=spans((0, 30), (40, 60)))
    assert told.existence().spans == {"GPU-1": spans((0, 30), (50, 60))}
    lines, problems = told.rated()
    assert not problems
    assert {(line.kind, line.gpu_ms_num // line.ms_den) for line in lines} == {
        ("free", ms(20)),
        ("gap", ms(10)),
        ("free", ms(10)),
    }


def test_a_node_made_anew_while_its_agent_is_silent_has_no_cards_until_it_speaks() -> None:
    told = Told(before=(known(last=-10),), present=spans((0, 30), (40, 60)))
    assert told.existence().spans == {"GPU-1": spans((0, 30))}
    assert told.existence().known == ()


def test_a_pod_of_a_dropped_node_is_filled_no_longer_than_its_card_exists() -> None:
    told = Told(
        gpus=(card(observed=((0, 20),)),), saw=(saw("p", 0, 20),), lives=(life("p", 0),), present=spans((0, 30))
    )
    lines, problems = told.rated()
    assert not problems
    assert [(line.pod, line.end_ms - line.start_ms) for line in lines] == [("p", ms(20)), ("p", ms(10))]


def test_a_card_that_comes_back_without_mig_keeps_the_slices_of_its_instances() -> None:
    """A node that rebooted over an hour's border: a driver says a card's slices only while MIG is on."""
    before = Told(gpus=(card(mig=True),), instances=(instance("MIG-1"),))
    told = before.next_hour(gpus=(card(observed=((10, 60),), slices_max=None),))
    lines, problems = told.rated()
    assert not problems
    assert [(line.kind, line.device, line.gpu_ms_num // line.ms_den) for line in lines] == [
        ("gap", "GPU-1", ms(10)),
        ("free", "GPU-1", ms(50)),
    ]
    assert [each.slices_max for each in told.existence().known] == [7]


def cordoned(told: Told) -> list[tuple[str, str, float]]:
    lines, problems = told.rated()
    assert not problems
    return sorted((line.account, line.kind, line.gpu_ms_num / line.ms_den / 60_000) for line in lines)


def test_a_cordoned_node_is_unavailable_where_nobody_holds_it() -> None:
    """Its holder pays on, and what nobody observed is a gap."""
    told = Told(
        gpus=(card(observed=((0, 50),)),), saw=(saw("p", 10, 40),), present=spans((0, 60)), cordoned=spans((20, 60))
    )
    assert cordoned(told) == [
        ("cc-a", "held", 30),
        ("platform:gap", "gap", 10),
        ("platform:idle", "free", 10),
        ("platform:unavailable", "cordoned", 10),
    ]


def test_of_a_card_in_mig_mode_all_that_nobody_holds_is_cordoned() -> None:
    """The free instance, and what no instance covers."""
    told = Told(
        gpus=(card(mig=True),),
        instances=(instance("MIG-1"), instance("MIG-2")),
        saw=(saw("p", 0, 60, "MIG-1"),),
        cordoned=spans((0, 60)),
    )
    assert [row[:2] for row in cordoned(told)] == [
        ("cc-a", "held"),
        ("platform:unavailable", "cordoned"),
        ("platform:unavailable", "cordoned"),
    ]


def test_a_card_that_is_ill_on_a_cordoned_node_is_ill() -> None:
    """A fault explains more than a cordon, which often follows it."""
    told = Told(gpus=(card(unhealthy=spans((0, 60))),), cordoned=spans((0, 60)))
    assert cordoned(told) == [("platform:unavailable", "unhealthy", 60)]


def test_unsold_shares_of_a_cordoned_node_are_unavailable() -> None:
    told = Told(gpus=(card(shares=4),), saw=(saw("p", 0, 60, share=1),), cordoned=spans((0, 60)))
    assert cordoned(told) == [("cc-a", "held", 15), ("platform:unavailable", "cordoned", 45)]
    assert cordoned(replace(told, cordoned=())) == [("cc-a", "held", 15), ("platform:idle", "unsold", 45)]
