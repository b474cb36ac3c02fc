"""What the cluster's API tells: pods and nodes over time, how far it was followed, and what is wrong with an hour.

Why:      the second meter clips and fills what agents saw by what the API knows.
Size:     a row a GPU pod, a row a change of a node, a row a kind and cluster, a row a problem.
Locks:    `node_hours` for the rewriting of `known`, a short text a row.
Old code: cannot read the new `known`; stop it before.
Undo:     drops what was learnt of pods and nodes; rated lines stay as they are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "pods",
        sa.Column("cluster", Name, primary_key=True),
        sa.Column("uid", Name, primary_key=True),
        sa.Column("namespace", Name, nullable=False),
        sa.Column("pod", Name, nullable=False),
        sa.Column("node", Name, nullable=False),
        sa.Column("bound_ms", sa.BigInteger, nullable=False),
        sa.Column("alive_ms", sa.BigInteger),
        sa.Column("ended_ms", sa.BigInteger),
        sa.Column("seen_ms", sa.BigInteger),
        sa.Column("slots", sa.Text, nullable=False),
        sa.Column("about", sa.Text, nullable=False),
    )
    op.create_index("pods_of_node", "pods", ["cluster", "node", "ended_ms"])
    op.create_index("pods_of_name", "pods", ["cluster", "node", "pod"])
    op.create_table(
        "node_states",
        sa.Column("cluster", Name, primary_key=True),
        sa.Column("node", Name, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("uid", Name, nullable=False),
        sa.Column("from_ms", sa.BigInteger, nullable=False),
        sa.Column("until_ms", sa.BigInteger),
        sa.Column("cordoned", sa.Boolean, nullable=False),
        sa.Column("gpus", sa.Text, nullable=False),
    )
    op.create_table(
        "feeds",
        sa.Column("cluster", Name, primary_key=True),
        sa.Column("kind", Name, primary_key=True),
        sa.Column("followed_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "problems",
        sa.Column("cluster", Name, primary_key=True),
        sa.Column("node", Name, primary_key=True),
        sa.Column("hour", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("kind", Name, primary_key=True),
        sa.Column("subject", Name, primary_key=True),
        sa.Column("ms", sa.BigInteger, nullable=False),
    )
    op.add_column("node_hours", sa.Column("differences", sa.Text, nullable=False, server_default="{}"))
    op.execute("UPDATE node_hours SET known = '{\"gpus\":' || known || ',\"held\":[]}'")


def downgrade() -> None:
    op.execute("UPDATE node_hours SET known = '[]'")
    op.drop_column("node_hours", "differences")
    op.drop_table("problems")
    op.drop_table("feeds")
    op.drop_table("node_states")
    op.drop_index("pods_of_name", "pods")
    op.drop_index("pods_of_node", "pods")
    op.drop_table("pods")
