"""Two words on one minute: when they are one, and what the scenario did that makes other lines right."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from tests.proof.comparison.minute import (
    BLUE,
    PART,
    PROFILE,
    RED,
    SLICE,
    TOLD,
    WHOLE,
    Row,
    a_gap,
    at,
    compared,
    ends_late,
    good,
    held,
    row,
    unhealthy,
    unseen_in_the_middle,
)
from tests.proof.witness.testimony import Blind, Load, Lost, Plan, Prices


def test_two_who_agree() -> None:
    comparison = compared(good())
    assert comparison.differences == ()
    assert (comparison.end_ms, comparison.money_micros, comparison.by_api_s) == (400, 0, Fraction(2, 5))
    assert {name: float(each.gpu_s) for name, each in comparison.product.items()} == {
        "cc-red": 9.6,
        "cc-blue": pytest.approx(20 * 3 / 7),
    }


def test_both_sides_evidence() -> None:
    rows = good()
    ends_late(rows)
    (found,) = [each for each in compared(rows).differences if each.kind == "interval"]
    assert "bound 08:00:05; finished 08:00:14" in found.witness
    assert "ends between 08:00:14 and 08:00:15" in found.witness
    assert "08:00:05.400 to 08:00:15.001" in found.product
    assert "evidence exclusive" in found.product


def test_what_nobody_knows_is_not_told() -> None:
    """A stranger works on red's card all the time: how busy red was, no driver can tell."""
    stranger = Load(at_ms=at(1), device=WHOLE, pid=2, sm_percent=0)
    told = (*TOLD[:5], stranger, *TOLD[5:])
    kinds = {each.kind for each in compared(good(), told=told).differences}
    assert kinds == {"busy"}


def test_what_everybody_knows_is_told() -> None:
    rows = good()
    rows[2]["busy_ms"] = ""
    assert [each.kind for each in compared(rows).differences] == ["busy"]


def test_gaps_where_the_scenario_made_the_node_blind() -> None:
    rows = good()
    a_gap(rows)
    for begin, kinds in ((17.6, set()), (17.7, {"gap"})):
        blind = Blind(at_ms=at(begin), until_ms=at(60), why="the agent was killed")
        assert {each.kind for each in compared(rows, told=(*TOLD, blind)).differences} == kinds


def test_what_was_dark_is_no_idle_card_and_nobodys_by_an_agents_word() -> None:
    """A dead agent has seen neither; three beats after its death it has seen nothing, unless it is back by then."""
    rows = good()
    blind = Blind(at_ms=at(11), until_ms=at(26), why="killed", dark_from_ms=at(11), dark_until_ms=at(25))
    found = [each for each in compared(rows, told=(*TOLD, blind)).differences if each.kind == "dark"]
    assert len(found) == 4  # red, and the idle after it; blue, and what no instance covers beside it
    assert "nobody can have seen that from 08:00:14 to 08:00:25: killed" in found[0].witness
    brief = replace(blind, dark_until_ms=at(14))
    assert compared(rows, told=(*TOLD, brief)).differences == ()


def test_what_the_second_meter_alone_bills_while_nobody_could_see() -> None:
    """Blue was seen again when a beat had come; and whom the kubelet gave nothing no agent ever sees."""
    rows = good()
    unseen_in_the_middle(rows)
    blind = Blind(at_ms=at(21), until_ms=at(21), why="killed")
    assert compared(rows, told=(*TOLD, blind)).differences == ()
    refused = (replace(RED, given_ms=None), replace(BLUE, given_ms=None))
    assert compared(rows, *refused).differences == ()


def test_a_card_that_was_lost() -> None:
    rows = good()
    unhealthy(rows)
    lost = (Lost(at_ms=at(-1), gpu=WHOLE), Lost(at_ms=at(4), gpu=WHOLE, lost=False))
    assert compared(rows, told=(*TOLD, *lost)).differences == ()


def test_what_was_lost_is_no_idle_card_and_nobodys_by_the_drivers_word() -> None:
    """Three beats after it went nobody has seen the card, until it is back: not that it is free, nor what is done."""
    rows = good()
    lost = (Lost(at_ms=at(1), gpu=WHOLE), Lost(at_ms=at(12), gpu=WHOLE, lost=False))
    found = [each for each in compared(rows, told=(*TOLD, *lost)).differences if each.kind == "lost"]
    assert len(found) == 2  # what is free before red comes, and red by what the driver told
    assert "the card did not answer from 08:00:01 to 08:00:12" in found[0].witness
    unhealthy(rows)
    rows[2] |= held(5.4, 14.6, "red", "kubelet")
    assert compared(rows, told=(*TOLD, *lost)).differences == ()


def test_a_card_without_a_price() -> None:
    """Its idle time lies on an account of its own, and nowhere else."""
    rows = [each | {"list_amount": "", "amount": "", "unit_price": ""} for each in good()]
    told = tuple(each for each in TOLD if not isinstance(each, Prices))
    idle = [each for each in rows if each["kind"] != "held"]
    found = [each for each in compared(rows, told=told).differences if "platform:unpriced" in each.witness]
    assert len(found) == len(idle)
    for each in idle:
        each["cost_center_id"] = "platform:unpriced"
    assert compared(rows, told=told).differences == ()


