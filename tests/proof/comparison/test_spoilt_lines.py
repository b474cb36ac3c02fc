"""A comparison finds what is wrong: one line of a good export is spoilt in every way, and each of them is found."""

from __future__ import annotations

import pytest

from tests.proof.comparison.minute import (
    PART,
    SLICE,
    WHOLE,
    Row,
    Spoil,
    a_gap,
    add,
    differences,
    ends_late,
    held,
    row,
    unhealthy,
    unseen_in_the_middle,
)


def begins_late(rows: list[Row]) -> None:
    del rows[1]
    rows[0] |= row(0, 5.4, "free")


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


def too_busy(rows: list[Row]) -> None:
    rows[2]["busy_ms"] = 9_000


def busy_for_too_long(rows: list[Row]) -> None:
    """He worked for 4 s in one go: a beat may have begun it 1 s too early, and a late one have ended it 2 s late."""
    rows[2]["busy_ms"] = 7_301


def busy_for_too_short(rows: list[Row]) -> None:
    rows[2]["busy_ms"] = 699


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
    """Red has been given its card by 5.2, and the API alone knows of it until 8.201."""
    rows[1] |= held(5, 8.201, "red", "api")
    rows[2] |= held(8.201, 14.6, "red", "exclusive", busy_ms=4_000, energy_mj=640_000)


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
        (busy_for_too_long, "busy"), (busy_for_too_short, "busy"),
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
    found = differences(spoil, kind)
    assert found, f"no difference of the kind {kind}"
    assert all(each.witness and each.product for each in found)
    assert "    witness: " in str(found[0])
