"""Each line's evidence is what could be known of its device; a card that did not answer is nobody's idle one."""

from __future__ import annotations

from collections.abc import Iterator

from tests.proof.comparison.case import Case, Difference, line_text, name, wider
from tests.proof.comparison.export import HELD, Line
from tests.proof.comparison.matching import API
from tests.proof.comparison.part_checks import CHANGED_MS
from tests.proof.witness.lives import clock
from tests.proof.witness.testimony import Hold

HOLDS_MS = 3_000  # so long a beat's sight holds, until another one
KUBELET = "kubelet"  # of a card that does not answer only the kubelet tells
IDLE = frozenset({"free", "unsold", "unpartitioned"})


def check_evidence(case: Case) -> Iterator[Difference]:
    for line in case.lines:
        if line.ms and line.kind in (*HELD, *IDLE):
            yield from _check_lost(case, line)
    for match in case.matching.matches:
        for line in match.lines:
            if line.ms and not line.evidence.startswith(API):
                yield from _check_told(case, line, match.stay.holds)


def _check_lost(case: Case, line: Line) -> Iterator[Difference]:
    """Who holds a lost card does so by the kubelet's word or the API's; what nobody holds of it is unavailable."""
    if line.kind in HELD and (line.evidence == KUBELET or line.evidence.startswith(API)):
        return
    for begin_ms, end_ms in case.lost(line.gpu):
        if line.from_ms < end_ms and begin_ms + HOLDS_MS < line.until_ms:
            witness = f"the card did not answer from {clock(begin_ms)} to {clock(end_ms)}"
            yield Difference(kind="lost", subject=line.gpu, witness=witness, product=line_text(line))


def _check_told(case: Case, line: Line, holds: tuple[Hold, ...]) -> Iterator[Difference]:
    """What an agent saw: a whole device, a MIG instance, or one of several shares."""
    wanted = {
        _evidence(each)
        for each in holds
        if each.from_ms - CHANGED_MS < line.until_ms and line.from_ms < each.until_ms + CHANGED_MS
    }
    if any(a < line.until_ms and line.from_ms < b for a, b in wider(case.lost(line.gpu), HOLDS_MS)):
        wanted.add(KUBELET)
    if line.evidence not in wanted:
        witness = f"evidence {' or '.join(sorted(wanted))}"
        yield Difference(kind="evidence", subject=name(line.holder), witness=witness, product=line_text(line))


def _evidence(hold: Hold) -> str:
    if hold.drawn != hold.whole:
        return "equal"
    return "exclusive" if hold.device == hold.gpu else "mig"
