"""What blocks a month, what only is said, what can be waived: each check finds its case and is silent without it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest

from chargeback.core.months.checks import CHECKS, judge, percent
from chargeback.core.months.closing import (
    DayCost,
    Facts,
    Finding,
    FoundProblem,
    Limits,
    NotWaivable,
    Unfinished,
    stopping,
    waive,
)
from chargeback.core.months.sums import LineSum, coverage
from chargeback.core.nodes import UnmeteredNode
from tests.chargeback.core.months.test_idle_sharing import A100, HOUR_MS, line_sum

# A month of which nothing can be said: one card, held for ten hours.
HELD = line_sum("cc-a", gpu_h=10, micros=30_000_000, namespace="alpha")
FINE = Facts(
    month="2026-10",
    now_ms=1_800_000_000_000,
    over_ms=1_790_000_000_000,
    sums=[HELD],
    existed_ms={"lab": 10 * HOUR_MS},
    error_ms={"lab": 0},
    differences={},
    days=[DayCost(cluster="lab", day="2026-10-03", micros=30_000_000, hours=10)],
)


def found(**changes: Any) -> list[Finding]:
    return judge(replace(FINE, **changes))


def moved(account: str, kind: str = "held", **changes: Any) -> dict[str, Any]:
    """The same hours on another account."""
    return {"sums": [line_sum(account, kind, 10, 30_000_000, namespace="alpha", **changes)]}


def days(*costs: tuple[int | None, int]) -> list[DayCost]:
    return [
        DayCost(cluster="lab", day=f"2026-10-{number:02d}", micros=micros, hours=hours)
        for number, (micros, hours) in enumerate(costs, start=1)
    ]


def test_a_month_without_anything_wrong_has_no_findings() -> None:
    assert found() == []


CASES = [
    ({"now_ms": 1_790_000_000_000 - 1}, "over", "it is at 2026-09-21T14:13:20Z"),
    ({"earlier": ["2026-08", "2026-09"]}, "order:2026-08", "2026-08 has lines and is not closed"),
    ({"due": 3}, "backlog", "3 node-hours or plan-hours are still to be rated"),
    ({"due": 3, "drafted": True}, "waiting", "3 node-hours or plan-hours have changed since the draft"),
    (
        {"unfinished": [Unfinished(cluster="lab", node_hours=2, until_ms=HOUR_MS)]},
        "final:lab",
        "2 node-hours in lab are not final",
    ),
    (
        {"sums": [replace(HELD, account="platform:unpriced", list_micros=None, amount_micros=None)]},
        f"unpriced:{A100}",
        f"10.000000 hours of {A100} have no price",
    ),
    (
        # A guarantee that nobody used, of a model without a price: no card's time, but hours of the plan.
        {
            "sums": [
                HELD,
                replace(
                    line_sum("platform:unpriced", "unused"),
                    unit_ms=Fraction(HOUR_MS),
                    list_micros=0,
                    amount_micros=None,
                ),
            ]
        },
        f"unpriced:{A100}",
        f"1.000000 hours of {A100} have no price",
    ),
    (
        # The same of a plan that nobody can say a model of: it is named, and waived, by its namespace.
        {
            "sums": [
                HELD,
                replace(
                    line_sum("platform:unpriced", "unused", model="", namespace="beta"),
                    unit_ms=Fraction(HOUR_MS),
                    list_micros=0,
                    amount_micros=None,
                ),
            ]
        },
        "unpriced:lab/beta",
        "1.000000 unused hours of the plan of beta in lab have no price",
    ),
    (moved("unowned"), "unowned:lab/alpha", "10.000000 card hours, 30.000000, of alpha in lab belong to no cost"),
    (moved("platform:unattributed"), "unattributed:lab", "were held by somebody who cannot be named"),
    (
        {"unmetered": [UnmeteredNode(cluster="lab", node="n9", devices=8, pods=2)]},
        "unmetered:lab/n9",
        "no agent told of n9 in lab: GPU devices: 8, pods: 2",
    ),
    (
        {
            "problems": [
                FoundProblem(cluster="lab", kind="unrated", subject="ValueError: x", node_hours=1, ms=HOUR_MS)
            ]
        },
        "defect:lab/unrated",
        "unrated in lab: ValueError: x (1 node-hours)",
    ),
    (
        {"problems": [FoundProblem(cluster="lab", kind="unplaced", subject="a/p", node_hours=2, ms=HOUR_MS)]},
        "problem:lab/unplaced",
        "unplaced in lab: a/p (1.000000 h in 2 node-hours)",
    ),
    (
        {
            "sums": [
                HELD,
                line_sum("platform:difference", "excess", 0, 0),
                line_sum("platform:difference", "excess", -1, -3),
            ]
        }
        | {"existed_ms": {"lab": 9 * HOUR_MS}},
        "difference:lab",
        "-1.000000 card hours, -0.000003, in lab should be impossible",
    ),
    (
        {"sums": [replace(HELD, amount_micros=29_999_999)]},
        "money:lab",
        "list 30.000000, amount 29.999999",
    ),
    ({"existed_ms": {"lab": 10 * HOUR_MS + 1}}, "time:lab", "the time of lab does not balance"),
    ({"error_ms": {"lab": 7}}, "time:lab", "noted at rating 7 ms"),
    ({"existed_ms": {"lab": 10 * HOUR_MS, "edge": HOUR_MS}}, "time:edge", "lines 0.000000 h, cards 1.000000 h"),
    (
        {"sums": [replace(HELD, gpu_ms=Fraction(9 * HOUR_MS)), line_sum("platform:gap", "gap", 1)]},
        "coverage:lab",
        "90.00 % of the card time in lab was observed, less than 95.00 %; the longest gaps: n1 (1.000000 h)",
    ),
    (
        {
            "sums": [
                HELD,
                line_sum("platform:oversold", "unbacked", micros=-3_000_000),
                line_sum("cc-a", "unused", micros=3_000_000),
            ]
        },
        "oversold:lab",
        "guarantees of 3.000000 in lab had no idle card behind them",
    ),
    ({"differences": {"lab": {"late": HOUR_MS}}}, "meters:lab/late", "differ by 1.000000 h in lab: late"),
    (
        {"days": days((24_000_000, 24), (241_000_000, 24))},
        "sanity:lab/2026-10-02",
        "an hour in lab cost 1.000000 on 2026-10-01 and 10.041667 on 2026-10-02: more than a factor of 3",
    ),
]


@pytest.mark.parametrize(("changes", "name", "said"), CASES, ids=[f"{name} {said[:12]}" for _, name, said in CASES])
def test_each_check_finds_its_case(changes: dict[str, Any], name: str, said: str) -> None:
    """And names it, says what was found and how to mend it."""
    findings = found(**changes)
    assert name in [each.name for each in findings]
    (finding,) = (each for each in findings if each.name == name)
    assert said in finding.found
    assert finding.mend


def test_every_check_has_a_case() -> None:
    assert {check.name for check in CHECKS} == {name.partition(":")[0] for _, name, _ in CASES}


def test_after_an_upgrade_that_costs_ten_times_as_much_the_month_is_held() -> None:
    """Cost 10 to 100 times as high overnight (opencost#3620, #2243, kubecost#2069; cost-models.md, case 18)."""
    for cost in (10 * 24_000_000, 100 * 24_000_000, 24_000_000 // 10, 0):
        (finding,) = found(days=days((24_000_000, 24), (cost, 24)))
        assert (finding.check, finding.blocks, finding.waivable) == ("sanity", True, True)
    assert found(days=days((24_000_000, 24), (72_000_000, 24))) == []
    assert found(days=days((24_000_000, 24), (72_000_000, 24)), limits=Limits(day_factor=Fraction(5, 2))) != []


def test_days_are_compared_by_their_hours() -> None:
    """A ledger that begins at 23:00, and days of 23 and 25 hours, are no leap; a day without a price says nothing."""
    assert found(days=days((1_000_000, 1), (23_000_000, 23), (25_000_000, 25))) == []
    assert found(days=days((24_000_000, 24), (None, 24), (240_000_000, 24))) == []


def test_two_clusters_are_not_compared() -> None:
    mixed = [
        DayCost(cluster="edge", day="2026-10-31", micros=1, hours=24),
        DayCost(cluster="lab", day="2026-10-01", micros=10**9, hours=24),
    ]
    assert found(days=mixed) == []


def test_only_what_a_person_may_answer_for_can_be_waived() -> None:
    """By its name or by the check's; conservation and backlog never; every wrong name is said at once."""
    findings = found(**moved("unowned"), due=1, existed_ms={"lab": 0})
    assert [each.name for each in stopping(findings)] == ["backlog", "unowned:lab/alpha", "time:lab"]
    for name in ("unowned", "unowned:lab/alpha"):
        passed = waive(findings, [name], "known")
        assert [each.name for each in stopping(passed)] == ["backlog", "time:lab"]
        assert [each.waived for each in passed if each.check == "unowned"] == ["known"]
    with pytest.raises(NotWaivable) as caught:
        waive(findings, ["backlog", "time:lab", "unpriced", "unowned"], "known")
    assert str(caught.value).splitlines() == [
        "--waive backlog: nobody can answer for that: want one of unowned, unowned:lab/alpha",
        "--waive time:lab: nobody can answer for that: want one of unowned, unowned:lab/alpha",
        "--waive unpriced: nothing of that name blocks: want one of unowned, unowned:lab/alpha",
    ]


def test_what_may_be_waived_is_what_the_issue_allows() -> None:
    """Never what makes the sums wrong."""
    assert {check.name for check in CHECKS if check.waivable} == {
        "unpriced", "unowned", "unmetered", "difference", "coverage", "oversold", "sanity",
    }  # fmt: skip
    assert not any(check.waivable and not check.blocks for check in CHECKS)


def test_adjustments_of_earlier_months_have_no_time_here() -> None:
    """Their cards existed in another month; they balance by themselves."""
    back = line_sum("cc-b", gpu_h=-1, micros=-3, part="reversal")
    again = line_sum("cc-b", gpu_h=1, micros=3, part="restated")
    assert found(sums=[HELD, back, again, replace(again, gpu_ms=Fraction(5))]) == []


@pytest.mark.parametrize(
    ("account", "kind", "sign"),
    [
        ("platform:unpriced", "held", 1),
        ("unowned", "held", 1),
        ("platform:difference", "excess", -1),
        ("platform:unattributed", "held", 1),
    ],
)
def test_what_a_correction_takes_back_is_nothing_to_answer_for(account: str, kind: str, sign: int) -> None:
    """It was found, and waived, where it was closed; and it hides nothing of what lies there in this month."""

    def line(hours: int, part: str) -> LineSum:
        return line_sum(account, kind, hours * sign, hours * sign, namespace="alpha", part=part)

    hours = {"existed_ms": {"lab": (10 + sign) * HOUR_MS}}
    assert found(sums=[HELD, line(-1, "reversal")]) == []
    assert found(sums=[HELD, line(-2, "reversal"), line(1, "restated")]) == []
    (own,) = found(sums=[HELD, line(1, "charge")], **hours)
    assert found(sums=[HELD, line(1, "charge"), line(-1, "reversal")], **hours) == [own]
    (late,) = found(sums=[HELD, line(-1, "reversal"), line(2, "restated")])
    assert late == own


def test_a_correction_that_backs_a_guarantee_after_all_is_not_oversold() -> None:
    back = line_sum("platform:oversold", "unbacked", micros=3_000_000, part="reversal")
    paid = line_sum("platform:idle", "backed", micros=-3_000_000, part="restated")
    assert found(sums=[HELD, back, paid]) == []


def test_coverage_names_the_worst_nodes_first() -> None:
    """By node: what was observed, what only the API knew, what nobody did."""
    sums = [
        line_sum("cc-a", gpu_h=9, node="n1"),
        line_sum("platform:gap", "gap", 1, node="n1"),
        replace(line_sum("cc-a", gpu_h=2, node="n2"), is_api=True),
        line_sum("platform:gap", "gap", 3, node="n2"),
        line_sum("cc-a", gpu_h=4, node="n3", cluster="edge"),
        line_sum("cc-a", "transfer", micros=5, node=""),
    ]
    assert [
        (each.cluster, each.node, *(int(ms / HOUR_MS) for ms in (each.observed_ms, each.api_ms, each.gap_ms)))
        for each in coverage(sums)
    ] == [
        ("edge", "", 4, 0, 0),
        ("edge", "n3", 4, 0, 0),
        ("lab", "", 9, 2, 4),
        ("lab", "n2", 0, 2, 3),
        ("lab", "n1", 9, 0, 1),
    ]
    assert coverage([]) == []


def test_what_is_not_whole_never_reads_as_whole() -> None:
    assert percent(Fraction(999_999, 1_000_000)) == "99.99 %"
    assert percent(Fraction(1)) == "100.00 %"
