"""A closed month's idle, shared out once more, to see whether a transfer is still what comes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

from chargeback.core.hours import month_span_ms
from chargeback.core.lines import HOLDERS, IDLE, TRANSFER, UNOWNED, Line
from chargeback.core.months.idle_sharing import Held, share_out, transfer_lines, weights
from chargeback.core.totals import Total
from chargeback.rater import Terms
from chargeback.store.rollup import totals_of_month


def shared_again(terms: Terms, line: Line) -> tuple[Mapping[str, Fraction], Sequence[Line]]:
    """For the cluster and model of a transfer: the weights, and the transfers that come of them."""
    timezone = terms.policies.first.timezone
    policy = terms.policies.at(month_span_ms(line.month, timezone)[1] - 1, line.cluster)
    totals = [
        total
        for total in totals_of_month(terms.connection, line.month)
        if (total.cluster, total.model) == (line.cluster, line.model) and total.kind != TRANSFER
    ]
    idle_micros = sum(total.amount_micros or 0 for total in totals if total.account == IDLE)
    weighed = weights(policy.idle, _held(totals))
    shared = share_out(line.cluster, line.model, idle_micros, weighed)
    made = transfer_lines(shared, line.month, timezone, {line.cluster: (policy.idle, policy.version)})
    # Numbers run through all clusters and models of the month.
    return weighed, [replace(each, device=line.device) for each in made]


def _held(totals: Iterable[Total]) -> Iterator[Held]:
    """What each cost center held, in the month itself."""
    found: dict[str, list[Total]] = {}
    for total in totals:
        is_cost_center = not total.account.startswith("platform:") and total.account != UNOWNED
        if is_cost_center and total.kind in HOLDERS and not total.corrects_month:
            found.setdefault(total.account, []).append(total)
    for account, mine in found.items():
        yield Held(
            cost_center=account,
            gpu_ms=sum((total.gpu_ms for total in mine), Fraction(0)),
            list_micros=Fraction(sum(total.list_micros or 0 for total in mine)),
        )
