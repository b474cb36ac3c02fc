"""What a line says by itself, in sections of its explanation: what it is about, its amount, its time."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from chargeback.core import lines as ledger
from chargeback.core.explaining.arithmetic import Around, Working, workings
from chargeback.core.explaining.explaining import Fact, Section, fact, section
from chargeback.core.hours import format_instant
from chargeback.core.lines import Line
from chargeback.core.money import MICROS, MS_PER_HOUR, format_decimal, format_micros, round_six

# What each kind of line is, said of the line.
KINDS = {
    ledger.HELD: "GPU time held",
    ledger.IDLE_HELD: "GPU time held and not busy",
    ledger.RESERVED: "guaranteed GPU time held",
    ledger.BURST: "GPU time held beyond the guarantee",
    ledger.FAULTED: "GPU time held while the card was faulty",
    ledger.OUTAGE: "GPU time held in an outage",
    ledger.NONBILLABLE: "GPU time held that is not billable",
    ledger.FREE: "idle time that nobody held",
    ledger.UNSOLD: "shares that nobody held",
    ledger.UNPARTITIONED: "capacity that no MIG instance covers",
    ledger.ROUNDING: "what rounding leaves of a card's price",
    ledger.GAP_KIND: "time that nobody observed",
    ledger.UNHEALTHY: "time of a faulty card that nobody held",
    ledger.CORDONED: "time on a cordoned node that nobody held",
    ledger.EXCESS: "time that cannot be: more was held than there is",
    ledger.DISCOUNT_KIND: "the difference between list price and charge",
    ledger.UNUSED: "unused guarantee",
    ledger.BACKED: "idle cards behind an unused guarantee",
    ledger.UNBACKED: "no idle cards behind an unused guarantee",
    ledger.TRANSFER: "a share of the month's idle time",
    ledger.CREDIT: "a credit",
    ledger.DEBIT: "a debit",
}
PARTS = {ledger.REVERSAL: "takes back", ledger.RESTATED: "stands in the place of"}


def title_of(line: Line, currency: str) -> str:
    """`3.000000 USD on cc-a: GPU time held by alpha/train/main`."""
    amount = "No price" if line.amount_micros is None else f"{format_micros(line.amount_micros)} {currency}"
    holder = "/".join(name for name in (line.namespace, line.pod, line.container) if name)
    by = "" if not holder else f" by {holder}" if line.kind in ledger.HOLDERS else f" of {holder}"
    part = {ledger.REVERSAL: ", taken back", ledger.RESTATED: ", as it is right"}.get(line.part, "")
    return f"{amount} on {line.account}: {KINDS[line.kind]}{by}{part}"


def subtitle_of(line: Line) -> str:
    """When and where."""
    where = [f"{line.device} ({line.model})" if line.parent else "", f"node {line.node}" if line.node else ""]
    cluster = f"cluster {line.cluster}" if line.cluster else ""
    return ", ".join(text for text in (f"{_span(line)}", *where, cluster) if text)


def line_section(line: Line, state: str) -> Section:
    part = "charge" if line.part == ledger.CHARGE else f"{line.part}: {PARTS[line.part]} {line.corrects}"
    return section(
        "line",
        (
            fact("id", line.line_id),
            fact("account", line.account),
            fact("kind", line.kind),
            fact("part", part, line.part),
            fact("month", f"{line.month}, which is {state}; day {line.day}", line.month),
            fact("day", None, line.day),
            fact("month state", None, state),
            fact("corrects", None, line.corrects),
            fact("corrects month", line.corrects_month),
        ),
    )


def amount_section(line: Line, currency: str, around: Around | None) -> Section:
    """around: None, where the working is not that of a rated line."""
    found = workings(line, around) if around is not None else []
    worked = {each.of: each for each in found}
    facts = [
        _money("amount", line.amount_micros, worked.get("amount")),
        _money("list amount", line.list_micros, worked.get("list")),
        _money("by allocation", line.allocation_micros),
        _money("by usage", line.usage_micros),
    ]
    if line.amount_micros is None:
        facts.append(fact("note", "the time has no price: it is counted, and blocks closing the month"))
    facts += [
        Fact(
            name=f"{'list amount' if each.of == 'list' else each.of} arithmetic",
            value={"text": each.text, "exact_micros": [str(exact) for exact in each.exact], "micros": each.micros},
            text=None,
        )
        for each in found
    ]
    return section("amount", [fact("currency", None, currency), *facts])


def _money(name: str, micros: int | None, working: Working | None = None) -> Fact:
    if micros is None:
        return fact(name, None)
    text = format_micros(micros)
    if working is not None:
        agrees = "" if working.micros == micros else f"; this comes to {working.micros}, not to what the line says"
        return fact(name, f"{text}  = {working.text}{agrees}", text)
    return fact(name, text)


def time_section(line: Line) -> Section:
    card, quantity = Fraction(line.gpu_ms_num, line.ms_den), Fraction(line.quantity_ms_num, line.ms_den)
    length = line.end_ms - line.start_ms
    count = len(line.shares.split(",")) if line.shares else 1
    weight = card / (length * count) if length else Fraction(0)
    labels = dict(line.dimensions)
    each = f" in each of {count} shares" if count > 1 else ""
    return section(
        "time",
        (
            fact("span", _span(line), [format_instant(line.start_ms), format_instant(line.end_ms)]),
            fact("hour", None, line.hour),
            fact("slot", _slot(line)),
            fact("card time", f"{_hours(card)} h = {weight} of a card{each} for {length} ms" if card else None,
                 {"hours": _hours(card), "ms": str(card)} if card else None),
            fact("quantity", _quantity(line, quantity), {"ms": str(quantity), "unit": line.unit}),
            fact("resource", line.resource),
            fact("claim", line.claim),
            fact("busy", None if line.busy_ms is None else f"{line.busy_ms} ms of {length * count} ms", line.busy_ms),
            fact("memory byte seconds", None, line.memory_byte_seconds),
            fact("energy mj", None, line.energy_mj),
            fact("labels", ", ".join(f"{key}={value}" for key, value in line.dimensions), labels or None),
            fact("part of", f"line {line.base}" if line.base and line.base != line.line_id else None, line.base),
        ),
    )  # fmt: skip


def related_section(name: str, related: Sequence[tuple[str, Line]]) -> Section:
    """Lines that this one comes from or stands beside, each with a word on what it is to it."""
    return section(
        name,
        [
            fact(
                what,
                f"line {line.line_id[:12]}: {_amount(line)} on {line.account}, {KINDS[line.kind]}",
                {"line_id": line.line_id, "account": line.account, "kind": line.kind, "amount": _amount(line)},
            )
            for what, line in related
        ],
    )


def _amount(line: Line) -> str:
    return "no price" if line.amount_micros is None else format_micros(line.amount_micros)


def _span(line: Line) -> str:
    return f"{format_instant(line.start_ms)} to {format_instant(line.end_ms)}"


def _slot(line: Line) -> str | None:
    if not line.parent:
        return None
    card = f"card {line.parent}" if line.device == line.parent else f"device {line.device} of card {line.parent}"
    profile = f", MIG {line.profile}" if line.profile else ""
    shares = f", share {line.shares}" if line.shares and line.shares != "0" else ""
    return f"{card}{profile}{shares}, {line.model}"


def _quantity(line: Line, quantity: Fraction) -> str | None:
    if not quantity or line.unit is None or line.unit_price is None:
        return None
    return f"{_hours(quantity)} h at {format_decimal(line.unit_price / MICROS)} per {line.unit}"


def _hours(ms: Fraction) -> str:
    return round_six(ms / MS_PER_HOUR)
