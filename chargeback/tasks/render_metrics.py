"""Gather what the metrics are made of and render the page, on our own beat."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from chargeback.budget_reports import budget_uses
from chargeback.clock import Clock
from chargeback.core.hours import HOUR_MS, local_day, month_after
from chargeback.core.lines import Line
from chargeback.core.owners.lookalikes import look_alikes
from chargeback.core.quota.idle_shares import recent_idle
from chargeback.core.totals import Total, total_of
from chargeback.families import render
from chargeback.rater import provisional
from chargeback.standing import Standing
from chargeback.store.backlogs import conservation_error_ms, due_of, node_hour_backlog, plan_hour_backlog
from chargeback.store.database import Connection, Database, DatabaseUnavailable
from chargeback.store.node_hours import differences_since, last_pushes
from chargeback.store.node_states import unmetered_nodes
from chargeback.store.owners import current_owners, owner_names
from chargeback.store.plans import filed_plans
from chargeback.store.policies import policy_book
from chargeback.store.problems import problems_since
from chargeback.store.rollup import all_month_states, totals_of_day, totals_of_month
from chargeback.tasks.follow_cluster import ClusterTables
from chargeback.tasks.quota_look import QuotaTrends, look

log = logging.getLogger(__name__)

EVERY_S = 15.0
# Until the cluster was read for the first time.
AT_FIRST_S = 0.5
# Differences between the meters and problems are shown for so long.
RECENT_HOURS = 24


# Counters that begin at zero, so that the first refusal is a rise.
_REFUSALS = (("400", "body"), ("401", "Authorization"), ("413", "body"), ("422", "body"))


@dataclass(slots=True)
class Pushes:
    """Counts of pushed bodies since the start: refused by (status, field), accepted by outcome."""

    refused: Counter[tuple[str, str]] = field(default_factory=lambda: Counter(dict.fromkeys(_REFUSALS, 0)))
    accepted: Counter[str] = field(default_factory=lambda: Counter({"stored": 0, "known": 0}))


@dataclass(slots=True)
class Page:
    """The rendered page; empty until it was made for the first time.

    is_whole  it was made when every table had been read, or refused, and what they say was noted
    trends    what was learnt while making it
    """

    content: bytes = b""
    is_whole: bool = False
    trends: QuotaTrends = field(default_factory=QuotaTrends)


def gather(
    database: Database, cluster: str, tables: ClusterTables, pushes: Pushes, trends: QuotaTrends, now_ms: int
) -> Standing:
    """Everything the metrics say, at one instant; what time tells is taken into `trends`."""
    with database.read() as connection:
        running = provisional(connection, now_ms)
        policies = policy_book(connection)
        policy = policies.at(now_ms, cluster) if policies else None
        timezone = policy.timezone if policy else "UTC"
        month = local_day(now_ms, timezone).isoformat()[:7]
        recent_problems = problems_since(connection, now_ms // HOUR_MS - RECENT_HOURS)
        trends.idle = recent_idle(running, cluster, now_ms)
        trends.filed = filed_plans(connection, cluster, now_ms)
        quotas = look(tables, policy.plans_from if policy else "annotations", trends, now_ms)
        return Standing(
            periods=_periods(connection, running, now_ms, policy.timezone) if policy else {},
            currency=policy.currency if policy else "",
            quotas=trends.take(quotas, now_ms),
            cluster=cluster,
            owners=current_owners(connection, cluster, now_ms),
            lookalikes={name: look_alikes(names) for name, names in owner_names(connection, now_ms).items()},
            budgets=budget_uses(connection, month, now_ms, timezone, running),
            months=all_month_states(connection),
            timezone=timezone,
            backlog=due_of(node_hour_backlog(connection, now_ms)),
            plan_backlog=due_of(plan_hour_backlog(connection, now_ms)),
            conservation_error_ms=conservation_error_ms(connection),
            differences=differences_since(connection, now_ms // HOUR_MS - RECENT_HOURS),
            problems=Counter((each.cluster, each.kind) for each in recent_problems),
            unmetered=unmetered_nodes(connection),
            last_pushes=last_pushes(connection),
            refused=dict(pushes.refused),
            accepted=dict(pushes.accepted),
            tables_read_ms=dict(tables.read_ms),
            rendered_ms=now_ms,
        )


async def keep_rendering(
    database: Database, cluster: str, tables: ClusterTables, pushes: Pushes, page: Page, clock: Clock
) -> None:
    """Ends only by cancellation. A database that is away leaves the last page, whose age it states."""
    while True:
        whole = tables.noted
        try:
            standing = await asyncio.to_thread(gather, database, cluster, tables, pushes, page.trends, clock.now_ms())
            page.content = await asyncio.to_thread(render, standing)
            page.is_whole = page.is_whole or whole
        except DatabaseUnavailable as error:
            log.warning("metrics not rendered", extra={"error": str(error)})
        await clock.sleep(EVERY_S if page.is_whole else AT_FIRST_S)


def _periods(connection: Connection, running: Sequence[Line], now_ms: int, timezone: str) -> dict[str, list[Total]]:
    today = local_day(now_ms, timezone)
    yesterday = today - timedelta(days=1)
    month = today.isoformat()[:7]
    before = month_after(month, -1)

    def with_running(totals: list[Total], field_name: str, value: str) -> list[Total]:
        return totals + [total_of(line) for line in running if getattr(line, field_name) == value]

    return {
        "today": with_running(totals_of_day(connection, today.isoformat()), "day", today.isoformat()),
        "yesterday": with_running(totals_of_day(connection, yesterday.isoformat()), "day", yesterday.isoformat()),
        "month": with_running(list(totals_of_month(connection, month)), "month", month),
        "last_month": with_running(list(totals_of_month(connection, before)), "month", before),
    }
