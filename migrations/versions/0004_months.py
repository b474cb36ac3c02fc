"""What a month needs to be closed: plans, drafts and statements, adjustments, budgets, an audit, and richer lines.

Why:      a line can be cut exactly, explained and corrected; a month is drafted, approved and closed.
Size:     about 100 bytes more a line; a row an account and closed month; the rest are rows that people make.
Locks:    `lines`, `node_hours`, `owners`, `node_states` for the instant of adding columns with constant defaults;
          `day_totals` is made anew from `lines` in the background, and until then reports sum lines themselves.
Old code: goes on writing lines without what is new; node-hours become due, and the new code rates them again.
Undo:     drops drafts, statements, adjustments, budgets and plans, adjustment lines, and scoped policies.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

_LINES = (
    ("resource", Name, False, ""),
    ("dimensions", Name, False, "[]"),
    ("list_hourly", Name, True, None),
    ("hourly", Name, True, None),
    ("used_num", sa.BigInteger, True, None),
    ("gpu_before_num", sa.BigInteger, False, "0"),
    ("quantity_before_num", sa.BigInteger, False, "0"),
    ("used_before_num", sa.BigInteger, False, "0"),
    ("allocation_micros", sa.BigInteger, True, None),
    ("usage_micros", sa.BigInteger, True, None),
    ("plan_version", sa.Integer, True, None),
    ("base", sa.String(32), True, None),
    ("base_unit", Name, True, None),
    ("base_unit_price", Name, True, None),
    ("base_quantity_num", sa.BigInteger, True, None),
    ("of_kind", Name, False, ""),
    ("corrects", Name, False, ""),
    ("corrects_month", sa.String(7), False, ""),
)
_POLICY_FIELDS = ("sharing", "mig_weight", "basis", "plans_from", "timezone", "currency")
_NEW_TABLES = ("plans", "plan_hours", "months", "drafts", "statements", "adjustments", "budgets", "audit")


def upgrade() -> None:
    for name, kind, nullable, default in _LINES:
        op.add_column("lines", sa.Column(name, kind, nullable=nullable, server_default=default))
    op.add_column("node_hours", sa.Column("existed", sa.Text, nullable=False, server_default="{}"))
    op.add_column("owners", sa.Column("dimensions", Name, nullable=False, server_default="[]"))
    op.add_column("node_states", sa.Column("pool", Name, nullable=False, server_default=""))
    op.add_column("node_states", sa.Column("labels", sa.Text, nullable=False, server_default="{}"))
    op.add_column("price_books", sa.Column("who", sa.Text))
    op.add_column("price_books", sa.Column("why", sa.Text))
    with op.batch_alter_table("policies") as policies:
        for name in _POLICY_FIELDS:
            policies.alter_column(name, existing_type=sa.String(3) if name == "currency" else Name, nullable=True)
        for name in ("cluster", "pool"):
            policies.add_column(sa.Column(name, Name, nullable=False, server_default=""))
        for name in ("faulted", "idle", "approver"):
            policies.add_column(sa.Column(name, Name))
        for name in ("who", "why"):
            policies.add_column(sa.Column(name, sa.Text))
    _remake_day_totals(
        [
            sa.Column("dimensions", Name, primary_key=True, server_default="[]"),
            sa.Column("corrects_month", sa.String(7), primary_key=True, server_default=""),
        ],
        [sa.Column(name, sa.BigInteger) for name in ("allocation_micros", "usage_micros", "unknown_usage_micros")],
    )
    _make_plans()
    _make_months()
    _make_people()
    op.execute("UPDATE node_hours SET due_ms = 0 WHERE due_ms IS NULL")


def downgrade() -> None:
    op.drop_index("plan_hours_due", "plan_hours")
    for name in _NEW_TABLES:
        op.drop_table(name)
    op.execute("DELETE FROM lines WHERE corrects <> '' OR node = ''")
    _remake_day_totals([], [])
    op.execute("DELETE FROM policies WHERE cluster <> '' OR pool <> ''")
    first = "(SELECT {0} FROM policies AS began WHERE began.version = 1)"
    for name in _POLICY_FIELDS:
        op.execute(f"UPDATE policies SET {name} = {first.format(name)} WHERE {name} IS NULL")
    with op.batch_alter_table("policies") as policies:
        for name in ("why", "who", "approver", "idle", "faulted", "pool", "cluster"):
            policies.drop_column(name)
        for name in _POLICY_FIELDS:
            policies.alter_column(name, existing_type=sa.String(3) if name == "currency" else Name, nullable=False)
    for table, names in (
        ("price_books", ("why", "who")),
        ("node_states", ("labels", "pool")),
        ("owners", ("dimensions",)),
        ("node_hours", ("existed",)),
    ):
        for name in names:
            op.drop_column(table, name)
    for name, *_ in reversed(_LINES):
        op.drop_column("lines", name)
    op.execute("UPDATE node_hours SET due_ms = 0 WHERE due_ms IS NULL")


def _remake_day_totals(keys: list[sa.Column[object]], sums: list[sa.Column[object]]) -> None:
    """With another key. All days are marked: until their totals are made anew, reports sum their lines."""
    op.drop_index("day_totals_month", "day_totals")
    op.drop_table("day_totals")
    op.create_table(
        "day_totals",
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("cluster", Name, primary_key=True),
        sa.Column("day", sa.String(10), primary_key=True),
        *(
            sa.Column(name, Name, primary_key=True)
            for name in ("account", "team", "namespace", "kind", "sku", "unit", "unit_price")
        ),
        sa.Column("ms_den", sa.BigInteger, primary_key=True, autoincrement=False),
        *keys,
        sa.Column("model", Name, nullable=False),
        sa.Column("gpu_ms_num", sa.BigInteger, nullable=False),
        sa.Column("quantity_ms_num", sa.BigInteger, nullable=False),
        sa.Column("list_micros", sa.BigInteger),
        sa.Column("amount_micros", sa.BigInteger),
        *sums,
    )
    op.create_index("day_totals_month", "day_totals", ["month"])
    op.execute("DELETE FROM marked_days")
    op.execute("INSERT INTO marked_days (cluster, day) SELECT DISTINCT cluster, day FROM lines")


def _make_plans() -> None:
    op.create_table(
        "plans",
        sa.Column("cluster", Name, primary_key=True),
        sa.Column("namespace", Name, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("layer", Name, nullable=False),
        sa.Column("resource", Name, nullable=False),
        sa.Column("guaranteed", sa.Integer),
        sa.Column("cap", sa.Integer),
        sa.Column("price_key", Name, nullable=False, server_default=""),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("from_ms", sa.BigInteger, nullable=False),
        sa.Column("until_ms", sa.BigInteger),
        sa.Column("recorded_ms", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text),
        sa.Column("why", sa.Text),
    )
    op.create_table(
        "plan_hours",
        sa.Column("cluster", Name, primary_key=True),
        sa.Column("hour", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("due_ms", sa.BigInteger),
        sa.Column("revision", sa.Integer, nullable=False),
    )
    op.create_index("plan_hours_due", "plan_hours", ["due_ms", "hour"])


def _make_months() -> None:
    op.create_table(
        "months",
        sa.Column("month", sa.String(7), primary_key=True),
        sa.Column("state", Name, nullable=False),
        sa.Column("draft", sa.Integer, nullable=False),
        sa.Column("first_hour", sa.Integer, nullable=False),
        sa.Column("last_hour", sa.Integer, nullable=False),
        sa.Column("changed_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "drafts",
        sa.Column("month", sa.String(7), primary_key=True),
        sa.Column("draft", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", Name, nullable=False),
        sa.Column("cutoff_ms", sa.BigInteger, nullable=False),
        sa.Column("prepared_ms", sa.BigInteger, nullable=False),
        sa.Column("prepared_by", sa.Text, nullable=False),
        sa.Column("approved_ms", sa.BigInteger),
        sa.Column("approved_by", sa.Text),
        sa.Column("closed_ms", sa.BigInteger),
        sa.Column("closed_by", sa.Text),
        sa.Column("lines", sa.BigInteger, nullable=False),
        sa.Column("list_micros", sa.BigInteger, nullable=False),
        sa.Column("amount_micros", sa.BigInteger, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("checks", sa.Text, nullable=False),
        sa.Column("waived", sa.Text, nullable=False),
    )
    op.create_table(
        "statements",
        sa.Column("month", sa.String(7), primary_key=True),
        sa.Column("account", Name, primary_key=True),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("draft", sa.Integer, nullable=False),
        sa.Column("gpu_ms", Name, nullable=False),
        sa.Column("list_micros", sa.BigInteger, nullable=False),
        sa.Column("amount_micros", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
        sa.Column("previous_sha256", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("closed_ms", sa.BigInteger, nullable=False),
    )


def _make_people() -> None:
    op.create_table(
        "adjustments",
        sa.Column("adjustment", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", Name, nullable=False),
        sa.Column("from_ms", sa.BigInteger, nullable=False),
        sa.Column("until_ms", sa.BigInteger, nullable=False),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("amount_micros", sa.BigInteger),
        sa.Column("month", sa.String(7), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("ticket", sa.Text, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("recorded_ms", sa.BigInteger, nullable=False),
        sa.Column("withdrawn_ms", sa.BigInteger),
    )
    op.create_table(
        "budgets",
        sa.Column("cost_center", Name, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("from_month", sa.String(7), nullable=False),
        sa.Column("until_month", sa.String(7)),
        sa.Column("amount_micros", sa.BigInteger),
        sa.Column("thresholds", sa.Text, nullable=False),
        sa.Column("recorded_ms", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
    )
    op.create_table(
        "audit",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("recorded_ms", sa.BigInteger, nullable=False),
        sa.Column("who", sa.Text, nullable=False),
        sa.Column("action", Name, nullable=False),
        sa.Column("subject", Name, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
    )
