"""The tables, as SQLAlchemy Core sees them. `migrations/` makes them; a test compares the two.

Times are unix milliseconds, hours are numbers since the epoch, money is whole micros. Text that is ordered in exports
is compared bytewise on both databases. How long a text may be is said at the doors, in `exporter/wire.py` and
`chargeback/cluster/objects.py`: a narrower column would let a body in and never rate it.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

# PostgreSQL would order by locale; SQLite's own order is bytewise already.
Name = Text().with_variant(Text(collation="C"), "postgresql")

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
)

# due_ms: when this node-hour is to be rated (again); NULL once it is. known: the cards that exist at its end, and the
# slots that known pods hold then (JSON). differences: ms of slots in which the two meters differ, by kind (JSON).
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
    Index("node_hours_due", "due_ms", "hour"),
)

nodes = Table(
    "nodes",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("node", Name, primary_key=True),
    Column("last_push_ms", BigInteger, nullable=False),
)

lines = Table(
    "lines",
    metadata,
    Column("line_id", String(32), primary_key=True),
    Column("cluster", Name, nullable=False),
    Column("node", Name, nullable=False),
    Column("hour", Integer, nullable=False),
    Column("day", String(10), nullable=False),
    Column("month", String(7), nullable=False),
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
    Index("lines_node_hour", "cluster", "node", "hour"),
    Index("lines_day", "day", "cluster"),
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
    Column("model", Name, nullable=False),
    Column("gpu_ms_num", BigInteger, nullable=False),
    Column("quantity_ms_num", BigInteger, nullable=False),
    Column("list_micros", BigInteger),
    Column("amount_micros", BigInteger),
    Index("day_totals_month", "month"),
)

# Days whose totals are to be made anew.
marked_days = Table(
    "marked_days",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("day", String(10), primary_key=True),
)

# What was seen of owners, and corrections by people (who, why); core/owner_history.py says what holds when.
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
)

# When a cluster's namespaces were last looked at.
owner_looks = Table(
    "owner_looks",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("looked_ms", BigInteger, nullable=False),
)

policies = Table(
    "policies",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("from_ms", BigInteger, nullable=False),
    Column("sharing", Name, nullable=False),
    Column("mig_weight", Name, nullable=False),
    Column("basis", Name, nullable=False),
    Column("plans_from", Name, nullable=False),
    Column("timezone", Name, nullable=False),
    Column("currency", String(3), nullable=False),
    Column("recorded_ms", BigInteger, nullable=False),
)

price_books = Table(
    "price_books",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("content", Text, nullable=False),
    Column("source", Text, nullable=False),
    Column("recorded_ms", BigInteger, nullable=False),
)

# Pods that used GPUs. alive_ms: up to when it lived for certain, ended_ms: from when it did not; both NULL: it lives.
# seen_ms, slots: when an agent first saw it hold something, and what (JSON). about: what else the API says (JSON).
pods = Table(
    "pods",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("uid", Name, primary_key=True),
    Column("namespace", Name, nullable=False),
    Column("pod", Name, nullable=False),
    Column("node", Name, nullable=False),
    Column("bound_ms", BigInteger, nullable=False),
    Column("alive_ms", BigInteger),
    Column("ended_ms", BigInteger),
    Column("seen_ms", BigInteger),
    Column("slots", Text, nullable=False),
    Column("about", Text, nullable=False),
    Index("pods_of_node", "cluster", "node", "ended_ms"),
    Index("pods_of_name", "cluster", "node", "pod"),
)

# Nodes of the cluster with history. gpus: what the node offered (JSON).
node_states = Table(
    "node_states",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("node", Name, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("uid", Name, nullable=False),
    Column("from_ms", BigInteger, nullable=False),
    Column("until_ms", BigInteger),
    Column("cordoned", Boolean, nullable=False),
    Column("gpus", Text, nullable=False),
)

# Up to when each kind of objects was followed on the cluster's API.
feeds = Table(
    "feeds",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("kind", Name, primary_key=True),
    Column("followed_ms", BigInteger, nullable=False),
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
