"""Corrections of settled months: what differs from what stands there is posted in an open month.

Adjustments of an hour lie in open months until their own month is settled, too. Until then they are made anew with
every rating, as charges are, so it does not matter how often or in which order what they answer to came.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Connection, select

from chargeback.core.corrections import as_charge, correct, is_correction, net
from chargeback.core.lines import Line
from chargeback.store.ledger import delete_corrections, lines_of, lines_of_hour, put_lines
from chargeback.store.months import OPEN, month_states, posting_month
from chargeback.store.node_hours import NodeHourKey
from chargeback.store.tables import months as month_table


def settled_months(connection: Connection) -> frozenset[str]:
    """Months whose lines do not change any more: closed ones, and those that may be. Share the ledger before."""
    return frozenset(each.month for each in month_states(connection) if each.state != OPEN)


def correct_node_hours(
    connection: Connection,
    keys: Sequence[NodeHourKey],
    months: Collection[str],
    rated: Sequence[Line],
    revisions: Mapping[str, int],
) -> set[str]:
    """Post what makes of some node-hours' part in settled months what is rated now; the local days whose sums change.

    keys: all of one hour; months: settled ones that it has a part of; rated: that part's lines; revisions: by node.
    """
    _lock(connection, months)
    existing = lines_of(connection, keys)
    return _post(connection, existing, months, rated, revisions)


def correct_hour(
    connection: Connection,
    cluster: str,
    hour: int,
    months: Collection[str],
    rated: Sequence[Line],
    revisions: Mapping[str, int],
) -> set[str]:
    """As `correct_node_hours`, of an hour of a whole cluster: where its plans are settled across nodes."""
    _lock(connection, months)
    existing = lines_of_hour(connection, cluster, hour)
    return _post(connection, existing, months, rated, revisions)


def standing_charges(
    connection: Connection, cluster: str, hour: int, months: Collection[str], timezone: str
) -> list[Line]:
    """What counts now of an hour's part in settled months, as charges: as they were, or as they were restated.

    Nobody else corrects an hour of these months until the transaction ends.
    """
    _lock(connection, months)
    charges = (as_charge(line, timezone) for line in net(lines_of_hour(connection, cluster, hour)))
    return [charge for charge in charges if charge.month in months]


def _lock(connection: Connection, months: Collection[str]) -> None:
    """One correction of a month at a time: two must not both answer to what the other does not see yet."""
    query = select(month_table.c.month).where(month_table.c.month.in_(sorted(months))).order_by(month_table.c.month)
    connection.execute(query.with_for_update()).all()


def _post(
    connection: Connection,
    existing: Sequence[Line],
    months: Collection[str],
    rated: Sequence[Line],
    revisions: Mapping[str, int],
) -> set[str]:
    """revisions: by node; of lines of no node, and of others' that a plan moves, the greatest."""
    settled = settled_months(connection)
    standing = net(line for line in existing if line.month in settled)
    wanted = correct(standing, rated, posting_month(connection, max(months)))
    present = [line for line in existing if line.month not in settled and is_correction(line)]
    if _by_id(present) == _by_id(wanted):
        return set()
    days = set[str]()
    for cluster, node, hour in sorted({(line.cluster, line.node, line.hour) for line in present}):
        days |= delete_corrections(connection, NodeHourKey(cluster=cluster, node=node, hour=hour))
    newest = max(revisions.values())
    put_lines(connection, [(line, revisions.get(line.node, newest)) for line in wanted])
    return days | {line.day for line in wanted}


def _by_id(lines: Sequence[Line]) -> dict[str, Line]:
    return {line.line_id: line for line in lines}
