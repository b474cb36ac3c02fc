"""Totals as samples."""

from __future__ import annotations

from chargeback.core.totals import Total
from chargeback.samples.costs import excess, unowned, unpriced
from chargeback.standing import Standing


def total(account: str, seconds: int, corrects_month: str = "") -> Total:
    return Total(
        account=account, team="", cluster="lab", namespace="a", kind="held", sku="gpu.h100", model="H100", unit="",
        unit_price="", ms_den=1, gpu_ms_num=seconds * 1000, quantity_ms_num=0, list_micros=None, amount_micros=None,
        corrects_month=corrects_month,
    )  # fmt: skip


def test_time_without_a_price_is_not_hidden_by_what_got_one_after_its_month_was_closed() -> None:
    """Else nobody is told of it: the alert asks for more than zero."""
    own, back = total("platform:unpriced", 60), total("platform:unpriced", -90, "2026-01")
    assert dict(unpriced([[own, back]])) == {("lab", "H100"): 60.0}
    assert dict(unpriced([[total("rd-001", 60), back]])) == {("lab", "H100"): 0.0}


def test_time_without_an_owner_is_not_hidden_by_what_got_one_after_its_month_was_closed() -> None:
    own, back = total("unowned", 60), total("unowned", -90, "2026-01")
    assert dict(unowned([[own, back]])) == {("lab", "a"): 60.0}
    assert dict(unowned([[back], [own]])) == {("lab", "a"): 60.0}
    assert dict(unowned([[total("rd-001", 60)]])) == {}


def test_what_cards_do_not_have_is_negative_time_of_an_account_and_a_positive_figure() -> None:
    own, back = total("platform:difference", -60), total("platform:difference", 90, "2026-01")
    assert dict(excess([[own, back]])) == {("lab",): 60.0}
    assert dict(excess([[total("rd-001", 60), back]])) == {("lab",): 0.0}


def test_what_has_no_price_or_owner_is_told_of_until_its_month_is_closed() -> None:
    """Else the alert would end with the month, and nobody would mend what holds up its close."""
    first_minute_ms = 1_793_487_600_000  # of November 2026 in Paris: in London it is October still
    periods = {"month": [total("unowned", 1)], "last_month": [total("unowned", 60), total("platform:unpriced", 30)]}
    for state, seconds in (("draft", 61.0), ("closed", 1.0)):
        months = {"2026-10": state, "2026-09": "closed"}
        standing = Standing(periods=periods, months=months, rendered_ms=first_minute_ms, timezone="Europe/Paris")
        assert dict(unowned(standing.unclosed)) == {("lab", "a"): seconds}
    assert dict(unpriced(standing.unclosed)) == {("lab", "H100"): 0.0}
