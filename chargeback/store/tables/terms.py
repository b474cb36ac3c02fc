"""What lines are rated by: owners, policy, prices, plans, people's adjustments; and budgets."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, String, Table, Text

from chargeback.store.tables.metadata import Name, metadata

# What was seen of owners, and corrections by people (who, why); core/owners/history.py says what holds when.
owners = Table(
    "owners",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("namespace", Name, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("uid", Name),
    Column("from_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger),
    Column("cost_center", Name),
    Column("team", Name),
    Column("tier", Name),
    Column("source", Name, nullable=False),
    Column("recorded_ms", BigInteger, nullable=False),
    Column("who", Text),
    Column("why", Text),
    # Of configured dimensions, as in a line.
    Column("dimensions", Name, nullable=False, server_default="[]"),
)

# When a cluster's namespaces were last looked at.
owner_looks = Table(
    "owner_looks",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("looked_ms", BigInteger, nullable=False),
)

# Each version changes what it names, in one scope (cluster, pool; empty: all); NULL: as it was before, or as the
# wider scope says. Timezone, currency and approver have no narrower scope.
policies = Table(
    "policies",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("from_ms", BigInteger, nullable=False),
    Column("cluster", Name, nullable=False, server_default=""),
    Column("pool", Name, nullable=False, server_default=""),
    Column("sharing", Name),
    Column("mig_weight", Name),
    Column("basis", Name),
    Column("plans_from", Name),
    Column("faulted", Name),
    Column("idle", Name),
    Column("approver", Name),
    Column("timezone", Name),
    Column("currency", String(3)),
    Column("recorded_ms", BigInteger, nullable=False),
    Column("who", Text),
    Column("why", Text),
)

price_books = Table(
    "price_books",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("content", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("recorded_ms", BigInteger, nullable=False),
    Column("who", Text),
    Column("why", Text),
)

# What namespaces are guaranteed and capped at, with history. layer: `file` (people's dated entries, which go first)
# or `seen` (annotations and quotas, as they were followed). Numbers are devices of one resource; NULL: not said.
plans = Table(
    "plans",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("namespace", Name, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("layer", Name, nullable=False),
    Column("resource", Name, nullable=False),
    Column("guaranteed", Integer),
    Column("cap", Integer),
    Column("price_key", Name, nullable=False, server_default=""),
    Column("source", Text, nullable=False),
    Column("from_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger),
    Column("recorded_ms", BigInteger, nullable=False),
    Column("who", Text),
    Column("why", Text),
)

# People's adjustments. Of kind nonbillable or outage they hold over time and rating takes them into account; of kind
# credit or debit they are a sum in a month. scope: JSON. withdrawn_ms: from when it is as if it had never been made.
adjustments = Table(
    "adjustments",
    metadata,
    Column("adjustment", Integer, primary_key=True, autoincrement=False),
    Column("kind", Name, nullable=False),
    Column("from_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger, nullable=False),
    Column("scope", Text, nullable=False),
    Column("amount_micros", BigInteger),
    Column("month", String(7), nullable=False),
    Column("reason", Text, nullable=False),
    Column("ticket", Text, nullable=False),
    Column("who", Text, nullable=False),
    Column("recorded_ms", BigInteger, nullable=False),
    Column("withdrawn_ms", BigInteger),
)

# What a cost center may spend a month, from a month on until the next version. amount_micros NULL: there is no
# budget from then on. thresholds: JSON, percent.
budgets = Table(
    "budgets",
    metadata,
    Column("cost_center", Name, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("from_month", String(7), nullable=False),
    Column("until_month", String(7)),
    Column("amount_micros", BigInteger),
    Column("thresholds", Text, nullable=False),
    Column("recorded_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("why", Text, nullable=False),
)
