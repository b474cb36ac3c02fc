"""docs/proof.md: what a run of the proof found, scenario by scenario. Written by `make proof`, never by hand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from tests.proof.comparison.comparison import Comparison
from tests.proof.witness.testimony import Testimony, Totals, total

PASS_WITHIN_S = 1_500  # 25 minutes
PAGE = Path(__file__).resolve().parents[2] / "docs/proof.md"
HEAD = Path(__file__).with_name("page.md")  # what the page says of itself
LONGEST = "The longest pass took "
SIDES = ("witness", "product")
HEADER = (
    "scenario", "seeds", "pods", "lines", "card s", "busy s", "joules", "amount", "ends off by", "money off by",
    "by API s", "gap s", "killed", "differences",
)  # fmt: skip
MICROS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A scenario, over all passes.

    totals                  card seconds, busy seconds, joules and amount, by side, as they are printed
    ends_ms, money_micros   the largest difference at an end of a hold, and of a line's money given its ends
    by_api_s, gap_s         card seconds that the second meter alone billed, and that nobody observed or held
    """

    scenario: str
    about: str
    seeds: tuple[int, ...]
    pods: int
    lines: int
    totals: Mapping[str, tuple[Fraction, Fraction, Fraction, Fraction]]
    ends_ms: int
    money_micros: int
    by_api_s: Fraction
    gap_s: Fraction
    killed: Mapping[str, int] = field(default_factory=dict)
    differences: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """rows: a scenario each, at least one. pass_s: what the longest pass took."""

    rows: Sequence[Row]
    pass_s: int

    @property
    def in_time(self) -> bool:
        return self.pass_s < PASS_WITHIN_S


def row(
    scenario: str, about: str, seed: int, killed: Mapping[str, int], testimony: Testimony, comparison: Comparison
) -> Row:
    """Of one run."""
    return Row(
        scenario=scenario,
        about=about,
        seeds=(seed,),
        pods=len({hold.uid for hold in testimony.holds}),
        lines=comparison.lines,
        totals={
            "witness": _figures(total(comparison.witness.values())),
            "product": _figures(total(comparison.product.values())),
        },
        ends_ms=comparison.end_ms,
        money_micros=comparison.money_micros,
        by_api_s=comparison.by_api_s,
        gap_s=comparison.gap_s,
        killed=dict(killed),
        differences=len(comparison.differences),
    )


def _figures(totals: Totals) -> tuple[Fraction, Fraction, Fraction, Fraction]:
    return (totals.gpu_s, totals.busy_s, totals.joules, totals.amount_micros / MICROS)


def joined(rows: Iterable[Row]) -> list[Row]:
    """One row a scenario, in the order in which they first come."""
    by_name: dict[str, list[Row]] = {}
    for each in rows:
        by_name.setdefault(each.scenario, []).append(each)
    return [_join(each) for each in by_name.values()]


def _join(rows: Sequence[Row]) -> Row:
    killed: Counter[str] = Counter()
    for each in rows:
        killed.update(each.killed)
    sums = {
        side: [sum(column) for column in zip(*(each.totals[side] for each in rows), strict=True)] for side in SIDES
    }
    return Row(
        scenario=rows[0].scenario,
        about=rows[0].about,
        seeds=tuple(sorted(seed for each in rows for seed in each.seeds)),
        pods=sum(each.pods for each in rows),
        lines=sum(each.lines for each in rows),
        totals={side: (Fraction(s[0]), Fraction(s[1]), Fraction(s[2]), Fraction(s[3])) for side, s in sums.items()},
        ends_ms=max(each.ends_ms for each in rows),
        money_micros=max(each.money_micros for each in rows),
        by_api_s=sum((each.by_api_s for each in rows), Fraction(0)),
        gap_s=sum((each.gap_s for each in rows), Fraction(0)),
        killed=dict(sorted(killed.items())),
        differences=sum(each.differences for each in rows),
    )


def render(page: Page) -> str:
    """The text. Rows: as `joined` gives them."""
    rows = page.rows
    lines = [*HEAD.read_text().splitlines(), "", *_table(rows), "", *_about(rows), "", _pass_line(page), ""]
    return "\n".join([*lines, last_line(rows)]) + "\n"


def write(rows: Iterable[Row], pass_s: float, path: Path = PAGE) -> Page:
    """Of all passes."""
    page = Page(rows=joined(rows), pass_s=math.ceil(pass_s))
    path.write_text(render(page))
    return page


