"""Sums that no card's time stands behind, in sections of their explanation: people's adjustments, and idle shared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from chargeback.core.adjustments import Adjustment
from chargeback.core.explaining.explaining import Section, fact, section
from chargeback.core.hours import format_instant
from chargeback.core.lines import IDLE, Line
from chargeback.core.money import format_micros


def adjustment_section(line: Line, made: Adjustment | None) -> Section:
    if made is None:
        return section("adjustment", [fact("note", f"{line.device} is no longer there")])
    amount = None if made.amount_micros is None else format_micros(made.amount_micros)
    return section(
        "adjustment",
        [
            fact("number", str(made.number), made.number),
            fact("what", made.kind if amount is None else f"{made.kind} of {amount}",
                 {"kind": made.kind, "amount": amount}),
            fact("scope", str(made.scope)),
            fact("about", f"{format_instant(made.from_ms)} to {format_instant(made.until_ms)}"),
            fact("because", made.reason),
            fact("ticket", made.ticket),
            fact("by", made.who),
            fact("recorded", format_instant(made.recorded_ms)),
            fact("withdrawn", None if made.withdrawn_ms is None else format_instant(made.withdrawn_ms)),
        ],
    )  # fmt: skip


def transfer_section(line: Line, transfers: Sequence[Line], weights: Mapping[str, Fraction]) -> Section:
    """transfers: all of the month, cluster and model. weights: by which they share, as they are now."""
    whole = sum(each.amount_micros or 0 for each in transfers if each.account != IDLE)
    facts = [
        fact("shared out", f"{format_micros(whole)}, what {line.model} in cluster {line.cluster} lay idle for in "
             f"{line.month}, to {len(transfers) - 1} cost centers", format_micros(whole)),
        fact("how", line.evidence),
    ]  # fmt: skip
    total = sum(weights.values(), Fraction(0))
    if line.account in weights and total:
        exact = whole * weights[line.account] / total
        part = f"{whole} × {weights[line.account]} ÷ {total} = {exact} micros, by largest remainder"
        facts.append(fact("share", part, str(exact)))
    facts += [
        fact("beside", f"line {each.line_id[:12]}: {format_micros(each.amount_micros or 0)} on {each.account}",
             {"line_id": each.line_id, "account": each.account, "amount": format_micros(each.amount_micros or 0)})
        for each in transfers if each.line_id != line.line_id
    ]  # fmt: skip
    return section("transfer", facts)
