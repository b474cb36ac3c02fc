"""The monthly CSV is the same bytes on both databases, ordered bytewise."""

from __future__ import annotations

import csv
import io
import itertools
from pathlib import Path

from chargeback.core.owners.owners import Namespace
from chargeback.reports import month_csv
from chargeback.store.database import Database, open_database, sqlite_url
from chargeback.store.owners import note_namespaces
from chargeback.store.schema import migrate
from chargeback.tasks.close_hours import close_all, close_due, rebuild_days
from tests.chargeback.store.bodies import (
    CLUSTER,
    GRACE_MS,
    HOUR,
    body,
    gpu,
    holding,
    instance,
    mig_gpu,
    put,
    start_ms,
)
from tests.chargeback.store.conftest import begin
from tests.postgres import Postgres

NAMES = ("alpha", "Alpha", "al-pha", "al_pha", "Ärzte", "zürich", "Zebra", "éa", "日本", "alpha0")


def fill(database: Database) -> None:
    begin(database)
    with database.write() as connection:
        owners = [Namespace(name=name, cost_center=f"{name}-cc", team=name[::-1]) for name in NAMES]
        note_namespaces(connection, CLUSTER, owners, "file", 0)
    for hour, cluster in itertools.product((HOUR, HOUR + 1), (CLUSTER, "Lab")):
        cards = [gpu(f"GPU-{i}") for i in range(len(NAMES))]
        held = [holding(f"GPU-{i}", namespace=name, end=3_600_000 - i) for i, name in enumerate(NAMES)]
        put(database, body("n1", hour, cluster=cluster, gpus=cards, holdings=held))
        slices = [instance(f"MIG-{i}", gi=i) for i in range(7)]
        held = [holding(f"MIG-{i}", namespace=NAMES[i], start=i) for i in range(6)]
        put(database, body("n2", hour, cluster=cluster, gpus=[mig_gpu()], instances=slices, holdings=held))
    close_all(database, start_ms(HOUR + 3), GRACE_MS)


def test_both_databases_print_the_same_month(postgres: Postgres, tmp_path: Path) -> None:
    """Upper and lower case, `-`, `_` and other scripts, where locales differ."""
    found = []
    for url in (sqlite_url(tmp_path / "ledger.db"), postgres.new_database()):
        database = open_database(url)
        migrate(database)
        fill(database)
        found.append(b"".join(month_csv(database, "2026-10")))
        database.close()
    assert found[0] == found[1]
    rows = list(csv.DictReader(io.StringIO(found[0].decode(), newline="")))
    keys = [
        tuple(row[name].encode() for name in ("cost_center_id", "team", "cluster", "namespace", "kind", "sku"))
        for row in rows
    ]
    assert keys == sorted(keys)
    assert len(rows) == 36
    assert {name.encode() for name in NAMES} <= {key[3] for key in keys}


def test_the_month_does_not_depend_on_its_days_being_summed(ledger: Database) -> None:
    """The same bytes right after rating, and after the days are made anew."""
    for hour in (HOUR, HOUR + 1):
        put(ledger, body(hour=hour, holdings=[holding(end=1_000_000)]))
    while close_due(ledger, start_ms(HOUR + 3), GRACE_MS):
        pass
    before = b"".join(month_csv(ledger, "2026-10"))
    rebuild_days(ledger)
    assert b"".join(month_csv(ledger, "2026-10")) == before
    assert before.count(b"\r\n") == 3