def read(text: str) -> Page:
    """A page as it was written: rendered again it is the same text."""
    lines = text.splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")]
    abouts = dict(line.removeprefix("- **").split("**: ", 1) for line in lines if line.startswith("- **"))
    rows = [_read_row(dict(zip(HEADER, each, strict=True)), abouts) for each in cells[1:]]
    (pass_s,) = (int(line.removeprefix(LONGEST).split(" s", 1)[0]) for line in lines if line.startswith(LONGEST))
    return Page(rows=rows, pass_s=pass_s)


def _read_row(cells: Mapping[str, str], abouts: Mapping[str, str]) -> Row:
    both = [cells[column].split(" / ") for column in ("card s", "busy s", "joules", "amount")]
    first, _, last = cells["seeds"].partition("-")
    seeds = range(int(first), int(last) + 1) if last else map(int, cells["seeds"].split(", "))
    killed = (each.removesuffix("×").rsplit(" ", 1) for each in cells["killed"].split(", ") if each != "nothing")
    figures = [[Fraction(each[at]) for each in both] for at in range(len(SIDES))]
    return Row(
        scenario=cells["scenario"],
        about=abouts[cells["scenario"]],
        seeds=tuple(seeds),
        pods=int(cells["pods"]),
        lines=int(cells["lines"]),
        totals={side: (f[0], f[1], f[2], f[3]) for side, f in zip(SIDES, figures, strict=True)},
        ends_ms=int(Fraction(cells["ends off by"].removesuffix(" s")) * 1000),
        money_micros=int(cells["money off by"].removesuffix(" micros")),
        by_api_s=Fraction(cells["by API s"]),
        gap_s=Fraction(cells["gap s"]),
        killed={part: int(times) for part, times in killed},
        differences=int(cells["differences"]),
    )


def _pass_line(page: Page) -> str:
    return f"{LONGEST}{page.pass_s} s, {'of' if page.in_time else 'TOO LONG: of'} less than {PASS_WITHIN_S} s."


def last_line(rows: Sequence[Row]) -> str:
    """All of it in a sentence, which the README quotes."""
    whole = _join(rows)
    seeds = sorted(set(whole.seeds))
    passes = (
        f"{len(seeds)} pass{'es' if len(seeds) > 1 else ''} (seed{'s' if len(seeds) > 1 else ''} {_seeds(seeds)})"
    )
    parts = ", ".join(f"{part} {times} times" for part, times in whole.killed.items()) or "nothing"
    off = f"{whole.ends_ms / 1000:.3f} s at an end of a hold (the API server's stamps have whole seconds)"
    return (
        f"{passes} over {len(rows)} scenarios: {whole.pods} pods on {whole.lines} lines, killed {parts}; "
        f"{_verdict(whole)} Largest difference: {off}, {whole.money_micros} micros of a line's money, given its ends."
    )


def _verdict(whole: Row) -> str:
    return "no line differs." if not whole.differences else f"{whole.differences} DIFFERENCES."


def _table(rows: Sequence[Row]) -> list[str]:
    found = [f"| {' | '.join(HEADER)} |", f"|{'---|' * len(HEADER)}"]
    for each in rows:
        both = [
            " / ".join(f"{float(each.totals[side][at]):.{digits}f}" for side in SIDES)
            for at, digits in ((0, 3), (1, 1), (2, 0), (3, 6))
        ]
        killed = ", ".join(f"{part} {times}×" for part, times in each.killed.items()) or "nothing"
        cells = [
            each.scenario, _seeds(each.seeds), str(each.pods), str(each.lines), *both, f"{each.ends_ms / 1000:.3f} s",
            f"{each.money_micros} micros", f"{float(each.by_api_s):.1f}", f"{float(each.gap_s):.1f}", killed,
            str(each.differences),
        ]  # fmt: skip
        found.append(f"| {' | '.join(cells)} |")
    return found


def _about(rows: Sequence[Row]) -> list[str]:
    return ["What happens in each:", "", *(f"- **{each.scenario}**: {each.about}" for each in rows)]


def _seeds(seeds: Sequence[int]) -> str:
    """Of 1, 2, 3: `1-3`."""
    whole = list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]}-{seeds[-1]}" if len(seeds) > 2 and list(seeds) == whole else ", ".join(map(str, seeds))
