"""Post what was rated: in open months as charges, for settled ones as what corrects them."""

from __future__ import annotations

from collections.abc import Sequence

from chargeback.core.hours import months_of_hour
from chargeback.core.lines import Line
from chargeback.rater import Terms, has_plans, settle
from chargeback.store.corrections import correct_hour, correct_node_hour, standing_charges
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
    charges: list[tuple[NodeHourKey, int, Sequence[Line]]] = []
    days: set[tuple[str, str]] = set()
    for key, revision, lines in rated:
        months = settled & months_of_hour(key.hour, terms.policies.first.timezone)
        if months:
            late = [line for line in lines if line.month in months]
            days |= {(key.cluster, day) for day in _correct(connection, terms, key, months, late, revision)}
            lines = [line for line in lines if line.month not in months]
        charges.append((key, revision, lines))
    changed = replace_each(connection, charges)
    return days | {(key.cluster, day) for key, those in changed.items() for day in those}


def _correct(
    connection: Connection,
    terms: Terms,
    key: NodeHourKey,
    months: frozenset[str],
    late: Sequence[Line],
    revision: int,
) -> set[str]:
    """Correct a node-hour; where the hour has plans, the whole of it, for they are settled across nodes."""
    cluster, hour = key.cluster, key.hour
    if not has_plans(terms, cluster, hour):
        return correct_node_hour(connection, key, months, late, revision)
    standing = standing_charges(connection, cluster, hour, months, terms.policies.first.timezone)
    others = [line for line in standing if line.node != key.node]
    lines, _ = settle(terms, cluster, hour, [*others, *late])
    mine = [line for line in lines if line.month in months]
    return correct_hour(connection, cluster, hour, months, mine, revision)
