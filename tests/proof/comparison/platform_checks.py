"""What is nobody's names nobody, lies on a part that the card had then, and what moves money moves nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fractions import Fraction

from tests.proof.comparison.case import Case, Difference, line_text
from tests.proof.comparison.export import PLATFORM, Line
from tests.proof.comparison.part_checks import CHANGED_MS
from tests.proof.comparison.reason_checks import CARDLESS
from tests.proof.witness.testimony import Card, Mig

Parts = dict[str, Fraction]


def check_platform(case: Case) -> Iterator[Difference]:
    cuts = {each.gpu: _cuts(case, each.gpu) for each in case.testimony.told if isinstance(each, Card)}
    for line_id, times in Counter(line.line_id for line in case.all_lines).items():
        if times > 1:
            yield Difference(kind="id", subject=line_id, witness="a line's own", product=f"{times} lines have it")
    for line in case.lines:
        if line.kind in CARDLESS:
            yield from _check_money_alone(line)
        if line.kind in PLATFORM:
            yield from _check_nobody(line)
            if line.ms and line.gpu in cuts:
                yield from _check_part(line, cuts[line.gpu])


def _check_money_alone(line: Line) -> Iterator[Difference]:
    if line.card_ms or line.list_micros or line.busy_ms is not None or line.energy_mj is not None:
        yield _differs("kind", line, "it moves money alone: no time, list amount or use")


def _check_nobody(line: Line) -> Iterator[Difference]:
    named = (*line.holder, line.resource, line.cost_center, line.team, line.tier, line.evidence)
    if any(named) or line.busy_ms is not None:
        yield _differs(
            "holder", line, f"nobody held that, and not {' '.join(filter(None, named)) or 'somebody busy'}"
        )


def _check_part(line: Line, cuts: list[tuple[int, int, Parts]]) -> Iterator[Difference]:
    """A whole card or an instance that nobody has, so many of its shares, or what no instance covers."""
    part = line.card_ms / line.ms
    near = [parts for begin_ms, end_ms, parts in cuts if begin_ms < line.until_ms and line.from_ms < end_ms]
    wholes = {parts[line.device] for parts in near if line.device in parts}
    fits = True
    if line.kind == "unpartitioned":
        wholes = {1 - sum(parts.values(), Fraction(0)) for parts in near}
        fits = part in wholes
    elif line.kind == "free":
        fits = part in wholes
    elif line.kind == "unsold":
        fits = part <= max(wholes, default=Fraction(0))
    if not fits:
        truly = " or ".join(map(str, sorted(wholes))) or "no such device"
        yield _differs("part", line, f"{line.kind} of the card was {truly}, and not {part}")


def _cuts(case: Case, gpu: str) -> list[tuple[int, int, Parts]]:
    """What devices the card was: from, until, each one's part of it. Until agents have seen that it is another."""
    told = [each for each in case.testimony.told if isinstance(each, Mig) and each.gpu == gpu]
    cuts = [
        (each.at_ms, {part.device: part.part for part in each.slices or ()} or {gpu: Fraction(1)}) for each in told
    ]
    cuts = cuts or [(case.testimony.from_ms, {gpu: Fraction(1)})]
    ends = [*(at_ms for at_ms, _ in cuts[1:]), case.testimony.until_ms]
    return [(at_ms, end_ms + CHANGED_MS, parts) for (at_ms, parts), end_ms in zip(cuts, ends, strict=True)]


def _differs(kind: str, line: Line, witness: str) -> Difference:
    subject = line.gpu or line.namespace or line.line_id
    return Difference(kind=kind, subject=subject, witness=witness, product=line_text(line))
