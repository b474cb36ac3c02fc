"""How much of what is held lies idle."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from chargeback.core.hours import HOUR_MS
from chargeback.core.lines import BURST, FAULTED, FREE, HELD, IDLE_HELD, RESERVED, Line
from chargeback.core.quota.idle_shares import IdleShare, idle_shares, recent_idle


def line(**fields: Any) -> Line:
    """Half an hour of a whole card."""
    values = {
        "cluster": "c", "node": "n", "hour": 0, "day": "1970-01-01", "month": "1970-01", "start_ms": 0,
        "end_ms": 1_800_000, "account": "rd", "kind": HELD, "device": "GPU-1", "parent": "GPU-1", "model": "m",
        "profile": None, "sku": "gpu.m", "unit": None, "unit_price": None, "price_version": 1, "policy_version": 1,
        "gpu_ms_num": 1_800_000, "quantity_ms_num": 1_800_000, "ms_den": 1, "list_micros": None,
        "amount_micros": None, "namespace": "team",
    }  # fmt: skip
    return Line(**values | fields)


def test_held_and_not_busy_is_idle() -> None:
    """A third busy: two thirds idle."""
    (share,) = idle_shares([line(used_num=600_000)]).values()
    assert share == IdleShare(held_ms=Fraction(1_800_000), known_ms=Fraction(1_800_000), idle_ms=Fraction(1_200_000))
    assert share.ratio == Fraction(2, 3)


def test_unknown_usage_is_not_idle() -> None:
    """No ratio of nothing; of a part that is known, its own."""
    (share,) = idle_shares([line()]).values()
    assert (share.held_ms, share.known_ms, share.ratio) == (1_800_000, 0, None)
    (share,) = idle_shares([line(), line(used_num=0)]).values()
    assert (share.held_ms, share.known_ms, share.ratio) == (3_600_000, 1_800_000, 1.0)


def test_a_slice_counts_for_its_part_of_the_card() -> None:
    """A seventh, idle all the time, beside a whole card that is busy all the time: an eighth."""
    seventh = line(device="MIG-1", profile="1g.10gb", gpu_ms_num=1_800_000, ms_den=7, used_num=0)
    (share,) = idle_shares([seventh, line(used_num=1_800_000)]).values()
    assert share.ratio == Fraction(1, 8)


def test_reserved_burst_and_billed_by_use_is_held_all_the_same() -> None:
    """Plans and bases change what time costs, not whether it was idle."""
    by_plan = [line(kind=RESERVED, used_num=600_000), line(kind=BURST, used_num=0)]
    by_use = [line(used_num=600_000, gpu_ms_num=600_000), line(kind=IDLE_HELD, used_num=0, gpu_ms_num=1_200_000)]
    (share,) = idle_shares(by_plan + by_use).values()
    assert share == IdleShare(held_ms=Fraction(5_400_000), known_ms=Fraction(5_400_000), idle_ms=Fraction(4_200_000))


def test_a_faulted_card_is_not_idle() -> None:
    """Nobody could have kept it busy."""
    assert idle_shares([line(kind=FAULTED, used_num=0)]) == {}


def test_only_what_a_namespace_holds() -> None:
    """What is free, and what nobody is known to hold, is not a namespace's."""
    lines = [
        line(kind=FREE, namespace=""),
        line(namespace=""),
        line(namespace="web", used_num=0),
        line(end_ms=0, gpu_ms_num=0, used_num=0),
    ]
    assert {name: share.ratio for name, share in idle_shares(lines).items()} == {"web": 1.0, "team": None}


def test_only_of_late() -> None:
    """The running hour and the one before, of one cluster."""
    lines = [line(hour=hour, namespace=f"h{hour}", used_num=0) for hour in range(4)]
    lines.append(line(hour=3, cluster="other", namespace="elsewhere", used_num=0))
    assert set(recent_idle(lines, "c", 3 * HOUR_MS + 1)) == {"h2", "h3"}
