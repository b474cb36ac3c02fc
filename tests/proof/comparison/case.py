"""What all checks of a comparison look at: the testimony, the lines of its time, and which of them is about what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from tests.proof.comparison.export import MICROS, Line
from tests.proof.comparison.matching import Matching, match
from tests.proof.witness.lives import clock
from tests.proof.witness.testimony import Blind, Lost, Testimony


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """What the witness says, and what the product says; each with its evidence."""

    kind: str
    subject: str
    witness: str
    product: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.subject}\n    witness: {self.witness}\n    product: {self.product}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """lines: those that lie in the testimony's time, at least in part. all_lines: of the whole export."""

    testimony: Testimony
    lines: tuple[Line, ...]
    all_lines: tuple[Line, ...]
    matching: Matching

    @classmethod
    def of(cls, testimony: Testimony, lines: tuple[Line, ...]) -> Self:
        near = tuple(
            line
            for line in lines
            if line.from_ms < testimony.until_ms and (line.until_ms > testimony.from_ms or line.ms == 0)
        )
        return cls(testimony=testimony, lines=near, all_lines=lines, matching=match(testimony.holds, near))

    def blind(self) -> list[tuple[int, int]]:
        return [(each.at_ms, each.until_ms) for each in self.testimony.told if isinstance(each, Blind)]

    def inside(self, line: Line) -> tuple[int, int]:
        """Its time; what lies beyond the testimony is not its matter."""
        return max(line.from_ms, self.testimony.from_ms), min(line.until_ms, self.testimony.until_ms)

    def lost(self, gpu: str) -> list[tuple[int, int]]:
        """When the card did not answer."""
        found: list[tuple[int, int]] = []
        since_ms: int | None = None
        for each in self.testimony.told:
            if isinstance(each, Lost) and each.gpu == gpu:
                if each.lost and since_ms is None:
                    since_ms = each.at_ms
                elif not each.lost and since_ms is not None:
                    found.append((since_ms, each.at_ms))
                    since_ms = None
        return found if since_ms is None else [*found, (since_ms, self.testimony.until_ms)]


def covered(from_ms: int, until_ms: int, spans: Iterable[tuple[int, int]]) -> bool:
    """Whether these are all of a span, together."""
    reached_ms = from_ms
    for a, b in sorted(spans):
        if a <= reached_ms:
            reached_ms = max(reached_ms, b)
    return reached_ms >= until_ms


def wider(spans: Iterable[tuple[int, int]], by_ms: int) -> list[tuple[int, int]]:
    """By so much at each end."""
    return [(a - by_ms, b + by_ms) for a, b in spans]


def spans_text(spans: Iterable[tuple[int, int]]) -> str:
    return ", ".join(f"{clock(a)} to {clock(b)}" for a, b in spans) or "never"


def name(holder: tuple[str, str, str]) -> str:
    return "/".join(holder)


def money(micros: int | None) -> str:
    return "no amount" if micros is None else f"{micros / MICROS:.6f}"


def line_text(line: Line) -> str:
    """A line with its evidence, for people."""
    where = line.device + "".join(f"::{share}" for share in line.shares)
    return (
        f"line {line.line_id[:12]} {clock(line.from_ms)} to {clock(line.until_ms)} {line.kind} on {where}, "
        f"{line.account}, list {money(line.list_micros)}, amount {money(line.amount_micros)}, "
        f"evidence {line.evidence or 'none'}"
    )


def lines_text(lines: Iterable[Line]) -> str:
    return "; ".join(map(line_text, lines)) or "no line"
