"""Every line has a reason that the scenario gave: its kind, its account, its card, and why nobody pays."""

from __future__ import annotations

from collections.abc import Iterator

from tests.proof.comparison.case import Case, Difference, covered, line_text, spans_text, wider
from tests.proof.comparison.export import Line
from tests.proof.witness.tariff import Tariffs
from tests.proof.witness.testimony import Card

BEATS_MS = 5_000  # a card that is lost, or is back, is seen to be so some beats later
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
    """Lost is what did not answer."""
    lost = case.lost(line.gpu)
    if line.kind == "unhealthy" and not covered(*case.inside(line), wider(lost, BEATS_MS)):
        yield _differs("gap", line, f"the card answered then: lost {spans_text(lost)}")


def _differs(kind: str, line: Line, witness: str) -> Difference:
    subject = line.gpu or line.namespace or line.line_id
    return Difference(kind=kind, subject=subject, witness=witness, product=line_text(line))
