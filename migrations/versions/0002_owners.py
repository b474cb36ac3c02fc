"""Owners that people correct, and when a cluster was last looked at.

Why:      a correction says who and why; a label's time counts only if it is after the last look.
Size:     two columns, NULL but for corrections; a row a cluster.
Locks:    `owners` for the instant of adding columns without a default.
Old code: goes on as before, but takes a correction for an owner that it saw: stop it before correcting.
Undo:     drops corrections, for older code would take them for owners that it saw; what was seen stays.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("owners", sa.Column("who", sa.Text))
    op.add_column("owners", sa.Column("why", sa.Text))
    op.create_table(
        "owner_looks",
        sa.Column("cluster", Name, primary_key=True),
        sa.Column("looked_ms", sa.BigInteger, nullable=False),
    )


def downgrade() -> None:
    op.execute("DELETE FROM owners WHERE source IN ('correction', 'cleared')")
    op.drop_table("owner_looks")
    op.drop_column("owners", "why")
    op.drop_column("owners", "who")
