"""Rate what is due: claim, merge, rate, put. No `if` about money here; the core decides.

A node-hour that leaves existing cards to the next makes that hour due in its time, so a silent node goes on being
accounted for, hour after hour, until its cards no longer exist.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from chargeback.clock import Clock
from chargeback.core.hours import HOUR_MS, format_hour
from chargeback.core.lines import Problem
from chargeback.core.lives import PodLife
from chargeback.core.metered import Sight
from chargeback.rater import Rated, Terms, rate, read_terms
from chargeback.store.claims import Claimed, Settled, claim, postpone, settle, take_hours
from chargeback.store.corrections import settled_months
from chargeback.store.database import Busy, Connection, Database, DatabaseUnavailable, PartFailed, part
from chargeback.store.evidence import read_evidence
from chargeback.store.node_hours import NodeHourKey, after_of, make_each_due
from chargeback.store.plan_hours import node_hours_rated
from chargeback.store.problems import replace_problems
from chargeback.store.rollup import mark_days, rebuild_marked_day
from chargeback.store.sights import note_sights
from chargeback.tasks.post_lines import post_lines
from chargeback.tasks.settle_plans import settle_all, settle_due

log = logging.getLogger(__name__)

# Node-hours rated in one transaction: enough to share its cost, few enough that pushes do not wait long.
BATCH = 512
EVERY_S = 1.0
# Whoever has changes in hand is soon done.
BUSY_S = 0.1
# A node-hour that cannot be rated is a defect of ours: it is tried again, for the next release may mend it.
UNRATED, RETRY_MS, SUBJECT_CHARS_MAX = "unrated", 600_000, 300


def spare_collector() -> None:
    """Have Python look for cycles more rarely: rating makes many small values, and no cycles. To be called once."""
    gc.set_threshold(50_000, 20, 50)


def close_due(database: Database, now_ms: int, grace_ms: int, limit: int = BATCH) -> int:
    """Rate up to `limit` node-hours that are due; how many were. Safe to run twice and by several replicas.

    Those that somebody has changes in hand for stay due.
    """
    with database.write() as connection:
        claimed = claim(connection, now_ms, limit)
        if not claimed:
            return 0
        work = _Work(connection, read_terms(connection), settled_months(connection), now_ms, grace_ms)
        days = work.close_apart(claimed)
        node_hours_rated(connection, {(each.key.cluster, each.key.hour) for each in claimed}, now_ms)
        mark_days(connection, days)
    if len(work.busy) == len(claimed):
        time.sleep(BUSY_S)
    return len(claimed)


_Done = tuple[Claimed, Rated, list[tuple[Sight, PodLife]]]


@dataclass(frozen=True, slots=True)
class _Work:
    """One transaction's closing. settled: months whose lines do not change any more; busy: what stays due."""

    connection: Connection
    terms: Terms
    settled: frozenset[str]
    now_ms: int
    grace_ms: int
    busy: list[NodeHourKey] = field(default_factory=list)

    def close_apart(self, claimed: Sequence[Claimed]) -> set[tuple[str, str]]:
        """Close node-hours together, or, where one cannot be rated, each by itself; the days whose sums change.

        One that cannot be rated must not keep all others from it: it is set aside, loudly.
        """
        try:
            with part(self.connection):
                return self._close(claimed)
        except PartFailed as error:
            if len(claimed) == 1:
                self._set_aside(claimed[0].key, error)
                return set()
        except Busy:
            if len(claimed) == 1:
                self.busy.append(claimed[0].key)
                return set()
        days: set[tuple[str, str]] = set()
        for one in claimed:
            days |= self.close_apart([one])
        return days

    def _close(self, claimed: Sequence[Claimed]) -> set[tuple[str, str]]:
        """Rate node-hours, oldest first, and keep all that follows from it; the days whose sums change."""
        evidence = read_evidence(self.connection, [each.key for each in claimed])
        done: list[_Done] = []
        for each in claimed:
            started = time.perf_counter()
            rated = rate(self.terms, each.key, evidence)
            evidence.leave(each.key, rated.known)
            done.append((each, rated, evidence.see(each.key, rated.sights)))
            _note_rated(each.key, each.revision + 1, rated, time.perf_counter() - started)
        settle(self.connection, (_settled(each, rated) for each, rated, _ in done))
        replace_problems(self.connection, {each.key: rated.problems for each, rated, _ in done})
        # Before anybody's lines are waited for, and after `settle`, for an hour of this batch can become due again.
        self._make_others_due(claimed, done)
        posted = [(each.key, each.revision + 1, rated.lines) for each, rated, _ in done]
        return post_lines(self.connection, self.terms, posted, self.settled)

    def _make_others_due(self, claimed: Sequence[Claimed], done: Sequence[_Done]) -> None:
        """What follows for other hours; those of this batch were rated with it already. Raises Busy."""
        mine = {each.key for each in claimed}
        after = [(after_of(each.key), bool(rated.known.gpus)) for each, rated, _ in done if rated.known != each.left]
        others = [each for each in after if each[0] not in mine]
        due = take_hours(self.connection, [key for key, _ in others])
        not_due = [each for each in others if each[0] not in due]
        make_each_due(self.connection, not_due, self.now_ms, self.grace_ms)
        note_sights(self.connection, {each.key: news for each, _, news in done if news}, self.now_ms, mine)

    def _set_aside(self, key: NodeHourKey, error: PartFailed) -> None:
        log.error("node-hour not rated", extra={"key": str(key), "error": str(error), "todo": "report it"})
        subject = str(error).splitlines()[0][:SUBJECT_CHARS_MAX]
        replace_problems(self.connection, {key: [Problem(kind=UNRATED, subject=subject, ms=Fraction(HOUR_MS))]})
        postpone(self.connection, key, self.now_ms + RETRY_MS)


