"""Alembic's entry: runs the migrations on the connection that `chargeback/store/schema.py` hands over."""

from __future__ import annotations

from alembic import context

from chargeback.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=False)
context.run_migrations()
