"""The ledger: bodies, node-hours, lines, day totals, owners and terms.

Why:      the first schema: what agents said, what it cost, and the terms it was billed by.
Size:     bodies 4 kB a node-hour (1,000 nodes: 35 GB a year); lines 0.5 kB each, 8 to 110 a node-hour.
Locks:    none held: new tables.
Old code: there is none.
Undo:     drops everything; agents resend what they still hold, the rest is lost.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def column(name: str, kind: object, *, null: bool = False, key: bool = False) -> sa.Column:
    return sa.Column(name, kind, nullable=null, primary_key=key, autoincrement=False)


def upgrade() -> None:
    _bodies()
    _lines()
    _totals()
    _terms()


def _bodies() -> None:
    op.create_table(
        "node_hour_bodies",
        column("cluster", Name, key=True),
        column("node", Name, key=True),
        column("hour", sa.Integer, key=True),
        column("instance", Name, key=True),
        column("started_ms", sa.BigInteger),
        column("seq", sa.BigInteger),
        column("through", sa.Integer),
        column("final", sa.Boolean),
        column("received_ms", sa.BigInteger),
        column("body", sa.LargeBinary),
    )
    op.create_table(
        "node_hours",
        column("cluster", Name, key=True),
        column("node", Name, key=True),
        column("hour", sa.Integer, key=True),
        column("due_ms", sa.BigInteger, null=True),
        column("revision", sa.Integer),
        column("known", sa.Text),
        column("error_ms", sa.BigInteger),
    )
    op.create_index("node_hours_due", "node_hours", ["due_ms", "hour"])
    op.create_table(
        "nodes",
        column("cluster", Name, key=True),
        column("node", Name, key=True),
        column("last_push_ms", sa.BigInteger),
    )


def _lines() -> None:
    op.create_table(
        "lines",
        column("line_id", sa.String(32), key=True),
        column("cluster", Name),
        column("node", Name),
        column("hour", sa.Integer),
        column("day", sa.String(10)),
        column("month", sa.String(7)),
        column("start_ms", sa.BigInteger),
        column("end_ms", sa.BigInteger),
        column("account", Name),
        column("kind", Name),
        column("device", Name),
        column("parent", Name),
        column("shares", sa.Text),
        column("model", Name),
        column("profile", Name, null=True),
        column("sku", Name),
        column("unit", Name, null=True),
        column("unit_price", Name, null=True),
        column("namespace", Name),
        column("pod", Name),
        column("container", Name),
        column("claim", sa.Text),
        column("cost_center", Name, null=True),
        column("team", Name, null=True),
        column("tier", Name, null=True),
        column("owner_version", sa.Integer, null=True),
        column("price_version", sa.Integer),
        column("policy_version", sa.Integer),
        column("evidence", Name),
        column("gpu_ms_num", sa.BigInteger),
        column("quantity_ms_num", sa.BigInteger),
        column("ms_den", sa.BigInteger),
        column("busy_ms", sa.BigInteger, null=True),
        column("memory_byte_seconds", sa.BigInteger, null=True),
        column("energy_mj", sa.BigInteger, null=True),
        column("list_micros", sa.BigInteger, null=True),
        column("amount_micros", sa.BigInteger, null=True),
        column("part", Name),
        column("revision", sa.Integer),
    )
    op.create_index("lines_node_hour", "lines", ["cluster", "node", "hour"])
    op.create_index("lines_day", "lines", ["day", "cluster"])


def _totals() -> None:
    op.create_table(
        "day_totals",
        column("month", sa.String(7)),
        column("cluster", Name, key=True),
        column("day", sa.String(10), key=True),
        column("account", Name, key=True),
        column("team", Name, key=True),
        column("namespace", Name, key=True),
        column("kind", Name, key=True),
        column("sku", Name, key=True),
        column("unit", Name, key=True),
        column("unit_price", Name, key=True),
        column("ms_den", sa.BigInteger, key=True),
        column("model", Name),
        column("gpu_ms_num", sa.BigInteger),
        column("quantity_ms_num", sa.BigInteger),
        column("list_micros", sa.BigInteger, null=True),
        column("amount_micros", sa.BigInteger, null=True),
    )
    op.create_index("day_totals_month", "day_totals", ["month"])
    op.create_table("marked_days", column("cluster", Name, key=True), column("day", sa.String(10), key=True))


def _terms() -> None:
    op.create_table(
        "owners",
        column("cluster", Name, key=True),
        column("namespace", Name, key=True),
        column("version", sa.Integer, key=True),
        column("uid", Name, null=True),
        column("from_ms", sa.BigInteger),
        column("until_ms", sa.BigInteger, null=True),
        column("cost_center", Name, null=True),
        column("team", Name, null=True),
        column("tier", Name, null=True),
        column("source", Name),
        column("recorded_ms", sa.BigInteger),
    )
    op.create_table(
        "policies",
        column("version", sa.Integer, key=True),
        column("from_ms", sa.BigInteger),
        column("sharing", Name),
        column("mig_weight", Name),
        column("basis", Name),
        column("plans_from", Name),
        column("timezone", Name),
        column("currency", sa.String(3)),
        column("recorded_ms", sa.BigInteger),
    )
    op.create_table(
        "price_books",
        column("version", sa.Integer, key=True),
        column("content", sa.Text),
        column("source", sa.Text),
        column("recorded_ms", sa.BigInteger),
    )


def downgrade() -> None:
    for table in (
        "price_books",
        "policies",
        "owners",
        "marked_days",
        "day_totals",
        "lines",
        "nodes",
        "node_hours",
        "node_hour_bodies",
    ):
        op.drop_table(table)
