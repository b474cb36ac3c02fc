"""What cannot be true of a body: one holder who has one slot twice at once would be billed twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chargeback.core.node_hour import NodeHour, Refused, check
from tests.chargeback.core.two_meters import HOUR, card, saw


def body(*holdings: object) -> NodeHour:
    return NodeHour(cluster="lab", node="n1", hour=HOUR, gpus=(card(shares=2),), holdings=holdings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "second",
    [saw("p", 0, 60), saw("p", 59, 60), replace(saw("p", 10, 20), shares=(1, 0))],
)
def test_a_holder_who_has_a_slot_already_is_refused(second: object) -> None:
    """Whatever else is said of it."""
    with pytest.raises(
        Refused, match=r"holdings\[1\]: .* on GPU-1: its holder has share 0 then already, want it once"
    ):
        check(body(saw("p", 0, 60), second))


def test_nobody_is_one_holder_too() -> None:
    nobody = replace(saw("", 0, 60), namespace="", container="")
    with pytest.raises(Refused, match="share 0 then already"):
        check(body(nobody, nobody))


@pytest.mark.parametrize(
    "second",
    [
        saw("p", 30, 60),
        saw("q", 0, 30),
        saw("p", 0, 30, share=1),
        saw("p", 0, 30, claim="a/c"),
        saw("p", 0, 30, container="b"),
    ],
)
def test_another_time_share_claim_or_holder_is_odd_at_most(second: object) -> None:
    check(body(saw("p", 0, 30), second))
