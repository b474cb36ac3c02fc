"""Lines of every sort in any number, made from a seed: names that locales sort apart, labels, slices, no price."""

from __future__ import annotations

import random
from collections.abc import Iterator
from fractions import Fraction

from chargeback.core import lines as ledger
from chargeback.core.hours import HOUR_MS, parse_hour
from chargeback.core.lines import Line
from chargeback.store.database import Database
from chargeback.store.ledger import put_lines
from chargeback.store.rollup import mark_days
from chargeback.tasks.close_hours import rebuild_days

MONTH = "2026-10"
NAMES = ("alpha", "Alpha", "al-pha", "Ärzte", "zürich", "=cmd", "éa", "日本")
PODS = ("web-7d4b9c6f5-x2x9k", "web-7d4b9c6f5-b7zz4", "web-0", "web-a-0", "train", "train-1", "web")
MODEL = "NVIDIA H100 80GB HBM3"
_FIRST = parse_hour("2026-10-01T00Z")
_BATCH = 5_000


def many_lines(number: int, seed: int = 0, days: int = 30) -> Iterator[Line]:
    """Over so many days of the month, in no order of names."""
    made = random.Random(seed)
    for i in range(number):
        hour = _FIRST + i * days * 24 // number
        yield _line(made, i, hour, f"2026-10-{1 + (hour - _FIRST) // 24:02d}")


def _line(made: random.Random, i: int, hour: int, day: str) -> Line:
    kind = made.choice((ledger.HELD, ledger.HELD, ledger.IDLE_HELD, ledger.FREE, ledger.DISCOUNT_KIND, ledger.UNUSED))
    name, den = made.choice(NAMES), made.choice((1, 1, 7, 4))
    is_held, is_priced = kind in (ledger.HELD, ledger.IDLE_HELD), made.random() < 0.9
    ms = 0 if kind in (ledger.DISCOUNT_KIND, ledger.UNUSED) else made.randint(1, HOUR_MS)
    amount = made.randint(-(10**9), 10**9) if is_priced else None
    of_platform = {ledger.FREE: ledger.IDLE, ledger.DISCOUNT_KIND: ledger.DISCOUNT}
    profile = "1g.10gb" if den == 7 else None
    return Line(
        cluster=made.choice(("lab", "Lab", "lab-2")),
        node="" if kind == ledger.UNUSED else f"n{i % 9}",
        hour=hour,
        day=day,
        month=MONTH,
        start_ms=hour * HOUR_MS + i % HOUR_MS,
        end_ms=hour * HOUR_MS + HOUR_MS,
        account=of_platform.get(kind, f"{name}-cc") if is_priced else ledger.UNPRICED,
        kind=kind,
        device=f"GPU-{i}",
        parent=f"GPU-{i % 50}",
        model=MODEL,
        profile=profile,
        sku=ledger.sku_of(MODEL, profile),
        unit="gpu-hour" if is_priced else None,
        unit_price=Fraction(made.choice((2_500_000, 10_000_000)), 4) if is_priced else None,
        price_version=1,
        policy_version=1,
        gpu_ms_num=ms,
        quantity_ms_num=ms,
        ms_den=den,
        list_micros=0 if is_priced and kind != ledger.FREE else amount,
        amount_micros=amount,
        shares="0" if is_held else "",
        namespace="" if kind == ledger.FREE else name,
        pod=made.choice(PODS) if is_held else "",
        container=made.choice(("main", "side")) if is_held else "",
        team=made.choice((None, "red", name[::-1])),
        evidence="exclusive" if is_held else "",
        busy_ms=made.choice((None, ms // 2)) if is_held else None,
        allocation_micros=amount if is_held else None,
        usage_micros=made.choice((None, amount // 3)) if is_held and amount is not None else None,
        dimensions=made.choice(((), (("project", "a"),), (("project", "b"), ("stage", "Prod")), (("stage", ""),))),
    )


def fill_with_lines(database: Database, number: int, days: int = 30) -> None:
    """Put them, and sum their days up."""
    batch: list[tuple[Line, int]] = []
    with database.write() as connection:
        marked: set[tuple[str, str]] = set()
        for line in many_lines(number, days=days):
            batch.append((line, 1))
            marked.add((line.cluster, line.day))
            if len(batch) == _BATCH:
                put_lines(connection, batch)
                batch.clear()
        put_lines(connection, batch)
        mark_days(connection, marked)
    rebuild_days(database)
