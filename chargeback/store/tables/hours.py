"""Node-hours as they came, their lines and the sums of those."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, LargeBinary, String, Table, Text, text

from chargeback.store.tables.metadata import Name, metadata

node_hour_bodies = Table(
    "node_hour_bodies",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("node", Name, primary_key=True),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("instance", Name, primary_key=True),
    Column("started_ms", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("through", Integer, nullable=False),
    Column("final", Boolean, nullable=False),
    Column("received_ms", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    postgresql_partition_by="RANGE (hour)",
)

# due_ms: when this node-hour is to be rated (again); NULL once it is. known: the cards that exist at its end, and the
# slots that known pods hold then (JSON). differences: ms of slots in which the two meters differ, by kind (JSON).
# existed: ms that its cards existed, by local month (JSON): what all of its lines must come to.
node_hours = Table(
    "node_hours",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("node", Name, primary_key=True),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("due_ms", BigInteger),
    Column("revision", Integer, nullable=False),
    Column("known", Text, nullable=False),
    Column("error_ms", BigInteger, nullable=False),
    Column("differences", Text, nullable=False, server_default="{}"),
    Column("existed", Text, nullable=False, server_default="{}"),
    # In the order of claims; what is rated is not in it.
    Index(
        "node_hours_due",
        "hour",
        "cluster",
        "node",
        postgresql_where=text("due_ms IS NOT NULL"),
        sqlite_where=text("due_ms IS NOT NULL"),
    ),
    # Few of many: what is provisional, and what is wrong or differs.
    *(
        Index(f"node_hours_{name}", "hour", "cluster", "node", postgresql_where=text(those), sqlite_where=text(those))
        for name, those in (
            ("unrated", "revision = 0"),
            ("wrong", "error_ms <> 0"),
            ("differing", "differences <> '{}'"),
        )
    ),
    Index("node_hours_hour", "cluster", "hour", "node"),
)

nodes = Table(
    "nodes",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("node", Name, primary_key=True),
    Column("last_push_ms", BigInteger, nullable=False),
)

# What is wrong with a rated node-hour. ms: how much time is concerned.
problems = Table(
    "problems",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("node", Name, primary_key=True),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("kind", Name, primary_key=True),
    Column("subject", Name, primary_key=True),
    Column("ms", BigInteger, nullable=False),
)

lines = Table(
    "lines",
    metadata,
    Column("line_id", String(32), primary_key=True),
    Column("cluster", Name, nullable=False),
    Column("node", Name, nullable=False),
    Column("hour", Integer, nullable=False),
    Column("day", String(10), nullable=False),
    Column("month", String(7), primary_key=True),
    Column("start_ms", BigInteger, nullable=False),
    Column("end_ms", BigInteger, nullable=False),
    Column("account", Name, nullable=False),
    Column("kind", Name, nullable=False),
    Column("device", Name, nullable=False),
    Column("parent", Name, nullable=False),
    Column("shares", Text, nullable=False),
    Column("model", Name, nullable=False),
    Column("profile", Name),
    Column("sku", Name, nullable=False),
    Column("unit", Name),
    Column("unit_price", Name),
    Column("namespace", Name, nullable=False),
    Column("pod", Name, nullable=False),
    Column("container", Name, nullable=False),
    Column("claim", Text, nullable=False),
    Column("cost_center", Name),
    Column("team", Name),
    Column("tier", Name),
    Column("owner_version", Integer),
    Column("price_version", Integer, nullable=False),
    Column("policy_version", Integer, nullable=False),
    Column("evidence", Name, nullable=False),
    Column("gpu_ms_num", BigInteger, nullable=False),
    Column("quantity_ms_num", BigInteger, nullable=False),
    Column("ms_den", BigInteger, nullable=False),
    Column("busy_ms", BigInteger),
    Column("memory_byte_seconds", BigInteger),
    Column("energy_mj", BigInteger),
    Column("list_micros", BigInteger),
    Column("amount_micros", BigInteger),
    Column("part", Name, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("resource", Name, nullable=False, server_default=""),
    Column("dimensions", Name, nullable=False, server_default="[]"),
    Column("list_hourly", Name),
    Column("hourly", Name),
    Column("used_num", BigInteger),
    Column("gpu_before_num", BigInteger, nullable=False, server_default="0"),
    Column("quantity_before_num", BigInteger, nullable=False, server_default="0"),
    Column("used_before_num", BigInteger, nullable=False, server_default="0"),
    Column("allocation_micros", BigInteger),
    Column("usage_micros", BigInteger),
    Column("plan_version", Integer),
    Column("base", String(32)),
    Column("base_unit", Name),
    Column("base_unit_price", Name),
    Column("base_quantity_num", BigInteger),
    Column("of_kind", Name, nullable=False, server_default=""),
    Column("corrects", Name, nullable=False, server_default=""),
    Column("corrects_month", String(7), nullable=False, server_default=""),
    Index("lines_hour", "cluster", "hour", "node"),
    Index("lines_day", "day", "cluster"),
    postgresql_partition_by="LIST (month)",
)

# The first month whose rows are kept, of a table that is kept by months. No row: none was let go yet.
kept_from = Table(
    "kept_from",
    metadata,
    Column("what", Name, primary_key=True),
    Column("month", String(7), nullable=False),
)

# Sums of a local day, made anew from its lines. Times of different denominators stand in rows of their own.
day_totals = Table(
    "day_totals",
    metadata,
    Column("month", String(7), nullable=False),
    Column("cluster", Name, primary_key=True),
    Column("day", String(10), primary_key=True),
    Column("account", Name, primary_key=True),
    Column("team", Name, primary_key=True),
    Column("namespace", Name, primary_key=True),
    Column("kind", Name, primary_key=True),
    Column("sku", Name, primary_key=True),
    Column("unit", Name, primary_key=True),
    Column("unit_price", Name, primary_key=True),
    Column("ms_den", BigInteger, primary_key=True, autoincrement=False),
    Column("dimensions", Name, primary_key=True, server_default="[]"),
    Column("corrects_month", String(7), primary_key=True, server_default=""),
    Column("model", Name, nullable=False),
    Column("gpu_ms_num", BigInteger, nullable=False),
    Column("quantity_ms_num", BigInteger, nullable=False),
    Column("list_micros", BigInteger),
    Column("amount_micros", BigInteger),
    Column("allocation_micros", BigInteger),
    Column("usage_micros", BigInteger),
    Column("unknown_usage_micros", BigInteger),
    Index("day_totals_month", "month"),
)

# Days whose totals are to be made anew.
marked_days = Table(
    "marked_days",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("day", String(10), primary_key=True),
)

# Hours of a cluster whose plans are settled from its lines. due_ms: as of node_hours.
plan_hours = Table(
    "plan_hours",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("hour", Integer, primary_key=True, autoincrement=False),
    Column("due_ms", BigInteger),
    Column("revision", Integer, nullable=False),
    Index("plan_hours_due", "due_ms", "hour"),
)
