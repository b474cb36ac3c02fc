"""Lines and bodies by month: partitions on PostgreSQL, so that old months can be let go at once.

Why:      bodies are kept for 400 days and lines for ten years; deleting them row by row would bloat the tables.
          Plans are settled from all lines of a cluster and hour, once all its node-hours are rated: indexes by hour.
          What is due is claimed in the order of hours: an index that holds it so, and nothing that is rated.
Size:     both tables are written once more, month by month: twice their size until the end. Measured: 1 M lines
          need about 20 s. SQLite keeps plain tables, and writes `lines` once more for its new key.
Locks:    all tables until the end (`chargeback/store/schema.py`): who writes or reads waits, and nothing is lost.
Old code: goes on: in a ledger that was in use, partitions are there from 400 days ago to three months ahead.
Undo:     puts all partitions into plain tables again; months that were detached stay as the tables they are.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

Name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

# Bodies may be so old, and the release before this one makes no partitions.
_BACK_DAYS, _AHEAD_MONTHS = 400, 3
_INDEXES = (("lines_hour", "(cluster, hour, node)"), ("lines_day", "(day, cluster)"))
_INDEXES_BEFORE = (("lines_node_hour", "(cluster, node, hour)"), ("lines_day", "(day, cluster)"))
_SOME_HOURS = (
    ("node_hours_due", "due_ms IS NOT NULL"),
    ("node_hours_unrated", "revision = 0"),
    ("node_hours_wrong", "error_ms <> 0"),
    ("node_hours_differing", "differences <> '{}'"),
)
_BODIES_KEY = "(cluster, node, hour, instance)"
_VACUUM = "WITH (autovacuum_vacuum_scale_factor = 0.02, toast.autovacuum_vacuum_scale_factor = 0.02)"


def upgrade() -> None:
    op.create_table(
        "kept_from",
        sa.Column("what", Name, primary_key=True),
        sa.Column("month", sa.String(7), nullable=False),
    )
    op.create_index("node_hours_hour", "node_hours", ["cluster", "hour", "node"])
    op.drop_index("node_hours_due", "node_hours")
    for name, those in _SOME_HOURS:
        op.execute(f"CREATE INDEX {name} ON node_hours (hour, cluster, node) WHERE {those}")
    if op.get_bind().dialect.name == "sqlite":
        _remake_key(["line_id", "month"], _INDEXES_BEFORE, _INDEXES)
        return
    month = "to_char(to_timestamp(hour * 3600.0) AT TIME ZONE 'UTC', 'YYYY-MM')"
    _partition("node_hour_bodies", "RANGE (hour)", f"SELECT DISTINCT {month} FROM node_hour_bodies_plain")
    _partition("lines", "LIST (month)", "SELECT DISTINCT month FROM lines_plain")
    op.execute(f"ALTER TABLE node_hour_bodies ADD CONSTRAINT node_hour_bodies_pkey PRIMARY KEY {_BODIES_KEY}")
    op.execute("ALTER TABLE lines ADD CONSTRAINT lines_pkey PRIMARY KEY (line_id, month)")
    _index(_INDEXES)


def downgrade() -> None:
    if op.get_bind().dialect.name == "sqlite":
        _remake_key(["line_id"], _INDEXES, _INDEXES_BEFORE)
    else:
        for table, key in (("node_hour_bodies", _BODIES_KEY), ("lines", "(line_id)")):
            op.execute(f"CREATE TABLE {table}_plain (LIKE {table} INCLUDING DEFAULTS)")
            op.execute(f"INSERT INTO {table}_plain SELECT * FROM {table}")
            op.execute(f"DROP TABLE {table}")
            op.execute(f"ALTER TABLE {table}_plain RENAME TO {table}")
            op.execute(f"ALTER TABLE {table} ADD CONSTRAINT {table}_pkey PRIMARY KEY {key}")
        _index(_INDEXES_BEFORE)
    op.drop_index("node_hours_hour", "node_hours")
    for name, _ in _SOME_HOURS:
        op.drop_index(name, "node_hours")
    op.create_index("node_hours_due", "node_hours", ["due_ms", "hour"])
    op.drop_table("kept_from")


def _index(indexes: tuple[tuple[str, str], ...]) -> None:
    for name, columns in indexes:
        op.execute(f"CREATE INDEX {name} ON lines {columns}")


def _partition(table: str, by: str, months_there: str) -> None:
    """Put a table's rows into partitions of it. Keys and indexes come after, when the rows are there."""
    op.execute(f"ALTER TABLE {table} RENAME TO {table}_plain")
    op.execute(f"CREATE TABLE {table} (LIKE {table}_plain INCLUDING DEFAULTS) PARTITION BY {by}")
    # Of a ledger that was in use: whoever wrote to it may go on for a while, and makes no partitions.
    spread = (
        "SELECT to_char(at, 'YYYY-MM') FROM generate_series("
        f"date_trunc('month', now() - interval '{_BACK_DAYS} days'), now() + interval '{_AHEAD_MONTHS} months',"
        " interval '1 month') AS at WHERE EXISTS (SELECT FROM node_hours)"
    )
    for (month,) in op.get_bind().execute(sa.text(f"{months_there} UNION {spread} ORDER BY 1")).all():
        storage = _VACUUM if table == "node_hour_bodies" else ""
        name = f"{table}_{month.replace('-', '_')}"
        op.execute(f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES {_bound(table, month)} {storage}")
    op.execute(f"INSERT INTO {table} SELECT * FROM {table}_plain")
    op.execute(f"DROP TABLE {table}_plain")


def _bound(table: str, month: str) -> str:
    if table == "lines":
        return f"IN ('{month}')"
    year, number = int(month[:4]), int(month[5:])
    after = f"{year + number // 12:04d}-{number % 12 + 1:02d}"
    hours = "SELECT CAST(extract(epoch FROM CAST(:first AS timestamptz)) / 3600 AS integer)"
    first, end = (
        op.get_bind().execute(sa.text(hours), {"first": f"{each}-01 00:00:00+00"}).scalar_one()
        for each in (month, after)
    )
    return f"FROM ({first}) TO ({end})"


def _remake_key(key: list[str], before: tuple[tuple[str, str], ...], after: tuple[tuple[str, str], ...]) -> None:
    """SQLite cannot change a table's key: the table is written once more."""
    old = sa.Table("lines", sa.MetaData(), autoload_with=op.get_bind())
    for name, _ in before:
        op.drop_index(name, "lines")
    op.rename_table("lines", "lines_plain")
    op.create_table(
        "lines",
        *(
            sa.Column(
                each.name,
                each.type,
                primary_key=each.name in key,
                nullable=each.nullable,
                server_default=each.server_default.arg if isinstance(each.server_default, sa.DefaultClause) else None,
            )
            for each in old.columns
        ),
    )
    op.execute("INSERT INTO lines SELECT * FROM lines_plain")
    op.drop_table("lines_plain")
    _index(after)
