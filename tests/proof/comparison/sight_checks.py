"""What an agent could see it has seen: gaps, and what the second meter alone bills, are where it could not.

While a part was dead for certain nobody has seen anything: then cards are gaps, or the second meter's.
"""

from __future__ import annotations

from collections.abc import Iterator

from tests.proof.comparison.case import Case, Difference, covered, line_text, name, spans_text, wider
from tests.proof.comparison.export import Line
from tests.proof.comparison.matching import API, Match
from tests.proof.witness.lives import SECOND_MS, clock
from tests.proof.witness.testimony import Blind

HOLDS_MS = 3_000  # so long a beat's sight holds, until another one
BEAT_MS = HOLDS_MS  # from one beat of a second to the next, on however busy a machine: else it would be a gap


def check_sight(case: Case) -> Iterator[Difference]:
    for match in case.matching.matches:
        for line in match.lines:
            if line.evidence.startswith(API):
                yield from _check_unseen(case, match, line)
    for line in case.lines:
        if line.kind == "gap" and not covered(*case.inside(line), wider(case.blind(), BEAT_MS)):
            witness = f"nothing kept the node from being observed then: blind {spans_text(case.blind())}"
            yield Difference(kind="gap", subject=line.gpu, witness=witness, product=line_text(line))
        yield from _check_dark(case, line)
    yield from _check_starts(case)


def _check_unseen(case: Case, match: Match, line: Line) -> Iterator[Difference]:
    """The API alone knows of a hold until the kubelet has given the device, and a beat has come; and while blind."""
    hold = match.stay.holds[0]
    seen_ms = match.stay.until_ms if hold.given_ms is None else hold.given_ms + BEAT_MS
    spans = [(hold.from_ms, seen_ms), *wider(case.blind(), BEAT_MS)]
    if not covered(*case.inside(line), spans):
        witness = f"{match.stay}: an agent sees it from {clock(seen_ms)} on; blind {spans_text(case.blind())}"
        yield Difference(kind="second meter", subject=name(line.holder), witness=witness, product=line_text(line))


def _check_dark(case: Case, line: Line) -> Iterator[Difference]:
    """Nothing is idle, and nothing held by an agent's word, where there was no agent, or nobody to answer it."""
    if not line.has_time or not line.ms or line.kind == "gap" or line.evidence.startswith(API):
        return
    for each in case.testimony.told:
        if isinstance(each, Blind) and each.dark_until_ms - each.dark_from_ms > HOLDS_MS:
            begin_ms, end_ms = each.dark_from_ms + BEAT_MS, each.dark_until_ms
            if line.from_ms < end_ms and begin_ms < line.until_ms:
                witness = f"nobody can have seen that from {clock(begin_ms)} to {clock(end_ms)}: {each.why}"
                yield Difference(kind="dark", subject=line.gpu, witness=witness, product=line_text(line))


def _check_starts(case: Case) -> Iterator[Difference]:
    """Bound, then started, then finished; and held by when its container started."""
    for match in case.matching.matches:
        first, last = match.stay.holds[0], match.stay.holds[-1]
        if first.started_ms is None or not match.lines or first.from_ms <= case.testimony.from_ms:
            continue
        started = f"{match.stay}: its container started in the second of {clock(first.started_ms)}"
        if not first.from_ms <= first.started_ms < last.until_ms:
            yield _differs(match, "bound, started, finished: in this order", match.lines[0])
        if match.lines[0].from_ms > first.started_ms + SECOND_MS:
            yield _differs(match, started, match.lines[0])


def _differs(match: Match, witness: str, line: Line) -> Difference:
    return Difference(kind="start", subject=name(match.stay.holder), witness=witness, product=line_text(line))
