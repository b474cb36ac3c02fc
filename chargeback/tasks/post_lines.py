"""Post what was rated: in open months as charges, for settled ones as what corrects them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chargeback.core.hours import months_of_hour
from chargeback.core.lines import Line
from chargeback.rater import Terms, has_plans, settle
from chargeback.store.corrections import correct_hour, correct_node_hours, standing_charges
from chargeback.store.database import Connection
from chargeback.store.ledger import replace_each
from chargeback.store.node_hours import NodeHourKey


def post_lines(
    connection: Connection,
    terms: Terms,
    rated: Sequence[tuple[NodeHourKey, int, Sequence[Line]]],
    settled: frozenset[str],
) -> set[tuple[str, str]]:
    """Post node-hours' lines, each with its revision; the (cluster, local day)s whose sums change.

    settled: all settled months, as they are since the ledger is shared. An hour at a month's end may lie half in one.
    """
    timezone = terms.policies.first.timezone
    charges: list[tuple[NodeHourKey, int, Sequence[Line]]] = []
    late: dict[tuple[str, int], dict[NodeHourKey, tuple[int, list[Line]]]] = {}
    for key, revision, lines in rated:
        months = settled & months_of_hour(key.hour, timezone)
        if months:
            of_months = [line for line in lines if line.month in months]
            late.setdefault((key.cluster, key.hour), {})[key] = revision, of_months
            lines = [line for line in lines if line.month not in months]
        charges.append((key, revision, lines))
    days: set[tuple[str, str]] = set()
    for (cluster, hour), of_hour in late.items():
        months = settled & months_of_hour(hour, timezone)
        days |= {(cluster, day) for day in _correct(connection, terms, cluster, hour, months, of_hour)}
    changed = replace_each(connection, charges)
    return days | {(key.cluster, day) for key, those in changed.items() for day in those}


def _correct(
    connection: Connection,
    terms: Terms,
    cluster: str,
    hour: int,
    months: frozenset[str],
    rated: Mapping[NodeHourKey, tuple[int, Sequence[Line]]],
) -> set[str]:
    """Correct node-hours of an hour at once; where it has plans, the whole of it, for they are settled across nodes.

    rated: by node-hour, its revision and the lines of its part in settled months.
    """
    revisions = {key.node: revision for key, (revision, _) in rated.items()}
    late = [line for _, lines in rated.values() for line in lines]
    if not has_plans(terms, cluster, hour):
        return correct_node_hours(connection, list(rated), months, late, revisions)
    standing = standing_charges(connection, cluster, hour, months, terms.policies.first.timezone)
    others = [line for line in standing if line.node not in revisions]
    lines, _ = settle(terms, cluster, hour, [*others, *late])
    mine = [line for line in lines if line.month in months]
    return correct_hour(connection, cluster, hour, months, mine, revisions)
