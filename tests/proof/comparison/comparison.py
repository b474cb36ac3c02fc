"""The product's export against the testimony: every line, every hold, every card, to the millisecond and the micro.

    comparison = compare(testimony, csv_text)
    for difference in comparison.differences:
        print(difference)

What the API server stamps has whole seconds, so within its last second a hold may end sooner by the product; where
somebody held the slot until then, the next one begins there. All else is equal, or a difference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tests.proof.comparison.account_checks import check_accounts, product_totals
from tests.proof.comparison.card_checks import check_cards
from tests.proof.comparison.case import Case, Difference
from tests.proof.comparison.evidence_checks import check_evidence
from tests.proof.comparison.export import Line, read
from tests.proof.comparison.holder_checks import check_holders
from tests.proof.comparison.money_checks import check_money
from tests.proof.comparison.part_checks import check_parts
from tests.proof.comparison.plan_checks import check_plans
from tests.proof.comparison.platform_checks import check_platform
from tests.proof.comparison.reason_checks import check_reasons
from tests.proof.comparison.shown_checks import check_shown
from tests.proof.comparison.sight_checks import check_sight
from tests.proof.comparison.strays import Stray, check_strays
from tests.proof.comparison.usage_checks import check_usage
from tests.proof.witness.testimony import Testimony, Totals

SECOND_MS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two words on the same time.

    witness, product  totals by account
    lines             how many lines were looked at
    end_ms            the farthest that an end of a hold lies from the API server's stamp: up to its second
    money_micros      the farthest that a line's money is off, given its interval
    by_api_s          seconds of whole cards that the second meter alone has billed
    gap_s             seconds of whole cards that nobody observed, and nobody held
    """

    witness: Mapping[str, Totals]
    product: Mapping[str, Totals]
    differences: tuple[Difference, ...]
    lines: int
    end_ms: int
    money_micros: int
    by_api_s: Fraction
    gap_s: Fraction

    @property
    def equal(self) -> bool:
        return not self.differences

    def largest(self) -> str:
        """For people."""
        return f"{self.end_ms / SECOND_MS:.3f} s at an end, {self.money_micros} micros a line"


def compare(
    testimony: Testimony,
    csv_text: str,
    strays: Mapping[str, Stray] | None = None,
    shows: Sequence[Mapping[str, str]] = (),
) -> Comparison:
    """Look at all lines that lie in the testimony's time, whole hours for the cards' sums.

    strays: what agents have reported of the host's processes; None: nobody has asked
    shows: lines that there must be, else nothing has befallen
    """
    case = Case.of(testimony, read(csv_text))
    holders = check_holders(case)
    money = check_money(case)
    product = product_totals(case)
    found = (
        *holders.differences, *money.differences, *check_accounts(case, product), *check_cards(case),
        *check_parts(case), *check_reasons(case), *check_plans(case), *check_usage(case),
        *check_sight(case), *check_evidence(case), *check_platform(case),
        *check_shown(case, shows), *(() if strays is None else check_strays(testimony, strays)),
    )  # fmt: skip
    return Comparison(
        witness=testimony.accounts,
        product=product,
        differences=found,
        lines=len(case.lines),
        end_ms=holders.end_ms,
        money_micros=money.micros,
        by_api_s=_card_s(case, lambda line: line.evidence.startswith("api")),
        gap_s=_card_s(case, lambda line: line.kind == "gap"),
    )


def _card_s(case: Case, wanted: Callable[[Line], bool]) -> Fraction:
    return sum((line.card_ms for line in case.lines if line.has_time and wanted(line)), Fraction(0)) / SECOND_MS
