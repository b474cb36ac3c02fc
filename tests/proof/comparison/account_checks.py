"""Each account's sums: none has more or less than what the ends of its holds leave open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction

from tests.proof.comparison.case import Case, Difference, money
from tests.proof.comparison.export import HELD
from tests.proof.witness.lives import SECOND_MS
from tests.proof.witness.tariff import exact
from tests.proof.witness.testimony import Prices, Totals

ENDS_S = 2  # a hold may begin in its first second, and end in its last
UNUSED = "unused"


def product_totals(case: Case) -> dict[str, Totals]:
    """What holders, and who pays for what they do not use, are charged by the product; by account."""
    found: dict[str, Totals] = {}
    for line in case.lines:
        if line.kind in HELD or line.kind == UNUSED:
            found[line.account] = found.get(line.account, Totals()) + Totals(
                gpu_s=line.card_ms / SECOND_MS,
                busy_s=Fraction(line.busy_ms or 0, SECOND_MS),
                joules=Fraction(line.energy_mj or 0, SECOND_MS),
                list_micros=Fraction(line.list_micros or 0),
                amount_micros=Fraction(line.amount_micros or 0),
            )
    return dict(sorted(found.items()))


def check_accounts(case: Case, product: Mapping[str, Totals]) -> Iterator[Difference]:
    """The other checks look at lines; this one at what they come to, lines without a hold included."""
    witness = case.testimony.accounts
    dearest = max(
        (price.micros for book in case.testimony.told if isinstance(book, Prices) for price in book.prices), default=0
    )
    for account in sorted({*witness, *product}):
        said, wanted = product.get(account, Totals()), witness.get(account, Totals())
        holds = [hold for hold in case.testimony.holds if hold.account == account]
        open_s = ENDS_S * sum((hold.part for hold in holds), Fraction(0))
        lines = sum(line.account == account for line in case.lines)
        open_micros = exact(Fraction(dearest), ENDS_S * SECOND_MS) * len(holds) + lines
        if abs(said.gpu_s - wanted.gpu_s) > open_s or abs(said.amount_micros - wanted.amount_micros) > open_micros:
            yield Difference(
                kind="account", subject=account, witness=_text(wanted, f"on {len(holds)} holds"),
                product=_text(said, f"on {lines} lines"),
            )  # fmt: skip


def _text(totals: Totals, where: str) -> str:
    return f"{float(totals.gpu_s):.3f} s of cards, {money(round(totals.amount_micros))} {where}"
