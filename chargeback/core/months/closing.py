"""Before a month is closed: what is known of it, and what was found, as values. The checks: `core/months/checks.py`.

A finding that blocks can be waived by its name, with a reason, where a person may answer for it. For time and money
that do not balance, and for what is not rated, nobody can.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

from chargeback.core.hours import HOUR_MS
from chargeback.core.months.sums import LineSum
from chargeback.core.nodes import UnmeteredNode

# An hour whose agent never finished it is taken as it is after so long: nothing more will come.
FINAL_AFTER_MS = 72 * HOUR_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """min_coverage: of a cluster's card time; day_factor: between what two days cost an hour."""

    min_coverage: Fraction = Fraction(95, 100)
    day_factor: Fraction = Fraction(3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unfinished:
    """Node-hours of a cluster that no agent finished. until_ms: when the youngest of them is old enough."""

    cluster: str
    node_hours: int
    until_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundProblem:
    """Problems that were noted while rating, as `Problem`, summed."""

    cluster: str
    kind: str
    subject: str
    node_hours: int
    ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCost:
    """What a cluster cost on a local day, and in how many UTC hours of it that was. micros: None without a price."""

    cluster: str
    day: str
    micros: int | None
    hours: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the ledger knows of a month.

    over_ms        from when it is over, the grace included
    earlier        earlier months that have lines and are not closed
    due            node-hours and plan-hours of it that are to be rated; all of them wait while it is drafted
    drafted        whether it is drafted or approved
    existed_ms     by cluster, how long its cards existed
    error_ms       by cluster, what rating found that lines and time differ by
    differences    by cluster and kind, ms of slots in which the two meters differ
    days           by cluster and day, the last day before the month first
    """

    month: str
    now_ms: int
    over_ms: int
    earlier: Sequence[str] = ()
    due: int = 0
    drafted: bool = False
    unfinished: Sequence[Unfinished] = ()
    unmetered: Sequence[UnmeteredNode] = ()
    problems: Sequence[FoundProblem] = ()
    sums: Sequence[LineSum] = ()
    existed_ms: Mapping[str, int]
    error_ms: Mapping[str, int]
    differences: Mapping[str, Mapping[str, int]]
    days: Sequence[DayCost] = ()
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """check: which; subject: what it is about, may be empty; mend: a command, or what to wait for.

    waived: why somebody lets it pass; empty: nobody does.
    """

    check: str
    subject: str
    found: str
    mend: str
    blocks: bool
    waivable: bool = False
    waived: str = ""

    @property
    def name(self) -> str:
        """By which it is waived; all findings of a check are by that alone."""
        return f"{self.check}:{self.subject}" if self.subject else self.check

    @property
    def stops(self) -> bool:
        return self.blocks and not self.waived


class NotWaivable(ValueError):
    """Names that waive nothing: says which, and what there is to waive."""


def waive(findings: Sequence[Finding], names: Iterable[str], reason: str) -> list[Finding]:
    """Findings, those of these names waived: of one, or of a whole check. Raises NotWaivable."""
    wanted = set(names)
    open_ones = {each.name: each for each in findings if each.blocks}
    able = {name for name, each in open_ones.items() if each.waivable}
    able_checks = {open_ones[name].check for name in able}
    problems = [f"{name}: {_why_not(name, findings)}" for name in sorted(wanted - able - able_checks)]
    if problems:
        there = f"want one of {', '.join(sorted(able | able_checks))}" if able else "nothing can be waived here"
        raise NotWaivable("\n".join(f"--waive {problem}: {there}" for problem in problems))
    return [
        replace(each, waived=reason) if each.name in able and wanted & {each.name, each.check} else each
        for each in findings
    ]


def _why_not(name: str, findings: Sequence[Finding]) -> str:
    if any(name in (each.name, each.check) and each.blocks for each in findings):
        return "nobody can answer for that"
    return "nothing of that name blocks"


def stopping(findings: Iterable[Finding]) -> list[Finding]:
    return [each for each in findings if each.stops]
