"""Post what was rated: in open months as charges, for settled ones as what corrects them."""

from __future__ import annotations

from collections.abc import Sequence

from chargeback.core.hours import rating_intervals
from chargeback.core.lines import Line
from chargeback.rater import Terms
from chargeback.store.corrections import correct_node_hour
from chargeback.store.database import Connection
from chargeback.store.ledger import replace_lines
from chargeback.store.node_hours import NodeHourKey


def settled_of_hour(terms: Terms, hour: int, settled: frozenset[str]) -> frozenset[str]:
    """Those of the settled months that an hour has a part of."""
    return settled & {interval.month for interval in rating_intervals(hour, terms.policies.first.timezone)}


def post_lines(
    connection: Connection,
    terms: Terms,
    key: NodeHourKey,
    lines: Sequence[Line],
    revision: int,
    settled: frozenset[str],
) -> set[str]:
    """Post a node-hour's lines; the local days whose sums change. An hour at a month's end may lie half in either.

    settled: all settled months, as they are since the ledger is shared.
    """
    months = settled_of_hour(terms, key.hour, settled)
    if not months:
        return replace_lines(connection, key, lines, revision)
    days = replace_lines(connection, key, [line for line in lines if line.month not in months], revision)
    late = [line for line in lines if line.month in months]
    return days | correct_node_hour(connection, key, months, late, revision)
