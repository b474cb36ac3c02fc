"""What came of a scenario, and all of them as one table for people."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction

from tests.proof.comparison.comparison import Comparison
from tests.proof.stage.runner import Run
from tests.proof.stage.scenario import Scenario
from tests.proof.witness.testimony import Totals

MICROS = 1_000_000
HEADER = (
    "scenario", "seed", "pods", "lines", "card s (witness)", "card s (product)", "amount (witness)",
    "amount (product)", "largest difference", "killed", "took", "verdict",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """failure: why it could not be played to its end; then there is neither run nor comparison."""

    scenario: Scenario
    seed: int
    took_s: float
    run: Run | None = None
    comparison: Comparison | None = None
    failure: str = ""

    @property
    def good(self) -> bool:
        return self.comparison is not None and self.comparison.equal

    @property
    def verdict(self) -> str:
        if self.comparison is None:
            return "not played"
        return "equal" if self.good else f"{len(self.comparison.differences)} differences"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pass:
    """All scenarios on one stage. took_s: from before it was set up until after it was taken down."""

    outcomes: Sequence[Outcome]
    took_s: float


def table(outcomes: Sequence[Outcome]) -> str:
    """Columns that stand under each other."""
    rows = [HEADER, *map(_row, outcomes)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEADER))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _row(outcome: Outcome) -> tuple[str, ...]:
    took = f"{outcome.took_s:.0f} s"
    if outcome.run is None or outcome.comparison is None:
        return (outcome.scenario.name, str(outcome.seed), *[""] * 8, took, outcome.verdict)
    found = outcome.comparison
    witness, product = _total(found.witness.values()), _total(found.product.values())
    killed = ", ".join(f"{part} {times}×" for part, times in sorted(outcome.run.killed.items()))
    return (
        outcome.scenario.name, str(outcome.seed), str(len({hold.uid for hold in outcome.run.testimony.holds})),
        str(found.lines), _seconds(witness.gpu_s), _seconds(product.gpu_s), _money(witness), _money(product),
        found.largest(), killed, took, outcome.verdict,
    )  # fmt: skip


def _total(parts: Iterable[Totals]) -> Totals:
    return sum(parts, Totals())


def _seconds(exact: Fraction) -> str:
    return f"{float(exact):.3f}"


def _money(totals: Totals) -> str:
    return f"{float(totals.amount_micros) / MICROS:.6f}"
