"""Sharing out idle: published numbers, the defects of others, and that nothing is made or lost."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargeback.core.lines import HELD, IDLE
from chargeback.core.money import MICROS
from chargeback.core.months.idle_sharing import (
    BY_LIST,
    EVEN,
    NONE,
    Held,
    Transfer,
    share_out,
    transfer_lines,
    weights,
)
from chargeback.core.months.sums import LineSum, held_there, net_idle

HOUR_MS = 3_600_000
A100 = "NVIDIA A100-SXM4-80GB"


def held(cost_center: str, hours: Fraction | int, price: Fraction | int = 1) -> Held:
    return Held(
        cost_center=cost_center, gpu_ms=Fraction(hours) * HOUR_MS, list_micros=Fraction(hours) * price * MICROS
    )


def line_sum(account: str, kind: str = HELD, gpu_h: Fraction | int = 0, micros: int = 0, **changes: str) -> LineSum:
    names = {"cluster": "lab", "node": "n1", "model": A100, "namespace": "", "part": "charge"} | changes
    return LineSum(
        account=account,
        kind=kind,
        is_api=False,
        lines=1,
        gpu_ms=Fraction(gpu_h) * HOUR_MS,
        unit_ms=Fraction(gpu_h) * HOUR_MS,
        list_micros=micros,
        amount_micros=micros,
        **names,
    )


def paid(transfers: list[Transfer]) -> dict[str, int]:
    return {transfer.account: transfer.micros for transfer in transfers}


# Koku, docs/architecture/mig-gpu-support.md: (2 h, 4g), (6 h, 1g), (2 h, 2g) of an A100's seven slices, in a day.
KOKU = {"a": Fraction(8, 7), "b": Fraction(6, 7), "c": Fraction(4, 7)}


def test_kokus_second_scenario() -> None:
    """1000 for 30 days: 29.761905 idle of 33.333333 a day, shared by slice-time (cost-models.md, R4)."""
    price = Fraction(1000, 30 * 24)
    tenants = [held(name, hours, price) for name, hours in KOKU.items()]
    assert [round(each.list_micros) for each in tenants] == [1_587_302, 1_190_476, 793_651]
    transfers = share_out("lab", A100, 29_761_905, weights(BY_LIST, tenants))
    assert paid(transfers) == {"a": 13_227_513, "b": 9_920_635, "c": 6_613_757, IDLE: -29_761_905}
    day = Fraction(1000 * MICROS, 30)
    assert round(day) == 33_333_333
    assert abs(sum(each.list_micros for each in tenants) + 29_761_905 - day) < 1


def test_evenly_means_each_alike() -> None:
    """Whoever held anything, however little; the odd micro goes to the first, bytewise."""
    tenants = [held("b", 1), held("Z", Fraction(1, 100)), held("a", 7)]
    assert paid(share_out("lab", A100, 100, weights(EVEN, tenants))) == {"Z": 34, "a": 33, "b": 33, IDLE: -100}
    assert weights(NONE, tenants) == {}


def test_a_whole_card_weighs_all_its_slices() -> None:
    """Koku weighs a card without slices as one slice of seven (cost-models.md, §3, defect 1)."""
    tenants = [held("whole", 10), held("slice", Fraction(10, 7))]
    assert paid(share_out("lab", A100, 8 * MICROS, weights(BY_LIST, tenants))) == {
        "slice": MICROS,
        "whole": 7 * MICROS,
        IDLE: -8 * MICROS,
    }


def test_cards_with_and_without_slices_share_what_there_is() -> None:
    """Koku overstates idle where both are on one node (cost-models.md, §3, defect 2): here lines say it."""
    sums = [
        line_sum("whole", gpu_h=24, micros=24 * MICROS),
        line_sum("slice", gpu_h=Fraction(24, 7), micros=3_428_571),
        line_sum(IDLE, "unpartitioned", Fraction(6 * 24, 7), 48 * MICROS - 24 * MICROS - 3_428_571),
    ]
    ((key, net),) = net_idle(sums).items()
    assert (key, net) == (("lab", A100), 20_571_429)
    shared = share_out(*key, net, weights(BY_LIST, held_there(sums, *key)))
    assert sum(each.gpu_ms for each in sums) == 48 * HOUR_MS
    assert sum(each.amount_micros or 0 for each in sums) + sum(transfer.micros for transfer in shared) == 48 * MICROS
    assert paid(shared) == {"slice": 2_571_428, "whole": 18_000_001, IDLE: -20_571_429}


def test_a_model_that_no_table_knows_weighs_as_its_lines_do() -> None:
    """Koku bills every slice of an unknown model as a card (cost-models.md, §3, defect 3; R5: never 7.00)."""
    sums = [
        line_sum("slice", gpu_h=Fraction(1, 7), micros=MICROS, model="B300"),
        line_sum(IDLE, "free", 1, 7, model="B300"),
    ]
    (found,) = held_there(sums, "lab", "B300")
    assert (found.gpu_ms / HOUR_MS, found.list_micros) == (Fraction(1, 7), MICROS)
    assert held_there(sums, "lab", A100) == []


@pytest.mark.parametrize("net", [0, -1, -29_761_905])
def test_what_is_not_positive_is_not_shared_and_not_lost(net: int) -> None:
    """Koku filters a negative idle away (cost-models.md, §3, defect 4): here it stays on the platform."""
    assert share_out("lab", A100, net, weights(BY_LIST, [held("a", 1)])) == []


def test_without_anybody_to_share_it_idle_stays_on_the_platform() -> None:
    """Idle 27, nobody with costs: 27 stays (opencost PR#883; cost-models.md, R18)."""
    for nobody in ([], [held("a", 0)], [held("free", 1, price=0)]):
        assert share_out("lab", A100, 27 * MICROS, weights(BY_LIST, nobody)) == []
    assert paid(share_out("lab", A100, 27, weights(EVEN, [held("free", 1, price=0)]))) == {"free": 27, IDLE: -27}


def test_only_cost_centers_pay_and_only_for_this_month() -> None:
    """Not what nobody owns, not what is restated of an earlier month, not the other cluster's or model's."""
    sums = [
        line_sum("a", gpu_h=1, micros=1),
        line_sum("unowned", gpu_h=1, micros=1),
        line_sum("platform:unattributed", gpu_h=1, micros=1),
        line_sum("b", gpu_h=1, micros=1, part="restated"),
        line_sum("c", gpu_h=1, micros=1, cluster="edge"),
        line_sum("d", gpu_h=1, micros=1, model="B300"),
        line_sum("e", "unused", micros=1),
    ]
    assert [each.cost_center for each in held_there(sums, "lab", A100)] == ["a"]


def test_corrections_of_idle_are_shared_as_well() -> None:
    """What tenants paid for idle that was none comes back to those who hold now."""
    sums = [line_sum(IDLE, "free", 5, 50), line_sum(IDLE, "free", -2, -20, part="reversal")]
    assert net_idle(sums) == {("lab", A100): 30}


names = st.text(alphabet="abzZé-_9", min_size=1, max_size=6)
tenants = st.dictionaries(
    names, st.tuples(st.integers(0, 10**9), st.fractions(min_value=0, max_value=10**6)), max_size=12
)


@given(net=st.integers(-(10**12), 10**15), tenants=tenants, policy=st.sampled_from([NONE, EVEN, BY_LIST]))
def test_transfers_sum_to_zero(net: int, tenants: dict[str, tuple[int, Fraction]], policy: str) -> None:
    """Under every policy; each share is within a micro of exact, order does not matter, only holders pay."""
    who = [Held(cost_center=name, gpu_ms=Fraction(ms), list_micros=listed) for name, (ms, listed) in tenants.items()]
    weighed = weights(policy, who)
    transfers = share_out("lab", A100, net, weighed)
    assert sum(transfer.micros for transfer in transfers) == 0
    assert transfers == share_out("lab", A100, net, weights(policy, reversed(who)))
    whole = sum(weighed.values(), Fraction(0))
    for transfer in transfers:
        if transfer.account != IDLE:
            assert abs(transfer.micros - net * weighed[transfer.account] / whole) < 1
            assert tenants[transfer.account][0] > 0


def test_transfers_are_lines_of_the_last_hour_without_time() -> None:
    """In the ledger's own timezone; each has a key of its own."""
    transfers = share_out("lab", A100, 9, {"a": Fraction(1), "b": Fraction(2)})
    lines = transfer_lines(transfers, "2026-10", "Asia/Kolkata", {"lab": (EVEN, 4)})
    assert len({line.line_id for line in lines}) == 3
    assert {(line.day, line.month, line.node, line.kind, line.gpu_ms_num) for line in lines} == {
        ("2026-10-31", "2026-10", "", "transfer", 0)
    }
    assert {(line.start_ms % HOUR_MS, line.end_ms - line.start_ms) for line in lines} == {(0, HOUR_MS // 2)}
    assert [(line.account, line.amount_micros, line.cost_center) for line in lines] == [
        ("a", 3, "a"),
        ("b", 6, "b"),
        (IDLE, -9, None),
    ]
    assert {(line.policy_version, line.evidence) for line in lines} == {(4, "idle shared evenly")}
