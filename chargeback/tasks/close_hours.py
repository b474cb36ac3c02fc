"""Rate what is due: claim, merge, rate, put. No `if` about money here; the core decides.

A node-hour that leaves existing cards to the next makes that hour due in its time, so a silent node goes on being
accounted for, hour after hour, until its cards no longer exist.
"""

from __future__ import annotations

import asyncio
import logging
import time
from fractions import Fraction

from chargeback.clock import Clock
from chargeback.core.hours import HOUR_MS, format_hour
from chargeback.core.lines import Problem
from chargeback.rater import Rated, Terms, rate, read_terms
from chargeback.store.corrections import settled_months
from chargeback.store.database import Connection, Database, DatabaseUnavailable, PartFailed, part
from chargeback.store.node_hours import Known, NodeHourKey, claim, known_before, make_due, postpone, settle
from chargeback.store.pods import note_sights
from chargeback.store.problems import replace_problems
from chargeback.store.rollup import mark_days, rebuild_marked_day
from chargeback.tasks.post_lines import post_lines

log = logging.getLogger(__name__)

# Node-hours rated in one transaction: enough to share its cost, few enough that pushes do not wait long.
BATCH = 16
EVERY_S = 1.0
# A node-hour that cannot be rated is a defect of ours: it is tried again, for the next release may mend it.
UNRATED, RETRY_MS, SUBJECT_CHARS_MAX = "unrated", 600_000, 300


def close_due(database: Database, now_ms: int, grace_ms: int, limit: int = BATCH) -> int:
    """Rate up to `limit` node-hours that are due; how many. Safe to run twice and by several replicas."""
    with database.write() as connection:
        claimed = claim(connection, now_ms, limit)
        if not claimed:
            return 0
        terms, settled = read_terms(connection), settled_months(connection)
        days: set[tuple[str, str]] = set()
        for key, revision, left in claimed:
            try:
                with part(connection):
                    days |= _close(connection, terms, settled, key, revision + 1, left, now_ms, grace_ms)
            except PartFailed as error:
                # One that cannot be rated must not keep all others from it: it is set aside, loudly.
                log.error("node-hour not rated", extra={"key": str(key), "error": str(error), "todo": "report it"})
                subject = str(error).splitlines()[0][:SUBJECT_CHARS_MAX]
                replace_problems(connection, key, [Problem(kind=UNRATED, subject=subject, ms=Fraction(HOUR_MS))])
                postpone(connection, key, now_ms + RETRY_MS)
        mark_days(connection, days)
    return len(claimed)


def _close(
    connection: Connection,
    terms: Terms,
    settled: frozenset[str],
    key: NodeHourKey,
    revision: int,
    left: Known,
    now_ms: int,
    grace_ms: int,
) -> set[tuple[str, str]]:
    """Rate one node-hour and keep all that follows from it; the (cluster, day)s whose sums change."""
    started = time.perf_counter()
    rated = rate(terms, key, known_before(connection, key))
    changed = post_lines(connection, terms, key, rated.lines, revision, settled)
    wrong = sum(abs(problem.ms) for problem in rated.problems if problem.kind == "conservation")
    settle(connection, key, revision, rated.known, round(wrong), rated.differences, rated.existed)
    replace_problems(connection, key, rated.problems)
    note_sights(connection, key, rated.sights, now_ms)
    if rated.known != left:
        after = NodeHourKey(cluster=key.cluster, node=key.node, hour=key.hour + 1)
        make_due(connection, after, now_ms, grace_ms, create=bool(rated.known.gpus))
    _note_rated(key, revision, rated, time.perf_counter() - started)
    return {(key.cluster, day) for day in changed}


def rebuild_days(database: Database) -> None:
    """Make the totals of all marked days anew, a day a transaction."""
    while True:
        with database.write() as connection:
            if not rebuild_marked_day(connection):
                return


def close_all(database: Database, now_ms: int, grace_ms: int) -> int:
    """Everything that is due, to the end; how many node-hours."""
    total = 0
    while count := close_due(database, now_ms, grace_ms):
        total += count
    rebuild_days(database)
    return total


async def keep_closing(database: Database, clock: Clock, grace_ms: int) -> None:
    """Close hours as they become due. Ends only by cancellation."""
    while True:
        try:
            while await asyncio.to_thread(close_due, database, clock.now_ms(), grace_ms):
                pass
            await asyncio.to_thread(rebuild_days, database)
        except DatabaseUnavailable as error:
            log.warning("closing hours failed", extra={"error": str(error), "todo": "tried again shortly"})
        await clock.sleep(EVERY_S)


def _note_rated(key: NodeHourKey, revision: int, rated: Rated, took_s: float) -> None:
    """One line a finished hour, at debug level: a fleet closes thousands at once."""
    log.debug(
        "node-hour rated",
        extra={
            "cluster": key.cluster,
            "node": key.node,
            "hour": format_hour(key.hour),
            "revision": revision,
            "lines": len(rated.lines),
            "problems": [f"{problem.kind} {problem.subject}" for problem in rated.problems],
            "took_s": round(took_s, 4),
        },
    )
