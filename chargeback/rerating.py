"""What rating hours again would change: rated by the same functions, compared, and not stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from chargeback.core.corrections import as_charge, net, posted
from chargeback.core.differences import Sums, with_change
from chargeback.core.hours import months_of_hour
from chargeback.core.lines import Line
from chargeback.core.rating.waivers import Waiver
from chargeback.rater import PAGE_NODE_HOURS, Terms, has_plans, rate, settle
from chargeback.store.corrections import settled_months
from chargeback.store.evidence import read_evidence
from chargeback.store.hour_sums import HourSpan, hour_sums, to_rate
from chargeback.store.known import Known
from chargeback.store.ledger import lines_of, lines_of_hour
from chargeback.store.months import posting_month
from chargeback.store.node_hours import NodeHourKey

# Told how much is done, and of how much.
Told = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """Sums of a span's hours as they are, and as they would be. node_hours: how many would be rated."""

    before: Sums
    after: Sums
    node_hours: int


def preview(
    terms: Terms,
    span: HourSpan,
    now_ms: int,
    advance: Told = lambda done, total: None,
    *,
    planned: Sequence[Waiver] = (),
) -> Preview:
    """Rate a span's hours, up to what is due now, and compare. planned: waivers that are not recorded yet."""
    connection = terms.connection
    settled = settled_months(connection)
    keys = to_rate(connection, span, now_ms)
    before = after = hour_sums(connection, span)
    done = 0
    for (hour, _), group in groupby(_rated(terms, keys, planned), key=lambda each: (each[0].hour, each[0].cluster)):
        pairs = list(group)
        mine, rated = [key for key, _ in pairs], [line for _, lines in pairs for line in lines]
        months = settled & months_of_hour(hour, terms.policies.first.timezone)
        month = posting_month(connection, max(months)) if months else ""
        existing, wanted = _with_plans(terms, mine, rated)
        taken, put = posted(existing, wanted, settled, month)
        after = with_change(after, taken, put)
        done += len(mine)
        advance(done, len(keys))
    return Preview(before=before, after=after, node_hours=len(keys))


def _with_plans(
    terms: Terms, mine: Sequence[NodeHourKey], rated: Sequence[Line]
) -> tuple[Sequence[Line], Sequence[Line]]:
    """The lines that rating some node-hours of one hour concerns, and those that are to stand in their place."""
    connection, cluster, hour = terms.connection, mine[0].cluster, mine[0].hour
    if not has_plans(terms, cluster, hour):
        return lines_of(connection, mine), rated
    existing = lines_of_hour(connection, cluster, hour)
    nodes = {key.node for key in mine}
    timezone = terms.policies.first.timezone
    others = [as_charge(line, timezone) for line in net(existing) if line.node not in nodes]
    return existing, settle(terms, cluster, hour, [*others, *rated])[0]


def _rated(
    terms: Terms, keys: Sequence[NodeHourKey], planned: Sequence[Waiver]
) -> Iterator[tuple[NodeHourKey, Sequence[Line]]]:
    """Node-hours with their lines, each going on where the hour before ended. keys: oldest hour first."""
    left: dict[tuple[str, str], tuple[NodeHourKey, Known]] = {}
    for first in range(0, len(keys), PAGE_NODE_HOURS):
        page = keys[first : first + PAGE_NODE_HOURS]
        evidence = read_evidence(terms.connection, page, planned)
        for key in page:
            if (key.cluster, key.node) in left:
                evidence.leave(*left[key.cluster, key.node])
            rated = rate(terms, key, evidence)
            left[key.cluster, key.node] = (key, rated.known)
            yield key, rated.lines
