"""Each account's sums: its holds, but for what lies beyond the ends of their lines, and not a micro else.

The other checks look at lines; this one at what they come to, lines without a hold and of whatever kind included.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from tests.proof.comparison.case import Case, Difference, money
from tests.proof.comparison.export import HELD, Line
from tests.proof.comparison.part_checks import CHANGED_MS
from tests.proof.witness.lives import SECOND_MS, Owner
from tests.proof.witness.reckoning import accounts
from tests.proof.witness.sharing import divided, is_active
from tests.proof.witness.tariff import RESERVED, Tariffs, exact
from tests.proof.witness.testimony import Hold, Plan, Totals

PLATFORMS = "platform:"  # accounts that are no customer's begin so


def product_totals(case: Case) -> dict[str, Totals]:
    """What the product charges customers, all kinds together; by account."""
    found: dict[str, Totals] = {}
    for line in case.lines:
        if not line.account.startswith(PLATFORMS):
            found[line.account] = found.get(line.account, Totals()) + Totals(
                gpu_s=line.card_ms / SECOND_MS,
                busy_s=Fraction(line.busy_ms or 0, SECOND_MS),
                joules=Fraction(line.energy_mj or 0, SECOND_MS),
                list_micros=Fraction(line.list_micros or 0),
                amount_micros=Fraction(line.amount_micros or 0),
            )
    return dict(sorted(found.items()))


def check_accounts(case: Case, product: Mapping[str, Totals]) -> Iterator[Difference]:
    witness = case.testimony.accounts
    active = is_active(case.testimony.told)
    off, open_ = (_by_ends(case), {}) if active else (_at_ends(case), _left_open(case))
    for account in sorted({*witness, *product}):
        said, wanted = product.get(account, Totals()), witness.get(account, Totals())
        gone, give = off.get(account, Totals()), open_.get(account, Totals())
        lines = [line for line in case.lines if line.account == account]
        off_s = said.gpu_s + gone.gpu_s - wanted.gpu_s
        off_micros = said.amount_micros + gone.amount_micros - wanted.amount_micros
        if abs(off_s) > give.gpu_s or abs(off_micros) > give.amount_micros + sum(map(_roundings, lines)):
            ends = f", of which {_text(gone)} at the ends of its holds; give or take {_text(give)}"
            yield Difference(
                kind="account", subject=account, witness=_text(wanted) + ends,
                product=f"{_text(said)} on {len(lines)} lines",
            )  # fmt: skip


def _by_ends(case: Case) -> dict[str, Totals]:
    """By account, under `active`: what its holds come to, less what they come to between the ends of their lines.

    The end of one holder is a matter of all others on the device.
    """
    found = dict(case.testimony.accounts)
    for account, given in accounts(divided(_between_ends(case)), case.testimony.told, _nobody, 0, 0).items():
        _add(found, account, -given.gpu_s * SECOND_MS, -given.amount_micros)
    return found


def _nobody(*_: object) -> Iterator[tuple[int, int, Owner]]:
    """Nothing is guaranteed under `active`."""
    return iter(())


def _between_ends(case: Case) -> Iterator[Hold]:
    """The holds of all stays that have lines, from the beginning of the first to the end of the last.

    A device that the product has guessed is the one: its shares go to the holder's slots in their order.
    """
    guessed: Counter[tuple[str, str, str]] = Counter()
    for match in case.matching.matches:
        if not match.lines:
            continue
        first = match.lines[0]
        begun_ms, ended_ms = min(line.from_ms for line in match.lines), max(line.until_ms for line in match.lines)
        where: dict[str, Any] = {}
        if match.guessed:
            share = first.shares[guessed[first.holder] % len(first.shares)]
            guessed[first.holder] += 1
            where = {"gpu": first.gpu, "device": first.device, "share": share}
        for hold in match.stay.holds:
            from_ms = begun_ms if hold is match.stay.holds[0] else max(begun_ms, hold.from_ms)
            until_ms = ended_ms if hold is match.stay.holds[-1] else min(ended_ms, hold.until_ms)
            if from_ms < until_ms:
                yield replace(hold, from_ms=from_ms, until_ms=until_ms, **where)


def _at_ends(case: Case) -> dict[str, Totals]:
    """By account: what lies between the stamps of its holds and the ends of their lines (no money under a plan), less
    what other lines have beyond the testimony."""
    tariffs, planned = Tariffs(case.testimony.told), _planned(case)
    found: dict[str, Totals] = {}
    for hold, at_ms, ms in _ends(case):
        hourly = tariffs.at(at_ms).of(hold)
        micros = Fraction(0)
        if hourly is not None and (hold.namespace, hold.resource) not in planned:
            micros = exact(hourly.amount * hold.part / hold.whole, ms)
        _add(found, hold.account, hold.part * ms, micros)
    for line in case.lines:
        if line.kind not in HELD and line.ms:  # a guarantee may begin before the testimony does
            beyond = 1 - Fraction(_inside_ms(case, line), line.ms)
            _add(found, line.account, -line.card_ms * beyond, -(line.amount_micros or 0) * beyond)
    return found


def _inside_ms(case: Case, line: Line) -> int:
    return min(line.until_ms, case.testimony.until_ms) - max(line.from_ms, case.testimony.from_ms)


def _left_open(case: Case) -> dict[str, Totals]:
    """By account: what an end costs under a plan, and how soon its part of a card changes, that is seen in beats."""
    tariffs, planned = Tariffs(case.testimony.told), _planned(case)
    found: dict[str, Totals] = {}
    for hold, _, ms in _ends(case):
        if (hold.namespace, hold.resource) in planned:
            _add(found, hold.account, Fraction(0), exact(_dearest(tariffs, hold) * hold.part / hold.whole, abs(ms)))
    for match in case.matching.matches:
        for pair in itertools.pairwise(match.stay.holds):
            change_ms = abs(pair[0].part - pair[1].part) * CHANGED_MS
            for hold in pair:
                _add(found, hold.account, change_ms, exact(_dearest(tariffs, hold) / hold.whole, change_ms))
    return found


def _ends(case: Case) -> Iterator[tuple[Hold, int, int]]:
    """Holds, when they began or ended, and how many milliseconds less than that their lines are long."""
    astray: dict[int, list[Line]] = {}
    for match, line in case.matching.astray:
        astray.setdefault(id(match), []).append(line)
    for match in case.matching.matches:
        lines, holds = [*match.lines, *astray.get(id(match), ())], match.stay.holds
        if not lines:
            yield from ((hold, hold.from_ms, hold.until_ms - hold.from_ms) for hold in holds)
            continue
        begun_ms, ended_ms = min(line.from_ms for line in lines), max(line.until_ms for line in lines)
        for hold in holds:  # an owner may come or go in the second of an end
            late_ms = min(begun_ms, hold.until_ms) - hold.from_ms
            soon_ms = hold.until_ms - max(ended_ms, hold.from_ms)
            yield hold, hold.from_ms, late_ms if hold is holds[0] else max(0, late_ms)
            yield hold, hold.until_ms - 1, soon_ms if hold is holds[-1] else max(0, soon_ms)


def _planned(case: Case) -> set[tuple[str, str]]:
    return {(each.namespace, each.resource) for each in case.testimony.told if isinstance(each, Plan)}


def _add(found: dict[str, Totals], account: str, card_ms: Fraction, micros: Fraction) -> None:
    found[account] = found.get(account, Totals()) + Totals(gpu_s=card_ms / SECOND_MS, amount_micros=micros)


def _dearest(tariffs: Tariffs, hold: Hold) -> Fraction:
    """An hour of its device, whatever plan or price book of its time it comes under."""
    hourly = (
        tariffs.at(at_ms).of(hold, term) for term in (None, RESERVED) for at_ms in (hold.from_ms, hold.until_ms)
    )
    return max((each.amount for each in hourly if each is not None), default=Fraction(0))


def _roundings(line: Line) -> int:
    """How many amounts the line is the sum of, each rounded to whole micros: of shares, or of units."""
    return max(1, len(line.shares), math.ceil(line.quantity_ms / max(1, line.ms)))


def _text(totals: Totals) -> str:
    return f"{float(totals.gpu_s):.3f} s of cards, {money(round(totals.amount_micros))}"
