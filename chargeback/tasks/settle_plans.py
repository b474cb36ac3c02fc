"""Settle the plans of hours that are due: claim, take the hour's lines, settle, put what differs.

An hour is settled when all its node-hours are rated, for a guarantee counts across nodes; whoever rates one of them
makes the hour due again. No `if` about money here; the core decides.
"""

from __future__ import annotations

import logging
import time
from fractions import Fraction

from chargeback.core.hours import HOUR_MS, format_hour, months_of_hour
from chargeback.core.lines import CHARGE, Line, Problem
from chargeback.rater import read_terms, settle
from chargeback.store.corrections import correct_hour, settled_months, standing_charges
from chargeback.store.database import Connection, Database, PartFailed, part
from chargeback.store.ledger import lines_of_hour
from chargeback.store.node_hours import NodeHourKey
from chargeback.store.plan_hours import (
    PlanHour,
    claim_plan_hour,
    lock_node_hours,
    note_settled,
    postpone_plan_hour,
    replace_some,
)
from chargeback.store.problems import replace_problems
from chargeback.store.rollup import mark_days

log = logging.getLogger(__name__)

# One that cannot be settled is a defect of ours, as of node-hours; one whose node-hours are not all rated is not.
UNSETTLED, RETRY_MS, SUBJECT_CHARS_MAX = "unsettled", 600_000, 300
NOT_YET_MS = 5_000


def settle_due(database: Database, now_ms: int) -> bool:
    """Settle one hour that is due. False: none is. Safe to run twice and by several replicas."""
    with database.write() as connection:
        plan_hour = claim_plan_hour(connection, now_ms)
        if plan_hour is None:
            return False
        if not lock_node_hours(connection, plan_hour):
            postpone_plan_hour(connection, plan_hour, now_ms + NOT_YET_MS)
            return True
        try:
            with part(connection):
                days = _settle(connection, plan_hour)
        except PartFailed as error:
            log.error("plans not settled", extra={"hour": str(plan_hour), "error": str(error), "todo": "report it"})
            subject = str(error).splitlines()[0][:SUBJECT_CHARS_MAX]
            problem = Problem(kind=UNSETTLED, subject=subject, ms=Fraction(HOUR_MS))
            replace_problems(connection, {_key(plan_hour): [problem]})
            postpone_plan_hour(connection, plan_hour, now_ms + RETRY_MS)
            return True
        mark_days(connection, {(plan_hour.cluster, day) for day in days})
    return True


def _settle(connection: Connection, plan_hour: PlanHour) -> set[str]:
    """Settle an hour and put what differs; the local days whose sums change."""
    started = time.perf_counter()
    cluster, hour, revision = plan_hour.cluster, plan_hour.hour, plan_hour.revision + 1
    terms = read_terms(connection)
    timezone = terms.policies.first.timezone
    months = settled_months(connection) & months_of_hour(hour, timezone)
    lines = lines_of_hour(connection, cluster, hour)
    charges = [line for line in lines if line.part == CHARGE and line.month not in months]
    late = standing_charges(connection, cluster, hour, months, timezone) if months else []
    settled, problems = settle(terms, cluster, hour, [*charges, *late])
    days = _put(connection, charges, [line for line in settled if line.month not in months], revision)
    if months:
        of_months = [line for line in settled if line.month in months]
        days |= correct_hour(connection, cluster, hour, months, of_months, {"": revision})
    note_settled(connection, plan_hour)
    replace_problems(connection, {_key(plan_hour): problems})
    log.debug(
        "plans settled",
        extra={
            "cluster": cluster,
            "hour": format_hour(hour),
            "revision": revision,
            "lines": len(settled),
            "problems": [f"{problem.kind} {problem.subject}" for problem in problems],
            "took_s": round(time.perf_counter() - started, 4),
        },
    )
    return days


def _put(connection: Connection, before: list[Line], after: list[Line], revision: int) -> set[str]:
    """Only what settling has changed is written: most lines are of nobody with a plan."""
    was, now = ({line.line_id: line for line in lines} for lines in (before, after))
    gone = [line for name, line in was.items() if now.get(name) != line]
    new = [line for name, line in now.items() if was.get(name) != line]
    return replace_some(connection, gone, new, revision)


def _key(plan_hour: PlanHour) -> NodeHourKey:
    """What problems of a whole cluster's hour are kept by: it has no node."""
    return NodeHourKey(cluster=plan_hour.cluster, node="", hour=plan_hour.hour)


def settle_all(database: Database, now_ms: int) -> int:
    """Everything that is due, to the end; how many plan-hours."""
    total = 0
    while count := settle_due(database, now_ms):
        total += count
    return total
