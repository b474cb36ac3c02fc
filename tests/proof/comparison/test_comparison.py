"""A comparison finds what is wrong: one line of a good export is spoilt in every way, and each of them is found."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

import pytest

from tests.proof.comparison.minute import BLUE, PART, RED, SLICE, TOLD, WHOLE, Row, add, at, compared, good, held, row
from tests.proof.witness.testimony import Blind, Load, Lost, Plan, Prices

Spoil = Callable[[list[Row]], None]


def test_two_who_agree() -> None:
    comparison = compared(good())
    assert comparison.differences == ()
    assert (comparison.end_ms, comparison.money_micros, comparison.by_api_s) == (400, 0, Fraction(2, 5))
    assert {name: float(each.gpu_s) for name, each in comparison.product.items()} == {
        "cc-red": 9.6,
        "cc-blue": pytest.approx(20 * 3 / 7),
    }


def begins_late(rows: list[Row]) -> None:
    del rows[1]
    rows[0] |= row(0, 5.4, "free")


def ends_late(rows: list[Row]) -> None:
    rows[2] |= held(5.4, 15.001, "red", "exclusive", busy_ms=4_000)
    rows[3] |= row(15.001, 60, "free")


def ends_soon(rows: list[Row]) -> None:
    rows[2] |= held(5.4, 13.999, "red", "exclusive", busy_ms=4_000)
    rows[3] |= row(13.999, 60, "free")


def breaks(rows: list[Row]) -> None:
    rows[6] |= held(10, 20, "blue", "mig")
    rows.append(row(20, 20.001, "free", device=SLICE, part=PART))
    rows.append(held(20.001, 30, "blue", "mig"))


def on_another_device(rows: list[Row]) -> None:
    rows[6] |= {"device": "MIG-2"}


def on_another_account(rows: list[Row]) -> None:
    rows[2] |= {"cost_center_id": "cc-blue"}


def a_micro_more(rows: list[Row]) -> None:
    add(rows[2], 1)
    add(rows[3], -1)


def a_micro_less_charged(rows: list[Row]) -> None:
    add(rows[6], -1, "amount")


def missing(rows: list[Row]) -> None:
    rows[5] |= row(0, 60, "free", device=SLICE, part=PART)
    del rows[6:]


def doubled(rows: list[Row]) -> None:
    rows.append(rows[6])


def of_nobody(rows: list[Row]) -> None:
    rows[3] |= {
        "kind": "held",
        "namespace": "green",
        "pod": "ghost",
        "container": "main",
        "cost_center_id": "cc-green",
    }


def of_another_part(rows: list[Row]) -> None:
    rows[6] |= {"gpu_ms_num": 20_000 * 4}


def a_gap(rows: list[Row]) -> None:
    rows[3] |= {"kind": "gap", "cost_center_id": "platform:gap"}


def unhealthy(rows: list[Row]) -> None:
    rows[0] |= {"kind": "unhealthy", "cost_center_id": "platform:unavailable"}


def too_busy(rows: list[Row]) -> None:
    rows[2]["busy_ms"] = 9_000


def too_much_energy(rows: list[Row]) -> None:
    rows[2]["energy_mj"] = 1_100_000


def of_unknown_energy(rows: list[Row]) -> None:
    rows[2]["energy_mj"] = ""


def busy_unseen(rows: list[Row]) -> None:
    rows[1]["busy_ms"] = 0


def drawing_unseen(rows: list[Row]) -> None:
    rows[1]["energy_mj"] = 40_000


def reserved(rows: list[Row]) -> None:
    rows[2]["kind"] = "reserved"


def waived(rows: list[Row]) -> None:
    rows[2]["kind"] = "faulted"


def idle_elsewhere(rows: list[Row]) -> None:
    rows[3] |= {"cost_center_id": "platform:unavailable"}


def idle_and_unpriced(rows: list[Row]) -> None:
    rows[0] |= {"cost_center_id": "platform:unpriced"}


def discounted_elsewhere(rows: list[Row]) -> None:
    """A micro off, which lies with the idle."""
    add(rows[2], -1, "amount")
    rows.append(rows[2] | {"kind": "discount", "of_kind": "held", "cost_center_id": "platform:idle", "gpu_ms_num": 0})
    rows[-1] |= {"list_amount": "0.000000", "amount": "0.000001"}


def cordoned(rows: list[Row]) -> None:
    rows[3] |= {"kind": "cordoned", "cost_center_id": "platform:unavailable"}


def transferred(rows: list[Row]) -> None:
    """Some micros of what was idle, to red: less than the second of its end costs."""
    money = {"kind": "transfer", "gpu": "", "node": "", "gpu_ms_num": 0, "list_amount": "0.000000"}
    rows.append(rows[0] | money | {"cost_center_id": "cc-red", "amount": "0.000009"})
    rows.append(rows[0] | money | {"amount": "-0.000009"})


def idle_by_usage(rows: list[Row]) -> None:
    rows[2]["kind"] = "idle-held"


def busy_before_it_started(rows: list[Row]) -> None:
    """Red's container started in second 7, and its line has another before it."""
    rows[2] |= held(7, 14.6, "red", "exclusive", busy_ms=4_000, energy_mj=760_000)
    rows.insert(2, held(5.4, 7, "red", "mig", busy_ms=1_000, energy_mj=160_000))


