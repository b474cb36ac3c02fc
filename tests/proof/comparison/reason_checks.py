"""Every line has a reason that the scenario gave: its kind, its account, its card, and why nobody pays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tests.proof.comparison.case import Case, Difference, line_text
from tests.proof.comparison.export import Line
from tests.proof.witness.lives import clock
from tests.proof.witness.tariff import Tariffs
from tests.proof.witness.testimony import Card

BEATS_MS = 5_000  # what a beat saw holds for some beats, and a card that is back is seen some beats later
IDLE, UNPRICED = "platform:idle", "platform:unpriced"
# Where the platform's lines lie, by kind.
ACCOUNTS = {
    "free": IDLE,
    "unsold": IDLE,
    "unpartitioned": IDLE,
    "rounding": IDLE,
    "gap": "platform:gap",
    "unhealthy": "platform:unavailable",
    "discount": "platform:discount",
    "backed": IDLE,
    "unbacked": "platform:oversold",
}
# Other kinds are nowhere: no scenario waives, cordons, adjusts, or shares out what was idle, nor has a card too much.
OWNERS = frozenset({"held", "reserved", "burst", "unused"})
OF_PLANS = frozenset({"unused", "backed", "unbacked"})  # on no card
CARDLESS = frozenset({"discount", *OF_PLANS})  # money alone
STATUSES = frozenset({"rated", "provisional"})


def check_reasons(case: Case) -> Iterator[Difference]:
    models = {each.gpu: each.model for each in case.testimony.told if isinstance(each, Card)}
    nodes = {line.node for line in case.lines if line.gpu}
    tariffs = Tariffs(case.testimony.told)
    for line in case.lines:
        yield from _check_kind(line)
        yield from _check_account(line, tariffs)
        yield from _check_place(line, models, nodes)
        yield from _check_span(case, line)


def _check_kind(line: Line) -> Iterator[Difference]:
    if line.kind not in ACCOUNTS and line.kind not in OWNERS:
        yield _differs("kind", line, "nothing of that kind happened")
    if line.part != "charge":
        yield _differs("kind", line, "nothing was corrected")
    if line.status not in STATUSES:
        yield _differs("kind", line, f"of status {' or '.join(sorted(STATUSES))}, and not {line.status!r}")


def _check_account(line: Line, tariffs: Tariffs) -> Iterator[Difference]:
    if line.kind not in ACCOUNTS:
        return
    unpriced = line.kind not in CARDLESS and tariffs.at(line.from_ms).card(line.model) is None
    if line.account != (wanted := UNPRICED if unpriced else ACCOUNTS[line.kind]):
        yield _differs("account", line, f"it lies on {wanted}")


def _check_place(line: Line, models: dict[str, str], nodes: set[str]) -> Iterator[Difference]:
    """On a card that there is, and all cards are in one node."""
    if line.kind in OF_PLANS:
        if line.gpu or line.node:
            yield _differs("card", line, f"no card or node, and not {line.gpu} in {line.node}")
    elif line.gpu not in models or line.model != models[line.gpu]:
        yield _differs("card", line, f"no {line.model} is called {line.gpu!r}")
    elif len(nodes) > 1 or not line.node:
        yield _differs("card", line, f"the only node, and not one of {', '.join(sorted(nodes))}")


def _check_span(case: Case, line: Line) -> Iterator[Difference]:
    """Gaps are where nobody could see, and lost is what did not answer."""
    if line.kind == "gap" and not _lies_in(case, line, case.blind()):
        witness = f"nothing kept the node from being observed then: {_spans_text(case.blind())}"
        yield _differs("gap", line, witness)
    if line.kind == "unhealthy" and not _lies_in(case, line, case.lost(line.gpu)):
        yield _differs("gap", line, f"the card answered then: lost {_spans_text(case.lost(line.gpu))}")


def _differs(kind: str, line: Line, witness: str) -> Difference:
    subject = line.gpu or line.namespace or line.line_id
    return Difference(kind=kind, subject=subject, witness=witness, product=line_text(line))


def _lies_in(case: Case, line: Line, spans: Sequence[tuple[int, int]]) -> bool:
    """But for the beats at its ends; what lies before the testimony is not its matter."""
    begin, end = max(line.from_ms, case.testimony.from_ms), min(line.until_ms, case.testimony.until_ms)
    reached = begin
    for a, b in sorted(spans):
        if a - BEATS_MS <= reached:
            reached = max(reached, b + BEATS_MS)
    return reached >= end


def _spans_text(spans: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{clock(a)} to {clock(b)}" for a, b in spans) or "never"
