"""How the ledger stands, as plain values: what is due, who is silent, what is known of a month, which months wait."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from chargeback.core.hours import HOUR_MS, format_hour, format_instant, local_day
from chargeback.core.money import round_six
from chargeback.core.months.sums import Coverage
from chargeback.core.owners.lookalikes import look_alikes
from chargeback.store.backlogs import Backlog, conservation_error_ms, node_hour_backlog, plan_hour_backlog
from chargeback.store.coverage import coverage_of
from chargeback.store.database import Connection
from chargeback.store.drafts import draft_of
from chargeback.store.months import APPROVED, DRAFT, MonthState, month_states
from chargeback.store.node_hours import differences_since, last_pushes
from chargeback.store.node_states import unmetered_nodes
from chargeback.store.owners import owner_names
from chargeback.store.partitions import detached_tables
from chargeback.store.policies import policy_book
from chargeback.store.problems import problems_since
from chargeback.store.rollup import all_month_states, marked
from chargeback.store.schema import current

# An agent pushes its running hour every half minute.
SILENT_AFTER_S = 300
RECENT_HOURS = 24

Status = Mapping[str, Any]


def ledger_status(connection: Connection, month: str | None, now_ms: int) -> dict[str, Any]:
    """At an instant, with the coverage of a month (None: the current one). Hours and instants are texts."""
    since = now_ms // HOUR_MS - RECENT_HOURS
    node_hours, plan_hours = node_hour_backlog(connection, now_ms), plan_hour_backlog(connection, now_ms)
    book = policy_book(connection)
    timezone = "UTC" if book is None else book.first.timezone
    chosen = month or local_day(now_ms, timezone).isoformat()[:7]
    return {
        "schema": current(connection),
        "due_node_hours": sum(each.due for each in node_hours),
        "due_plan_hours": sum(each.due for each in plan_hours),
        "backlog": [*_backlog("node-hours", node_hours), *_backlog("plan-hours", plan_hours)],
        "days_to_sum": marked(connection),
        "lookalikes": {name: look_alikes(names) for name, names in owner_names(connection, now_ms).items()},
        "conservation_error_ms": sum(conservation_error_ms(connection).values()),
        "meter_difference_ms": differences_since(connection, since),
        "problems": [asdict(problem) for problem in problems_since(connection, since)],
        "unmetered": [asdict(node) for node in unmetered_nodes(connection)],
        "coverage": [_coverage(chosen, each) for each in coverage_of(connection, chosen)],
        "months": _months(connection),
        "detached": detached_tables(connection),
        "nodes": [
            {
                "cluster": cluster,
                "node": node,
                "last_push": format_instant(at_ms),
                "silent": now_ms - at_ms > SILENT_AFTER_S * 1000,
            }
            for cluster, node, at_ms in last_pushes(connection)
        ],
    }


def is_well(found: Status) -> bool:
    """Nothing is due, every node speaks, and time balances. What waits for people is not in it."""
    silent = any(node["silent"] for node in found["nodes"])
    due = found["due_node_hours"] or found["due_plan_hours"]
    return not (due or found["conservation_error_ms"] or found["unmetered"] or silent)


def _backlog(work: str, backlogs: Iterable[Backlog]) -> list[dict[str, Any]]:
    return [
        {
            "work": work,
            "cluster": each.cluster,
            "due": each.due,
            "held": each.held,
            "oldest": None if each.oldest_hour is None else format_hour(each.oldest_hour),
        }
        for each in backlogs
    ]


def _coverage(month: str, each: Coverage) -> dict[str, Any]:
    hours = {name: round_six(ms / HOUR_MS) for name, ms in (
        ("observed_gpu_hours", each.observed_ms), ("api_gpu_hours", each.api_ms), ("gap_gpu_hours", each.gap_ms),
    )}  # fmt: skip
    return {"month": month, "cluster": each.cluster, **hours, "covered_percent": round_six(each.covered * 100)}


def _months(connection: Connection) -> list[dict[str, Any]]:
    """With who prepared the draft that waits, or closed the month; those are None for what is open."""
    drafted = {each.month: each for each in month_states(connection)}
    return [
        {"month": month, "state": state, **_drafted(connection, drafted.get(month))}
        for month, state in all_month_states(connection).items()
    ]


def _drafted(connection: Connection, state: MonthState | None) -> dict[str, Any]:
    draft = None if state is None else draft_of(connection, state.month, state.draft)
    waits = state is not None and state.state in (DRAFT, APPROVED)
    return {
        "draft": None if state is None else state.draft or None,
        "waits": waits,
        "since": None if state is None else format_instant(state.changed_ms),
        "prepared_by": None if draft is None else draft.prepared_by,
        "approved_by": None if draft is None else draft.approved_by,
        "closed_by": None if draft is None else draft.closed_by,
    }
