"""Totals as samples."""

from __future__ import annotations

from chargeback.core.totals import Total
from chargeback.samples.costs import unpriced


def total(account: str, seconds: int, corrects_month: str = "") -> Total:
    return Total(
        account=account, team="", cluster="lab", namespace="a", kind="held", sku="gpu.h100", model="H100", unit="",
        unit_price="", ms_den=1, gpu_ms_num=seconds * 1000, quantity_ms_num=0, list_micros=None, amount_micros=None,
        corrects_month=corrects_month,
    )  # fmt: skip


def test_time_without_a_price_is_not_hidden_by_what_got_one_after_its_month_was_closed() -> None:
    """Else nobody is told of it: the alert asks for more than zero."""
    own, back = total("platform:unpriced", 60), total("platform:unpriced", -90, "2026-01")
    assert dict(unpriced({"month": [own, back]})) == {("lab", "H100"): 60.0}
    assert dict(unpriced({"month": [total("rd-001", 60), back]})) == {("lab", "H100"): 0.0}
