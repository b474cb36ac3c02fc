"""The tables, as SQLAlchemy Core sees them. `migrations/` makes them; a test compares the two.

Times are unix milliseconds, hours are numbers since the epoch, money is whole micros. Text that is ordered in exports
is compared bytewise on both databases. How long a text may be is said at the doors, in `exporter/wire.py` and
`chargeback/cluster/objects.py`: a narrower column would let a body in and never rate it.
"""

from __future__ import annotations

from chargeback.store.tables.cluster import feeds, node_states, pods
from chargeback.store.tables.hours import (
    day_totals,
    kept_from,
    lines,
    marked_days,
    node_hour_bodies,
    node_hours,
    nodes,
    plan_hours,
    problems,
)
from chargeback.store.tables.metadata import metadata
from chargeback.store.tables.months import audit, drafts, months, statements
from chargeback.store.tables.terms import adjustments, budgets, owner_looks, owners, plans, policies, price_books

__all__ = [
    "adjustments",
    "audit",
    "budgets",
    "day_totals",
    "drafts",
    "feeds",
    "kept_from",
    "lines",
    "marked_days",
    "metadata",
    "months",
    "node_hour_bodies",
    "node_hours",
    "node_states",
    "nodes",
    "owner_looks",
    "owners",
    "plan_hours",
    "plans",
    "pods",
    "policies",
    "price_books",
    "problems",
    "statements",
]
