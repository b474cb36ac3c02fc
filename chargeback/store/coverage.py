"""How the card time of a month's rated hours is known: observed by agents, filled from the API, or a gap."""

from __future__ import annotations

from fractions import Fraction

from sqlalchemy import Connection, and_, case, func, select

from chargeback.core.lines import CHARGE, GAP_KIND
from chargeback.core.metered import API
from chargeback.core.months.sums import Coverage
from chargeback.store.tables import lines


def coverage_of(connection: Connection, month: str) -> list[Coverage]:
    """Of every cluster that has lines of the month, as one each (node "")."""
    is_gap = lines.c.kind == GAP_KIND
    is_api = and_(~is_gap, lines.c.evidence.startswith(API))
    query = (
        select(
            lines.c.cluster,
            lines.c.ms_den,
            func.sum(case((is_gap, lines.c.gpu_ms_num), else_=0)),
            func.sum(case((is_api, lines.c.gpu_ms_num), else_=0)),
            func.sum(lines.c.gpu_ms_num),
        )
        # Both databases find a month's lines by its days.
        .where(lines.c.month == month, lines.c.day.between(f"{month}-01", f"{month}-31"), lines.c.part == CHARGE)
        .group_by(lines.c.cluster, lines.c.ms_den)
    )
    sums: dict[str, list[Fraction]] = {}
    for cluster, den, gap, api, whole in connection.execute(query):
        parts = sums.setdefault(cluster, [Fraction(0)] * 3)
        for number, ms in enumerate((int(whole) - int(api) - int(gap), int(api), int(gap))):
            parts[number] += Fraction(ms, int(den))
    return [
        Coverage(cluster=cluster, node="", observed_ms=observed, api_ms=api, gap_ms=gap)
        for cluster, (observed, api, gap) in sorted(sums.items())
        if observed or api or gap
    ]
