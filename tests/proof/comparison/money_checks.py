"""Each line's money, to the micro, given its time: by the witness's own few lines of arithmetic."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from tests.proof.comparison.case import Case, Difference, line_text, money, name
from tests.proof.comparison.export import HELD, MICROS, PLATFORM, Line
from tests.proof.comparison.pasts import Pasts
from tests.proof.witness.sharing import is_active
from tests.proof.witness.tariff import HOUR_MS, RESERVED, Hourly, Tariffs, exact, telescoped
from tests.proof.witness.testimony import Hold

DISCOUNT = "discount"


@dataclass(frozen=True, slots=True, kw_only=True)
class Money:
    """micros: the farthest that a line is off."""

    differences: tuple[Difference, ...]
    micros: int


def check_money(case: Case) -> Money:
    tariffs = Tariffs(case.testimony.told)
    pasts = Pasts(case.all_lines, own=is_active(case.testimony.told))
    found: list[Difference] = []
    off = 0
    for line, hold in _held(case):
        hourly = tariffs.at(line.from_ms).of(hold, RESERVED if line.kind == RESERVED else None)
        if hourly is None:
            if (line.list_micros, line.amount_micros) != (None, None):
                found.append(_differs(line, "it has no price"))
            continue
        if line.quantity_ms != line.card_ms / hourly.unit:
            found.append(
                _differs(line, f"{line.card_ms / hourly.unit} ms of the price's unit, not {line.quantity_ms}")
            )
        if line.unit_micros != (unit := hourly.amount * hourly.unit / hold.whole):
            found.append(_differs(line, f"{money(round(unit))} a unit, not {line.unit_micros} micros"))
        before = pasts.before(line)
        for said, wanted in zip(
            (line.list_micros, line.amount_micros), _wanted(line, hold, hourly, before), strict=True
        ):
            if said is None or not wanted[0] <= said <= wanted[1]:
                found.append(_differs(line, _text(wanted, line, hourly)))
                off = max(off, 0 if said is None else wanted[0] - said, 0 if said is None else said - wanted[1])
    found += [*_check_discounts(case), *_check_people_read(case, tariffs)]
    return Money(differences=tuple(found), micros=off)


def _held(case: Case) -> Iterator[tuple[Line, Hold]]:
    """Each holder's line with the hold that it is of, once."""
    seen: set[int] = set()
    for match in case.matching.matches:
        for line in match.lines:
            hold = next((each for each in match.stay.holds if line.from_ms < each.until_ms), match.stay.holds[-1])
            if id(line) not in seen:
                seen.add(id(line))
                yield line, hold


def _wanted(line: Line, hold: Hold, hourly: Hourly, before: Fraction | None) -> Iterator[tuple[int, int]]:
    """The least and the most that it may list, and cost. They are one, where the slot's past is known."""
    shares = max(1, len(line.shares))
    ms = line.card_ms / shares / hold.whole
    before = None if before is None else before / hold.whole
    yield _between(hourly.listed, before, ms, shares)
    if line.kind == RESERVED:  # a unit's, whoever fills it: from the hour's start
        yield _between(hourly.amount, Fraction(line.from_ms % HOUR_MS), ms, shares)
    else:
        yield _between(hourly.amount, before, ms, shares)


def _between(hourly: Fraction, before: Fraction | None, ms: Fraction, shares: int) -> tuple[int, int]:
    if before is not None:
        micros = shares * telescoped(hourly, before, ms)
        return micros, micros
    least = exact(hourly, ms) // 1
    return shares * least, shares * -(-exact(hourly, ms) // 1)


def _check_discounts(case: Case) -> Iterator[Difference]:
    """What a holder pays, and what is taken off, are together the list amount, line by line."""
    taken: dict[object, int] = {}
    for line in case.lines:
        if line.kind == DISCOUNT:
            taken[_place(line, line.of_kind)] = taken.get(_place(line, line.of_kind), 0) + (line.amount_micros or 0)
    for line in case.lines:
        if line.kind not in HELD or line.list_micros is None or line.amount_micros is None:
            continue
        if line.list_micros - line.amount_micros != (off := taken.get(_place(line, line.kind), 0)):
            wanted = money(line.list_micros - line.amount_micros)
            yield _differs(line, f"{wanted} on platform:discount beside it, where there is {money(off)}")


def _check_people_read(case: Case, tariffs: Tariffs) -> Iterator[Difference]:
    """The columns that repeat others: the hours of all lines, and what an hour of what nobody holds would cost."""
    for line in case.lines:
        if abs(Fraction(line.hours) * HOUR_MS - line.card_ms) * MICROS > HOUR_MS / 2:
            yield _differs(line, f"{float(line.card_ms / HOUR_MS):.6f} hours of cards, and not {line.hours}")
        if line.kind in PLATFORM and line.ms:
            if line.unit_micros != (hourly := tariffs.at(line.from_ms).card(line.model)):
                wanted = "no price" if hourly is None else money(round(hourly))
                yield _differs(line, f"{wanted} a unit, not {line.unit_micros} micros")
            if hourly is not None and line.quantity_ms != line.card_ms:
                yield _differs(line, f"{line.card_ms} ms of the price's unit, not {line.quantity_ms}")


def _place(line: Line, kind: str) -> tuple[object, ...]:
    return (line.holder, line.device, line.shares, line.from_ms, kind)


def _text(wanted: tuple[int, int], line: Line, hourly: Hourly) -> str:
    between = " to ".join(sorted({money(each) for each in wanted}))
    return (
        f"{between} for {line.ms} ms at {money(round(hourly.listed))} an hour, {money(round(hourly.amount))} charged"
    )


def _differs(line: Line, witness: str) -> Difference:
    return Difference(kind="money", subject=name(line.holder), witness=witness, product=line_text(line))
