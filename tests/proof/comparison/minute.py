"""One minute of two cards, as witness and product say it alike: what tests of the comparison spoil.

A whole card, that red holds from second 5 to 15, and one of which blue holds three sevenths from 10 to 30. An hour of
a card costs 3.600001.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from tests.proof.comparison.case import Difference
from tests.proof.comparison.comparison import Comparison, compare
from tests.proof.comparison.strays import Stray
from tests.proof.witness.lives import Owner
from tests.proof.witness.reckoning import accounts
from tests.proof.witness.testimony import Card, Hold, Load, Mig, Power, Price, Prices, Slice, Testimony, Told

START_MS = 1_800_000_000_000 // 3_600_000 * 3_600_000
MODEL, WHOLE, CUT, SLICE = "NVIDIA H100 80GB HBM3", "GPU-1", "GPU-2", "MIG-1"
PROFILE, PART = "3g.40gb", Fraction(3, 7)
MICROS = 3_600_001
MEMORY_MIB = 1_000  # of who is busy, while he is
Row = dict[str, Any]
Spoil = Callable[[list[Row]], None]


def at(second: float) -> int:
    return START_MS + round(second * 1000)


def stamp(second: float) -> str:
    whole, ms = divmod(round(second * 1000), 1000)
    return f"2027-01-15T08:{whole // 60:02}:{whole % 60:02}" + (f".{ms:03}" if ms else "") + "Z"


def price_of(part: Fraction, begin: float, end: float) -> int:
    """What a part of a card costs from one second of the hour to another."""
    until = [MICROS * part * round(second * 1000) / 3_600_000 // 1 for second in (begin, end)]
    return int(until[1] - until[0])


def row(
    begin: float, end: float, kind: str, *, device: str = WHOLE, part: Fraction = Fraction(1), **fields: Any
) -> Row:
    """A line as the export has it: nobody's, if nothing else is said. begin, end: seconds of the hour."""
    gpu, profile = (WHOLE, "") if device == WHOLE else (CUT, PROFILE if device == SLICE else "")
    ms = round((end - begin) * 1000)
    money = f"{price_of(part, begin, end) / 1_000_000:.6f}"
    return {
        "line_id": f"{gpu}-{device}-{begin}", "from": stamp(begin), "until": stamp(end), "kind": kind, "of_kind": "",
        "cost_center_id": "platform:idle", "part": "charge", "node": "n1", "gpu": gpu, "device": device, "shares": "",
        "model": MODEL, "profile": profile, "cost_center": "", "team": "", "tier": "", "resource": "",
        "namespace": "", "pod": "", "container": "", "evidence": "", "busy_ms": "",
        "memory_byte_seconds": "", "energy_mj": "",
        "gpu_ms_num": part.numerator * ms, "quantity_ms_num": part.numerator * ms, "ms_den": part.denominator,
        "list_amount": money, "amount": money, "status": "provisional", "unit_price": "3.600001",
        "gpu_hours": f"{float(part * ms / 3_600_000):.6f}",
    } | fields  # fmt: skip


