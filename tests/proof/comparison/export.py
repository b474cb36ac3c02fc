"""The product's word: `chargeback export --detail hour --provisional`, read as whoever has only docs/csv.md would."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction

from tests.proof.witness.tariff import HOUR_MS

MICROS = 1_000_000
# Kinds of lines by docs/csv.md: what a holder held, and what is a part of the card that nobody is charged for.
HELD = frozenset({"held", "reserved", "burst", "idle-held", "faulted", "outage", "nonbillable"})
PLATFORM = frozenset({"free", "unsold", "unpartitioned", "rounding", "gap", "unhealthy", "cordoned", "excess"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row. card_ms: of whole cards; quantity_ms: of the price's unit. Money in micros. None: it is empty.

    hours, unit_micros  as people read them: card_ms in hours, to six decimals; what a unit costs
    """

    line_id: str
    from_ms: int
    until_ms: int
    account: str
    kind: str
    of_kind: str
    part: str
    node: str
    gpu: str
    device: str
    shares: tuple[int, ...]
    model: str
    profile: str
    resource: str
    namespace: str
    pod: str
    container: str
    cost_center: str
    team: str
    tier: str
    evidence: str
    card_ms: Fraction
    quantity_ms: Fraction
    busy_ms: int | None
    memory_byte_s: int | None
    energy_mj: int | None
    hours: Decimal
    unit_micros: Decimal | None
    list_micros: int | None
    amount_micros: int | None
    status: str

    @property
    def holder(self) -> tuple[str, str, str]:
        return (self.namespace, self.pod, self.container)

    @property
    def ms(self) -> int:
        return self.until_ms - self.from_ms

    @property
    def hour(self) -> int:
        return self.from_ms // HOUR_MS

    @property
    def has_time(self) -> bool:
        """Of a card: all but what moves money alone."""
        return self.kind in HELD or self.kind in PLATFORM


def read(text: str) -> tuple[Line, ...]:
    """Every row, in the file's order."""
    return tuple(_line(row) for row in csv.DictReader(io.StringIO(text, newline="")))


def _line(row: dict[str, str]) -> Line:
    return Line(
        line_id=row["line_id"],
        from_ms=_instant(row["from"]),
        until_ms=_instant(row["until"]),
        account=row["cost_center_id"],
        kind=row["kind"],
        of_kind=row["of_kind"],
        part=row["part"],
        node=row["node"],
        gpu=row["gpu"],
        device=row["device"],
        shares=tuple(map(int, filter(None, row["shares"].split(",")))),
        model=row["model"],
        profile=row["profile"],
        resource=row["resource"],
        namespace=row["namespace"],
        pod=row["pod"],
        container=row["container"],
        cost_center=row["cost_center"],
        team=row["team"],
        tier=row["tier"],
        evidence=row["evidence"],
        card_ms=Fraction(int(row["gpu_ms_num"]), int(row["ms_den"])),
        quantity_ms=Fraction(int(row["quantity_ms_num"]), int(row["ms_den"])),
        busy_ms=_whole(row["busy_ms"]),
        memory_byte_s=_whole(row["memory_byte_seconds"]),
        energy_mj=_whole(row["energy_mj"]),
        hours=Decimal(row["gpu_hours"]),
        unit_micros=Decimal(row["unit_price"]) * MICROS if row["unit_price"] else None,
        list_micros=_micros(row["list_amount"]),
        amount_micros=_micros(row["amount"]),
        status=row["status"],
    )


def _instant(text: str) -> int:
    whole, _, ms = text.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{whole}+00:00").timestamp()) * 1000 + int(ms or 0)


def _whole(text: str) -> int | None:
    return int(text) if text else None


def _micros(text: str) -> int | None:
    return int(Decimal(text) * MICROS) if text else None
