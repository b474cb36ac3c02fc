"""Both databases: an SQLite file, and a PostgreSQL server of the session's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from chargeback.core.owners.owners import Namespace
from chargeback.core.policy import Policy
from chargeback.files.prices import parse_prices
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.owners import note_namespaces
from chargeback.store.policies import begin_policy
from chargeback.store.schema import migrate
from chargeback.store.terms import import_prices
from tests.chargeback.store.bodies import CLUSTER, PRICES
from tests.postgres import postgres

__all__ = ["postgres"]


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Of a database that is there, or can be made, and is empty."""
    if request.param == "sqlite":
        return sqlite_url(tmp_path / "ledger.db")
    fresh: str = request.getfixturevalue("postgres").new_database()
    return fresh


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    """Migrated, and empty."""
    database = open_database(url)
    migrate(database)
    yield database
    database.close()


@pytest.fixture
def ledger(database: Database) -> Database:
    """Begun: a policy, prices and owners, and no node-hour yet."""
    begin(database)
    return database


def begin(database: Database) -> None:
    with database.write() as connection:
        begin_policy(connection, Policy(), 0)
        import_prices(connection, parse_prices(PRICES, "prices.yaml"), "prices.yaml", "UTC", 0)
        owners = [
            Namespace(name="alpha", cost_center="cc-a", team="red"),
            Namespace(name="beta", cost_center="cc-b", team="blue", tier="best-effort"),
        ]
        note_namespaces(connection, CLUSTER, owners, "file", 0)
