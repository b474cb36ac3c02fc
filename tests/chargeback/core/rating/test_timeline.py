"""Segments: a card's time, cut where anything changes."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from chargeback.core.hours import HOUR_MS
from chargeback.core.node_hour import Holding, Layout
from chargeback.core.policy import Policy
from chargeback.core.rating.timeline import segments
from tests.chargeback.core.rating.test_rating import HALF, card, held

WHOLE_HOUR = ((0, HOUR_MS),)


@pytest.mark.parametrize("sharing", ["configured", "active"])
@pytest.mark.parametrize(
    "holdings",
    [
        (),
        (held(),),
        (held(claim="a/c"),),
        (held(portion=Fraction(1, 3)),),
        (held(start=1_000),),
        (held(share=1),),
        (held(shares=(0, 1)),),
        (held(), held(namespace="b")),
        (held(claim="a/c"), held(namespace="b", claim="a/c")),
        (held(end=1_000), held(start=1_000)),
    ],
)
def test_a_steady_card_is_as_if_all_were_worked_out(holdings: tuple[Holding, ...], sharing: str) -> None:
    """That it fails later on changes nothing before, but makes it a card of which all is worked out."""
    gpu = card(layouts=(Layout(start=0, end=HOUR_MS, mig=False),))
    fails = replace(gpu, unhealthy=((HALF + 1, HOUR_MS),))
    policy = Policy(sharing=sharing)
    for counted in ((), holdings):
        quick, full = (
            segments(each, WHOLE_HOUR, (), holdings, policy, 0, HALF, counted=counted) for each in (gpu, fails)
        )
        assert quick == full


@pytest.mark.parametrize("counted", [(held(),), (held(shares=(0, 1)),)])
def test_what_agents_saw_counts_on_a_card_that_nobody_is_billed_for(counted: tuple[Holding, ...]) -> None:
    gpu = card(layouts=(Layout(start=0, end=HOUR_MS, mig=False),))
    (found,) = segments(gpu, WHOLE_HOUR, (), (), Policy(), 0, HOUR_MS, counted=counted)
    assert [device.shares for device in found.devices] == [len(counted[0].shares)]
    assert not found.held