def _settled(claimed: Claimed, rated: Rated) -> Settled:
    wrong = sum(abs(problem.ms) for problem in rated.problems if problem.kind == "conservation")
    return Settled(
        key=claimed.key,
        revision=claimed.revision + 1,
        known=rated.known,
        error_ms=round(wrong),
        differences=rated.differences,
        existed=rated.existed,
    )


def rebuild_days(database: Database) -> None:
    """Make the totals of all marked days anew, a day a transaction."""
    while True:
        with database.write() as connection:
            if not rebuild_marked_day(connection):
                return


class Closed(NamedTuple):
    """What was due and is not any more. plan_hours: hours of clusters whose plans were settled."""

    node_hours: int
    plan_hours: int


def close_all(
    database: Database, now_ms: int, grace_ms: int, *, advance: Callable[[int], None] = lambda total: None
) -> Closed:
    """Everything that is due, to the end. advance: is told how many node-hours they are so far."""
    total = 0
    while count := close_due(database, now_ms, grace_ms):
        total += count
        advance(total)
    settled = settle_all(database, now_ms)
    rebuild_days(database)
    return Closed(total, settled)


async def keep_closing(database: Database, clock: Clock, grace_ms: int) -> None:
    """Close hours as they become due. Ends only by cancellation."""
    while True:
        try:
            while await asyncio.to_thread(close_due, database, clock.now_ms(), grace_ms):
                pass
            while await asyncio.to_thread(settle_due, database, clock.now_ms()):
                pass
            await asyncio.to_thread(rebuild_days, database)
        except DatabaseUnavailable as error:
            log.warning("closing hours failed", extra={"error": str(error), "todo": "tried again shortly"})
        await clock.sleep(EVERY_S)


def _note_rated(key: NodeHourKey, revision: int, rated: Rated, took_s: float) -> None:
    """One line a finished hour, at debug level: a fleet closes thousands at once."""
    if not log.isEnabledFor(logging.DEBUG):
        return
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