def test_the_next_holder_begins_when_the_one_before_went() -> None:
    """Within the second in which one ended and the other was bound; the slot is nobody's at no time."""
    green = replace(RED, namespace="green", account="cc-green", from_ms=at(14), until_ms=at(20), uid="uid-green")
    green = replace(green, given_ms=at(14.6), started_ms=at(14))
    rows = good()
    names = {"namespace": "green", "pod": "red-pod", "cost_center_id": "cc-green"}
    rows[3:4] = [held(14.6, 20, "red", "exclusive", busy_ms=0, **names), row(20, 60, "free")]
    assert compared(rows, RED, BLUE, green).differences == ()
    rows[3:4] = [row(14.6, 14.7, "free"), held(14.7, 20, "red", "exclusive", busy_ms=0, **names)]
    assert [each.kind for each in compared(rows, RED, BLUE, green).differences] == ["interval"]


def test_a_namespace_that_changes_hands() -> None:
    holds = (replace(RED, until_ms=at(9)), replace(RED, account="cc-new", from_ms=at(9)))
    assert {each.kind for each in compared(good(), *holds, BLUE).differences} == {"account", "cost center"}
    rows = good()
    rows[2:3] = [
        held(5.4, 9, "red", "exclusive", busy_ms=1_000, energy_mj=360_000),
        held(9, 14.6, "red", "exclusive", busy_ms=3_000, energy_mj=560_000, cost_center_id="cc-new"),
    ]
    assert compared(rows, *holds, BLUE).differences == ()


def test_a_pod_that_no_agent_saw_may_be_on_any_card_of_its_price() -> None:
    """The product guesses its device: by the witness it was on another."""
    blind = Blind(at_ms=at(5), until_ms=at(15), why="the agent was killed")
    elsewhere = replace(RED, gpu="GPU-3", device="GPU-3")
    rows = good()
    rows[2] |= {"evidence": "api", "busy_ms": "", "memory_byte_seconds": "", "energy_mj": ""}
    assert compared(rows, elsewhere, BLUE, told=(*TOLD, blind)).differences == ()
    rows[2] |= {"evidence": "exclusive"}
    assert {each.kind for each in compared(rows, elsewhere, BLUE).differences} == {"device"}


def test_a_beat_may_have_begun_just_before_the_bind() -> None:
    """What it sees counts from its beginning, and the kubelet is asked in its course."""
    for began, kinds in ((9, set()), (8.999, {"interval"})):
        rows = good()
        rows[5] |= row(0, began, "free", device=SLICE, part=PART)
        rows[6] |= held(began, 30, "blue", "mig", busy_ms=0, energy_mj=0)
        assert {each.kind for each in compared(rows).differences} & {"interval"} == kinds


def test_whom_the_kubelet_refused_ends_when_he_was_last_known_to_live() -> None:
    """Nobody stamps it; of who was given his device it is known to the second."""
    refused = replace(BLUE, given_ms=None, stamped=False)
    for ended, given_ms, kinds in ((18.5, None, set()), (18.4, None, {"interval"}), (28.5, at(10), {"interval"})):
        rows = good()
        rows[6] |= held(10, ended, "blue", "api")
        rows[7] |= row(ended, 60, "free", device=SLICE, part=PART)
        comparison = compared(rows, RED, replace(refused, given_ms=given_ms))
        assert {each.kind for each in comparison.differences} & {"interval"} == kinds
        assert comparison.end_ms == (400 if given_ms is None else 1_500)


def test_a_guarantee() -> None:
    """Two cards: red fills one unit, and pays for the other, also when the witness has gone."""
    told = (*TOLD, Plan(at_ms=at(0), namespace="red", guaranteed=1))
    unused: Row = {"device": "plan", "gpu": "", "node": "", "namespace": "red", "resource": "nvidia.com/gpu"}
    unused |= {"gpu_ms_num": 0, "gpu_hours": "0.000000"}
    rows = good()
    for each in rows[1:3]:
        each["kind"] = "reserved"
    for begin, end in ((0, 5), (14.6, 65)):
        paid = row(begin, end, "unused", cost_center_id="cc-red", **unused) | {"list_amount": "0.000000"}
        back = paid | {"line_id": f"back-{begin}", "kind": "backed", "amount": f"-{paid['amount']}"}
        back |= {"cost_center_id": "platform:idle"}
        rows += [paid, back]
    assert compared(rows, told=told).differences == ()
    rows[-2]["cost_center_id"] = "cc-blue"
    assert {each.kind for each in compared(rows, told=told).differences} == {"account"}
    rows[-2]["cost_center_id"] = "cc-red"
    rows[-2]["quantity_ms_num"] *= 2
    assert {each.kind for each in compared(rows, told=told).differences} == {"plan", "money"}


def test_the_second_of_an_end_opens_no_sum() -> None:
    """Red's end may lie 400 ms before its stamp, and does: its sum lacks just that, and has not 10 micros more."""
    rows = good()
    extra = {"kind": "held", "namespace": "green", "gpu_ms_num": 0, "list_amount": "0.000000", "amount": "0.000010"}
    rows.append(rows[2] | extra)
    (found,) = [each for each in compared(rows).differences if each.subject == "cc-red"]
    assert "10.000 s of cards, 0.010000, of which 0.400 s of cards, 0.000400 at the ends" in found.witness
    assert "9.600 s of cards, 0.009610 on 3 lines" in found.product


def test_what_never_befell_has_left_no_line() -> None:
    """All that is asked of a line must be said by one; parts are of the card, for each share of a holder."""
    shows = ({"account": "cc-blue", "evidence": "mig", "part": "3/7"}, {"kind": "unpartitioned"})
    assert compared(good(), shows=shows).differences == ()
    (found,) = compared(good(), shows=(*shows, {"account": "cc-red", "profile": PROFILE})).differences
    assert (found.kind, found.subject) == ("shown", f"account cc-red, profile {PROFILE}")
