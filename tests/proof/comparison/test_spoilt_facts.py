"""What a line says beside its time, holder and money: spoilt in every way, and each of them is found."""

from __future__ import annotations

import pytest

from tests.proof.comparison.minute import CUT, Row, Spoil, differences


def by_another_evidence(rows: list[Row]) -> None:
    rows[6]["evidence"] = "exclusive"


def by_the_kubelet_alone(rows: list[Row]) -> None:
    rows[2]["evidence"] = "kubelet"


def free_where_nothing_is_cut(rows: list[Row]) -> None:
    rows[4] |= {"kind": "free", "device": CUT}


def uncut_where_all_is_whole(rows: list[Row]) -> None:
    rows[0]["kind"] = "unpartitioned"


def unsold_more_than_there_is(rows: list[Row]) -> None:
    rows[5] |= {"kind": "unsold", "gpu_ms_num": 10_000, "quantity_ms_num": 10_000, "ms_den": 1}


def on_no_device(rows: list[Row]) -> None:
    rows[7]["device"] = "MIG-9"


def somebodys_idle(rows: list[Row]) -> None:
    rows[3] |= {"namespace": "red", "pod": "red-pod", "container": "main"}


def busy_and_idle(rows: list[Row]) -> None:
    rows[3]["busy_ms"] = 0


def listed_and_no_time(rows: list[Row]) -> None:
    """A micro of a guarantee at list price, which lies on no card."""
    rows.append(rows[2] | {"line_id": "u", "kind": "unused", "gpu": "", "node": "", "gpu_ms_num": 0, "busy_ms": ""})
    rows[-1] |= {"energy_mj": "", "list_amount": "0.000001", "amount": "0.000000"}


def discounted_time(rows: list[Row]) -> None:
    rows.append(rows[2] | {"line_id": "d", "kind": "discount", "of_kind": "held", "busy_ms": "", "energy_mj": ""})
    rows[-1] |= {"cost_center_id": "platform:discount", "list_amount": "0.000000", "amount": "0.000000"}


def of_anothers_id(rows: list[Row]) -> None:
    rows[0]["line_id"] = rows[1]["line_id"]


def of_less_memory(rows: list[Row]) -> None:
    rows[2]["memory_byte_seconds"] = 999 << 20


def of_unknown_memory(rows: list[Row]) -> None:
    rows[6]["memory_byte_seconds"] = ""


def remembering_unseen(rows: list[Row]) -> None:
    rows[1]["memory_byte_seconds"] = 0


def at_another_unit_price(rows: list[Row]) -> None:
    rows[2]["unit_price"] = "3.600002"


def idle_at_another_unit_price(rows: list[Row]) -> None:
    rows[3]["unit_price"] = ""


def for_other_hours(rows: list[Row]) -> None:
    rows[6]["gpu_hours"] = "0.002382"


def idle_for_another_quantity(rows: list[Row]) -> None:
    rows[3]["quantity_ms_num"] += 1


@pytest.mark.parametrize(
    ("spoil", "kind"),
    [
        (by_another_evidence, "evidence"), (by_the_kubelet_alone, "evidence"), (by_the_kubelet_alone, "busy"),
        (free_where_nothing_is_cut, "part"), (uncut_where_all_is_whole, "part"), (on_no_device, "part"),
        (unsold_more_than_there_is, "part"), (somebodys_idle, "holder"), (busy_and_idle, "holder"),
        (listed_and_no_time, "kind"), (discounted_time, "kind"), (of_anothers_id, "id"),
        (of_less_memory, "memory"), (of_unknown_memory, "memory"), (remembering_unseen, "memory"),
        (at_another_unit_price, "money"), (idle_at_another_unit_price, "money"), (for_other_hours, "money"),
        (idle_for_another_quantity, "money"),
    ],
)  # fmt: skip
def test_a_spoilt_fact_is_found(spoil: Spoil, kind: str) -> None:
    assert differences(spoil, kind), f"no difference of the kind {kind}"
