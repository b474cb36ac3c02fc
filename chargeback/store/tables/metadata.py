"""What all tables have in common."""

from __future__ import annotations

from sqlalchemy import MetaData, Text

metadata = MetaData()

# PostgreSQL would order by locale; SQLite's own order is bytewise already.
Name = Text().with_variant(Text(collation="C"), "postgresql")