def held(begin: float, end: float, who: str, evidence: str, **fields: Any) -> Row:
    device, part = (WHOLE, Fraction(1)) if who == "red" else (SLICE, PART)
    names = {"namespace": who, "pod": f"{who}-pod", "container": "main", "cost_center_id": f"cc-{who}"}
    names |= {"cost_center": f"cc-{who}"}
    resource = {"resource": "nvidia.com/gpu", "shares": "0", "evidence": evidence}
    if (busy_ms := fields.get("busy_ms")) is not None:
        resource["memory_byte_seconds"] = str((busy_ms * MEMORY_MIB << 20) // 1000)
    made = row(begin, end, "held", device=device, part=part, **(names | resource | fields))
    return made | {"cost_center": made["cost_center_id"]}


def good() -> list[Row]:
    """What both say. Rounding is left to the last free line of a card."""
    rows = [
        row(0, 5, "free"),
        held(5, 5.4, "red", "api"),
        held(5.4, 14.6, "red", "exclusive", busy_ms=4_000, energy_mj=920_000),
        row(14.6, 60, "free"),
        row(0, 60, "unpartitioned", device=CUT, part=1 - PART),
        row(0, 10, "free", device=SLICE, part=PART),
        held(10, 30, "blue", "mig", busy_ms=0, energy_mj=0),
        row(30, 60, "free", device=SLICE, part=PART),
    ]
    for gpu in (WHOLE, CUT):
        mine = [each for each in rows if each["gpu"] == gpu]
        left = price_of(Fraction(1), 0, 60) - sum(round(float(each["amount"]) * 1e6) for each in mine)
        add(mine[-1], left)
    return rows


def add(each: Row, micros: int, *columns: str) -> None:
    for column in columns or ("list_amount", "amount"):
        each[column] = f"{(round(float(each[column]) * 1e6) + micros) / 1e6:.6f}"


def written(rows: list[Row]) -> str:
    file = io.StringIO(newline="")
    table = csv.DictWriter(file, fieldnames=list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    return file.getvalue()


TOLD: tuple[Told, ...] = (
    Card(at_ms=at(-60), gpu=WHOLE, model=MODEL),
    Card(at_ms=at(-60), gpu=CUT, model=MODEL),
    Mig(at_ms=at(-60), gpu=CUT, slices=(Slice(device=SLICE, profile=PROFILE, part=PART),)),
    Prices(at_ms=at(-60), prices=(Price(model=MODEL, micros=MICROS),)),
    Power(at_ms=at(-60), gpu=WHOLE, watts=100),
    Load(
        at_ms=at(8),
        device=WHOLE,
        pid=1,
        namespace="red",
        pod="red-pod",
        container="main",
        sm_percent=100,
        memory_mib=MEMORY_MIB,
    ),
    Load(at_ms=at(12), device=WHOLE, pid=1, over=True),
)
RED = Hold(
    account="cc-red", namespace="red", pod="red-pod", container="main", gpu=WHOLE, model=MODEL, device=WHOLE,
    from_ms=at(5), until_ms=at(15), given_ms=at(5.2), started_ms=at(7), uid="uid-red",
    evidence=("bound 08:00:05", "finished 08:00:14"),
)  # fmt: skip
BLUE = Hold(
    account="cc-blue", namespace="blue", pod="blue-pod", container="main", gpu=CUT, model=MODEL, device=SLICE,
    profile=PROFILE, part=PART, whole=PART, from_ms=at(10), until_ms=at(30), given_ms=at(10), uid="uid-blue",
)  # fmt: skip


def owners_over(namespace: str, from_ms: int, until_ms: int) -> Iterator[tuple[int, int, Owner]]:
    """Who pays for what a namespace does not use."""
    yield from_ms, until_ms, Owner(from_ms=0, account=f"cc-{namespace}", tier=None)


def compared(
    rows: list[Row],
    *holds: Hold,
    told: tuple[Told, ...] = TOLD,
    strays: dict[str, Stray] | None = None,
    shows: tuple[dict[str, str], ...] = (),
) -> Comparison:
    holds = holds or (RED, BLUE)
    sums = accounts(holds, told, owners_over, at(0), at(60))
    testimony = Testimony(from_ms=at(0), until_ms=at(60), holds=holds, told=told, accounts=sums)
    return compare(testimony, written(rows), strays, shows)


def differences(spoil: Spoil, kind: str) -> list[Difference]:
    """Those of a kind, or about such a subject, that are found once the minute's lines are spoilt."""
    rows = good()
    spoil(rows)
    return [each for each in compared(rows).differences if kind in (each.kind, each.subject)]


def ends_late(rows: list[Row]) -> None:
    rows[2] |= held(5.4, 15.001, "red", "exclusive", busy_ms=4_000)
    rows[3] |= row(15.001, 60, "free")


def unseen_in_the_middle(rows: list[Row]) -> None:
    rows[6] |= held(10, 20, "blue", "mig", busy_ms=0, energy_mj=0)
    rows.insert(7, held(20, 22, "blue", "api"))
    rows.insert(8, held(22, 30, "blue", "mig", busy_ms=0, energy_mj=0))


def a_gap(rows: list[Row]) -> None:
    rows[3] |= {"kind": "gap", "cost_center_id": "platform:gap"}


def unhealthy(rows: list[Row]) -> None:
    rows[0] |= {"kind": "unhealthy", "cost_center_id": "platform:unavailable"}
