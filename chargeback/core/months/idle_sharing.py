"""Sharing out idle at a month's close: transfers from `platform:idle` to those who held there. They sum to zero.

Only its net amount is shared, only if it is positive, only inside one cluster and model. Where nobody held anything,
or all weights are zero, it stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from chargeback.core.hours import HOUR_MS, local_day, month_span_ms
from chargeback.core.lines import IDLE, TRANSFER, Line, sku_of
from chargeback.core.money import split

NONE, EVEN, BY_LIST = "none", "even", "list"
_WORDS = {EVEN: "evenly", BY_LIST: "by list amount"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a cost center held of a model in a cluster in a month. list_micros: of that time, at list price."""

    cost_center: str
    gpu_ms: Fraction
    list_micros: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """micros: what the account pays; negative for the account it comes from."""

    cluster: str
    model: str
    account: str
    micros: int


def weights(policy: str, held: Iterable[Held]) -> dict[str, Fraction]:
    """By cost center, bytewise: those who held anything there, each alike (`even`), or by `list` amount."""
    holders = sorted((each for each in held if each.gpu_ms > 0), key=lambda each: each.cost_center.encode())
    if policy == NONE:
        return {}
    return {each.cost_center: Fraction(1) if policy == EVEN else each.list_micros for each in holders}


def share_out(cluster: str, model: str, net_micros: int, weighed: Mapping[str, Fraction]) -> list[Transfer]:
    """The transfers of one cluster and model; none where nothing is to be shared, or nobody to share it among.

    net_micros: the net amount of `platform:idle` there; weighed: by cost center, in bytewise order. A negative weight
    would be a payment to its cost center: it counts as an error of the caller.
    """
    assert all(weight >= 0 for weight in weighed.values()), weighed
    if net_micros <= 0 or not any(weighed.values()):
        return []
    parts = split(net_micros, list(weighed.values()))
    paid = [
        Transfer(cluster=cluster, model=model, account=cost_center, micros=part)
        for cost_center, part in zip(weighed, parts, strict=True)
        if part
    ]
    return [*paid, Transfer(cluster=cluster, model=model, account=IDLE, micros=-net_micros)]


def transfer_lines(
    transfers: Sequence[Transfer], month: str, timezone: str, policies: Mapping[str, tuple[str, int]]
) -> list[Line]:
    """Transfers as lines of the month's last hour: money alone, no time of a card.

    policies: by cluster, how idle is shared there, and the version of the policy that says so
    """
    end_ms = month_span_ms(month, timezone)[1]
    hour = (end_ms - 1) // HOUR_MS
    return [
        Line(
            cluster=transfer.cluster,
            node="",
            hour=hour,
            day=local_day(end_ms - 1, timezone).isoformat(),
            month=month,
            start_ms=max(hour * HOUR_MS, month_span_ms(month, timezone)[0]),
            end_ms=end_ms,
            account=transfer.account,
            kind=TRANSFER,
            device=f"transfer-{number}",
            parent="",
            model=transfer.model,
            profile=None,
            sku=sku_of(transfer.model, None),
            unit=None,
            unit_price=None,
            price_version=0,
            policy_version=policies[transfer.cluster][1],
            gpu_ms_num=0,
            quantity_ms_num=0,
            ms_den=1,
            list_micros=0,
            amount_micros=transfer.micros,
            cost_center=None if transfer.account == IDLE else transfer.account,
            evidence=f"idle shared {_WORDS[policies[transfer.cluster][0]]}",
        )
        for number, transfer in enumerate(transfers, start=1)
    ]