def begins_after_its_start(rows: list[Row]) -> None:
    del rows[1]
    rows[0] |= row(0, 8.001, "free")
    rows[1] |= held(8.001, 14.6, "red", "exclusive", busy_ms=4_000)


def unseen_for_long(rows: list[Row]) -> None:
    """Red has been given its card by 5.2, and the API alone knows of it until 6.701."""
    rows[1] |= held(5, 6.701, "red", "api")
    rows[2] |= held(6.701, 14.6, "red", "exclusive", busy_ms=4_000, energy_mj=790_000)


def unseen_in_the_middle(rows: list[Row]) -> None:
    rows[6] |= held(10, 20, "blue", "mig", busy_ms=0, energy_mj=0)
    rows.insert(7, held(20, 22, "blue", "api"))
    rows.insert(8, held(22, 30, "blue", "mig", busy_ms=0, energy_mj=0))


def of_another_team(rows: list[Row]) -> None:
    rows[6]["team"] = "red"


def reversed_once(rows: list[Row]) -> None:
    rows[3]["part"] = "reversal"


def of_another_card(rows: list[Row]) -> None:
    rows.append(rows[0] | {"gpu": "GPU-9", "device": "GPU-9"})


def on_no_card(rows: list[Row]) -> None:
    rows.append(rows[0] | {"gpu": "", "device": ""})


def of_another_model(rows: list[Row]) -> None:
    rows[0]["model"] = "NVIDIA A100-SXM4-80GB"


def in_another_node(rows: list[Row]) -> None:
    rows[0]["node"] = "n2"


def of_no_status(rows: list[Row]) -> None:
    rows[0]["status"] = "draft"


def of_another_resource(rows: list[Row]) -> None:
    rows[6]["resource"] = "nvidia.com/mig-3g.40gb"


def of_another_tier(rows: list[Row]) -> None:
    rows[2]["tier"] = "spot"


def of_another_owner(rows: list[Row]) -> None:
    rows[2]["cost_center"] = "cc-blue"


def of_another_profile(rows: list[Row]) -> None:
    rows[6]["profile"] = "4g.40gb"


def held_on_another_card(rows: list[Row]) -> None:
    rows[6]["gpu"] = WHOLE


