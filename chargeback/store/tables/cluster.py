"""What the cluster's API tells over time."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, Index, Integer, Table, Text

from chargeback.store.tables.metadata import Name, metadata

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

# Nodes of the cluster with history. gpus: what the node offered (JSON). labels: those that prices may name (JSON).
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
    Column("pool", Name, nullable=False, server_default=""),
    Column("labels", Text, nullable=False, server_default="{}"),
)

# Up to when each kind of objects was followed on the cluster's API.
feeds = Table(
    "feeds",
    metadata,
    Column("cluster", Name, primary_key=True),
    Column("kind", Name, primary_key=True),
    Column("followed_ms", BigInteger, nullable=False),
)
