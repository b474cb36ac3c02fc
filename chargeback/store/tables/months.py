"""Months: their drafts, statements and who did what."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Integer, LargeBinary, String, Table, Text

from chargeback.store.tables.metadata import Name, metadata

# A month that was ever drafted. state: draft, approved, closed; open ones that were may be here, too. first_hour,
# last_hour: UTC hours that it has a part of. While it is a draft or approved, its node-hours wait.
months = Table(
    "months",
    metadata,
    Column("month", String(7), primary_key=True),
    Column("state", Name, nullable=False),
    Column("draft", Integer, nullable=False),
    Column("first_hour", Integer, nullable=False),
    Column("last_hour", Integer, nullable=False),
    Column("changed_ms", BigInteger, nullable=False),
)

# Every draft of a month, with what it saw. cutoff_ms: what came later is not in it. checks, waived: JSON.
drafts = Table(
    "drafts",
    metadata,
    Column("month", String(7), primary_key=True),
    Column("draft", Integer, primary_key=True, autoincrement=False),
    Column("state", Name, nullable=False),
    Column("cutoff_ms", BigInteger, nullable=False),
    Column("prepared_ms", BigInteger, nullable=False),
    Column("prepared_by", Text, nullable=False),
    Column("approved_ms", BigInteger),
    Column("approved_by", Text),
    Column("closed_ms", BigInteger),
    Column("closed_by", Text),
    Column("lines", BigInteger, nullable=False),
    Column("list_micros", BigInteger, nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("checks", Text, nullable=False),
    Column("waived", Text, nullable=False),
)

# What a closed month says of an account. sha256: over the one before, and these rows of the monthly CSV.
statements = Table(
    "statements",
    metadata,
    Column("month", String(7), primary_key=True),
    Column("account", Name, primary_key=True),
    Column("number", Integer, nullable=False),
    Column("draft", Integer, nullable=False),
    Column("gpu_ms", Name, nullable=False),
    Column("list_micros", BigInteger, nullable=False),
    Column("amount_micros", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("previous_sha256", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Column("closed_ms", BigInteger, nullable=False),
)

# Who changed what, and why: only ever added to.
audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("recorded_ms", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Name, nullable=False),
    Column("subject", Name, nullable=False),
    Column("why", Text, nullable=False),
    Column("detail", Text, nullable=False),
)
