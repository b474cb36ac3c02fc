"""What is not worked out for a card that one pod holds all the time is what working it out would give."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.hours import HOUR_MS
from chargeback.core.node_hour import WHOLE, Gpu, Holding, Layout
from chargeback.core.policy import Policy
from chargeback.core.rating.stretches import _Slots, _steady, stretches
from chargeback.core.rating.timeline import segments

PORTIONS = st.sampled_from([WHOLE, Fraction(1), Fraction(1, 2)])


@given(
    claim=st.sampled_from([None, "alpha/claim"]),
    portion=PORTIONS,
    busy_ms=st.none() | st.integers(0, 2 * HOUR_MS),
    span=st.sampled_from([(0, HOUR_MS), (0, 1000), (1000, HOUR_MS)]),
    unhealthy=st.sampled_from([(), ((0, HOUR_MS),), ((0, 5),)]),
    sharing=st.sampled_from(["configured", "active"]),
    faulted=st.sampled_from(["bill", "credit"]),
)
def test_a_steady_holding_is_as_if_it_had_been_worked_out(
    claim: str | None,
    portion: Fraction,
    busy_ms: int | None,
    span: tuple[int, int],
    unhealthy: tuple[tuple[int, int], ...],
    sharing: str,
    faulted: str,
) -> None:
    """Whatever the holding is: where there is a short way, both lead to the same."""
    layouts = (Layout(start=0, end=HOUR_MS, mig=False, shares=1),)
    gpu = Gpu(uuid="GPU-1", model="m", memory_mib=1, observed=((0, HOUR_MS),), unhealthy=unhealthy, layouts=layouts)
    held = Holding(
        device="GPU-1",
        shares=(0,),
        start=span[0],
        end=span[1],
        namespace="alpha",
        pod="train",
        container="main",
        resource="nvidia.com/gpu",
        claim=claim,
        portion=portion,
        busy_ms=busy_ms,
    )
    policy = Policy(sharing=sharing, faulted=faulted)
    found = segments(gpu, ((0, HOUR_MS),), (), [held], policy, 0, HOUR_MS)
    worked_out = _Slots([held], policy, found).stretches()
    assert stretches([held], policy, found) == worked_out
    if span == (0, HOUR_MS) and portion is WHOLE and not unhealthy and claim is None:
        assert _steady([held], policy, found) is not None
