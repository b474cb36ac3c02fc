"""Every card is accounted for at every instant, once, and its lines sum to its price."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from fractions import Fraction

from tests.proof.comparison.case import Case, Difference, lines_text, money
from tests.proof.comparison.export import Line
from tests.proof.witness.lives import clock
from tests.proof.witness.tariff import HOUR_MS, Tariffs, exact
from tests.proof.witness.testimony import Card


def check_cards(case: Case) -> Iterator[Difference]:
    models = {each.gpu: each.model for each in case.testimony.told if isinstance(each, Card)}
    for gpu, model in models.items():
        lines = [line for line in case.all_lines if line.gpu == gpu]
        yield from _check_whole(case, gpu, [line for line in lines if line.has_time and line.ms])
        for hour in sorted({line.hour for line in lines if _is_in(case, line)}):
            yield from _check_money(case, gpu, model, [line for line in lines if line.hour == hour])


def _is_in(case: Case, line: Line) -> bool:
    return line.from_ms < case.testimony.until_ms and line.until_ms > case.testimony.from_ms


def _check_whole(case: Case, gpu: str, lines: Sequence[Line]) -> Iterator[Difference]:
    """Between any two borders the lines are one card, no more and no less."""
    from_ms, until_ms = case.testimony.from_ms, case.testimony.until_ms
    borders = {from_ms, until_ms}
    changes: dict[int, list[Line]] = {}
    for line in lines:
        if _is_in(case, line):
            begin, end = max(line.from_ms, from_ms), min(line.until_ms, until_ms)
            borders |= {begin, end}
            changes.setdefault(begin, []).append(line)
    here: list[Line] = []
    for a, b in itertools.pairwise(sorted(borders)):
        here = [line for line in (*here, *changes.get(a, ())) if line.until_ms > a]
        whole = sum((line.card_ms / line.ms for line in here), Fraction(0))
        if whole != 1:
            yield Difference(
                kind="conservation",
                subject=f"{gpu} from {clock(a)} to {clock(b)}",
                witness="one card",
                product=f"{whole} of it: {lines_text(here)}",
            )


def _check_money(case: Case, gpu: str, model: str, lines: Sequence[Line]) -> Iterator[Difference]:
    """Over an hour, all accounts together."""
    hourly = Tariffs(case.testimony.told).at(lines[0].from_ms).card(model)
    if hourly is None:
        return
    existed = sum((line.card_ms for line in lines if line.has_time), Fraction(0))
    price = int(exact(hourly, existed) // 1)
    for what, micros in (
        ("list amounts", sum(line.list_micros or 0 for line in lines)),
        ("amounts", sum(line.amount_micros or 0 for line in lines)),
    ):
        if micros != price:
            yield Difference(
                kind="conservation",
                subject=f"{gpu} in the hour of {clock(lines[0].hour * HOUR_MS)}: {what}",
                witness=f"{money(price)} for {existed} ms",
                product=f"{money(micros)} on {len(lines)} lines",
            )