def of_another_quantity(rows: list[Row]) -> None:
    """As if the price were that of an instance."""
    rows[6]["quantity_ms_num"] = 20_000 * 7


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (begins_late, "interval"), (ends_late, "interval"), (ends_soon, "interval"), (breaks, "missing"),
        (on_another_device, "device"), (on_another_account, "account"), (a_micro_more, "money"),
        (a_micro_less_charged, "money"), (missing, "missing"), (doubled, "doubled"), (of_nobody, "doubled"),
        (of_another_part, "part"), (a_gap, "gap"), (unhealthy, "gap"), (too_busy, "busy"),
        (too_much_energy, "energy"), (reserved, "plan"), (waived, "kind"),
        (idle_elsewhere, "account"), (idle_and_unpriced, "account"), (discounted_elsewhere, "account"),
        (cordoned, "kind"), (transferred, "kind"), (idle_by_usage, "kind"), (reversed_once, "kind"),
        (of_another_card, "card"), (on_no_card, "card"), (of_another_model, "card"), (in_another_node, "card"),
        (of_unknown_energy, "energy"), (busy_unseen, "busy"), (drawing_unseen, "energy"),
        (of_no_status, "kind"), (transferred, "cc-red"), (of_another_resource, "resource"),
        (of_another_tier, "tier"), (of_another_owner, "cost center"), (of_another_profile, "profile"),
        (busy_before_it_started, "start"), (begins_after_its_start, "start"), (unseen_for_long, "second meter"),
        (unseen_in_the_middle, "second meter"), (of_another_team, "team"),
        (held_on_another_card, "card"), (of_another_quantity, "money"),
    ],
)  # fmt: skip
def test_a_spoilt_line_is_found(spoil: Spoil, kind: str) -> None:
    """By its kind or subject, and printed with both sides' evidence."""
    rows = good()
    spoil(rows)
    found = [each for each in compared(rows).differences if kind in (each.kind, each.subject)]
    assert found, f"no difference of the kind {kind}"
    assert all(each.witness and each.product for each in found)
    assert "    witness: " in str(found[0])


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
    for begin, kinds in ((16.1, set()), (16.2, {"gap"})):
        blind = Blind(at_ms=at(begin), until_ms=at(60), why="the agent was killed")
        assert {each.kind for each in compared(rows, told=(*TOLD, blind)).differences} == kinds


def test_what_was_dark_is_no_idle_card_and_nobodys_by_an_agents_word() -> None:
    """A dead agent has seen neither; a beat after its death it has seen nothing, unless it is back within three."""
    rows = good()
    blind = Blind(at_ms=at(11), until_ms=at(26), why="killed", dark_from_ms=at(11), dark_until_ms=at(25))
    found = [each for each in compared(rows, told=(*TOLD, blind)).differences if each.kind == "dark"]
    assert len(found) == 4  # red, and the idle after it; blue, and what no instance covers beside it
    assert "nobody can have seen that from 08:00:12.500 to 08:00:25: killed" in found[0].witness
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


def test_a_card_without_a_price() -> None:
    """Its idle time lies on an account of its own, and nowhere else."""
    rows = [each | {"list_amount": "", "amount": ""} for each in good()]
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
    rows[2] |= {"evidence": "api", "busy_ms": "", "energy_mj": ""}
    assert compared(rows, elsewhere, BLUE, told=(*TOLD, blind)).differences == ()
    rows[2] |= {"evidence": "exclusive"}
    assert {each.kind for each in compared(rows, elsewhere, BLUE).differences} == {"device"}


def test_whom_the_kubelet_refused_ends_when_he_was_last_known_to_live() -> None:
    """Nobody stamps it; of who was given his device it is known to the second."""
    refused = replace(BLUE, given_ms=None, stamped=False)
    for ended, given_ms, kinds in ((18.5, None, set()), (18.4, None, {"interval"}), (28.5, at(10), {"interval"})):
        rows = good()
        rows[6] |= held(10, ended, "blue", "api")
        rows[7] |= row(ended, 60, "free", device=SLICE, part=PART)
        found = compared(rows, RED, replace(refused, given_ms=given_ms)).differences
        assert {each.kind for each in found} & {"interval"} == kinds


def test_a_guarantee() -> None:
    """Two cards: red fills one unit, and pays for the other, also when the witness has gone."""
    told = (*TOLD, Plan(at_ms=at(0), namespace="red", guaranteed=1))
    unused: Row = {"device": "plan", "gpu": "", "node": "", "namespace": "red", "resource": "nvidia.com/gpu"}
    unused["gpu_ms_num"] = 0
    rows = good()
    for each in rows[1:3]:
        each["kind"] = "reserved"
    for begin, end in ((0, 5), (14.6, 65)):
        paid = row(begin, end, "unused", cost_center_id="cc-red", **unused) | {"list_amount": "0.000000"}
        back = paid | {"kind": "backed", "cost_center_id": "platform:idle", "amount": f"-{paid['amount']}"}
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
