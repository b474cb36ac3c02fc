"""One line and everything that the ledger has about it: read once, and rated again by the same functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from chargeback.core import lines as ledger
from chargeback.core.adjustments import WAIVERS, Adjustment, lines_of_sum
from chargeback.core.corrections import as_charge, net
from chargeback.core.explaining.evidence import Received
from chargeback.core.explaining.reproducing import Answer, one_of, rated_again, taken_back
from chargeback.core.hours import HOUR_MS, rating_intervals
from chargeback.core.lines import Line
from chargeback.core.lives import PodLife
from chargeback.core.merge import speakers
from chargeback.core.metered import API
from chargeback.core.policy import Policy, PolicyBook
from chargeback.core.prices.book import Place
from chargeback.months.idle_shared import shared_again
from chargeback.rater import Terms, rate, settle
from chargeback.store.database import Connection
from chargeback.store.evidence import read_evidence
from chargeback.store.explained import (
    adjustment_of,
    line_by_id,
    lines_about,
    node_hour_state,
    received_bodies,
    transfers_of,
)
from chargeback.store.ledger import lines_of, lines_of_hour
from chargeback.store.node_hours import NodeHourKey

# Kinds of time that an agent has observed.
_OBSERVED = frozenset({ledger.FREE, ledger.UNSOLD, ledger.UNPARTITIONED, ledger.CORDONED, ledger.UNHEALTHY})
_NO_LONGER = "the bodies of this hour are no longer there, so it cannot be rated again"
_OF_PEOPLE = frozenset({ledger.CREDIT, ledger.DEBIT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What is behind a sum that no card's time stands behind. transfers_again: as they would be made now.

    adjustment: also the one for which a holder does not pay for his time.
    """

    adjustment: Adjustment | None = None
    transfers: Sequence[Line] = ()
    transfers_again: Sequence[Line] = ()
    weights: Mapping[str, Fraction] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class LineCase:
    """received, lives, place: of a node-hour, nothing of what has no node. gone: why no body is there, else "".

    beside     the charges of its hour among which the line stands, as they stood when it was posted
    original   of an adjustment the line that it is about, as far as there is one
    about      lines of the same thing, posted in whatever month
    span, place   of the rating interval that the line lies in
    policies      as they were when the line was rated
    """

    terms: Terms
    line: Line
    key: NodeHourKey
    received: Sequence[Received]
    lives: Sequence[PodLife]
    beside: Sequence[Line]
    original: Line | None
    about: Sequence[Line]
    span: tuple[int, int]
    place: Place
    policies: PolicyBook
    gone: str
    answer: Answer
    sums: Sums

    @property
    def policy(self) -> Policy:
        return self.policies.at(self.span[0], self.line.cluster, self.place.pool)

    @property
    def charge(self) -> Line:
        """The line as it would be had it been right at once; a reversal is as it is."""
        if self.line.part == ledger.REVERSAL:
            return self.line
        return as_charge(self.line, self.terms.policies.first.timezone)


def read_case(terms: Terms, line: Line) -> LineCase:
    """Read and rate what stands behind a line."""
    connection, timezone = terms.connection, terms.policies.first.timezone
    key = NodeHourKey(cluster=line.cluster, node=line.node, hour=line.hour)
    evidence = read_evidence(connection, [key])
    received = _received(connection, line, key)
    rated = rate(terms, key, evidence).lines if line.node else ()
    about_hour = _about_hour(terms, line)
    # As it stood when the line was posted: later corrections are not part of its arithmetic.
    stood = _charges([each for each in about_hour if each.month <= line.month], timezone)
    now = _rated_now(terms, line, _charges(about_hour, timezone), rated)
    span = _span(line, timezone)
    pool, labels = evidence.place(key).at(span[0])
    cards = {each.parent for each in stood if each.node == line.node and span[0] <= each.start_ms < span[1]} - {""}
    is_known = node_hour_state(connection, key) is not None
    gone = _gone(line, stood, is_known) if line.node and not received else ""
    original = line_by_id(connection, line.corrects) if line.corrects else None
    sums = _sums(terms, line)
    lives = evidence.word(key, {line.pod}, 0).lives if line.node else ()
    case = LineCase(
        terms=terms,
        line=line,
        key=key,
        received=received,
        lives=[life for life in lives if life.name == (line.namespace, line.pod)],
        beside=stood,
        original=original,
        about=[each for each in lines_about(connection, line) if each.line_id != line.line_id],
        span=span,
        place=Place(cluster=line.cluster, pool=pool, labels=labels, cards=tuple(sorted(cards))),
        policies=_policies(terms, line),
        gone=gone,
        answer=NOT_ASKED,
        sums=sums,
    )
    return replace(case, answer=_answer(case, now))


NOT_ASKED = Answer(is_same=None, why="")


def _answer(case: LineCase, now: Sequence[Line]) -> Answer:
    """Whether the line is what comes out when it is made again. now: the hour's charges as they are rated now."""
    line, sums, timezone = case.line, case.sums, case.terms.policies.first.timezone
    if line.part == ledger.REVERSAL:
        return taken_back(line, case.original)
    if line.kind in _OF_PEOPLE:
        made = lines_of_sum(sums.adjustment, timezone, line.policy_version) if sums.adjustment else []
        return one_of(line, made, "the adjustment")
    if line.kind == ledger.TRANSFER:
        return one_of(line, sums.transfers_again, "sharing out the month's idle again")
    if case.gone == _NO_LONGER:
        return Answer(is_same=None, why=case.gone)
    return rated_again(line, now, timezone)


def _rated_now(terms: Terms, line: Line, standing: Sequence[Line], rated: Sequence[Line]) -> Sequence[Line]:
    """The hour's charges as they are rated now; other nodes' as they stand, where plans ask for them."""
    now = [*(each for each in standing if not line.node or each.node != line.node), *rated]
    if not _is_planned(terms, line):
        return now
    settled, _ = settle(terms, line.cluster, line.hour, now)
    return settled


def _sums(terms: Terms, line: Line) -> Sums:
    if line.kind in _OF_PEOPLE or (line.of_kind or line.kind) in WAIVERS:
        return Sums(adjustment=adjustment_of(terms.connection, line))
    if line.kind != ledger.TRANSFER:
        return Sums()
    weighed, again = shared_again(terms, line)
    return Sums(transfers=transfers_of(terms.connection, line), transfers_again=again, weights=weighed)


def _received(connection: Connection, line: Line, key: NodeHourKey) -> list[Received]:
    """Latest instance first, as they speak of the line's card."""
    bodies = received_bodies(connection, key) if line.node else []
    at_ms = {body.instance: received_ms for body, received_ms in bodies}
    return [
        Received(body=body, received_ms=at_ms[body.instance], speaks=speaks.get(line.parent, ()))
        for body, speaks in speakers([body for body, _ in bodies])
    ]


def _about_hour(terms: Terms, line: Line) -> Sequence[Line]:
    """All lines about the line's hour: of its node, or of the whole cluster where a plan is in it."""
    if line.kind in _OF_PEOPLE or line.kind == ledger.TRANSFER:
        return []
    if _is_planned(terms, line):
        return lines_of_hour(terms.connection, line.cluster, line.hour)
    return lines_of(terms.connection, [NodeHourKey(cluster=line.cluster, node=line.node, hour=line.hour)])


def _charges(lines: Sequence[Line], timezone: str) -> list[Line]:
    """What counts of them, as charges."""
    return [as_charge(each, timezone) for each in net(lines)]


def _is_planned(terms: Terms, line: Line) -> bool:
    start_ms = line.hour * HOUR_MS
    if line.kind in _OF_PEOPLE or line.kind == ledger.TRANSFER:
        return False
    planned = terms.plans(line.cluster).namespaces(start_ms, start_ms + HOUR_MS)
    return bool(planned) or line.plan_version is not None


def _span(line: Line, timezone: str) -> tuple[int, int]:
    """The rating interval that a line begins in, in unix ms."""
    start_ms = line.hour * HOUR_MS
    spans = [(start_ms + each.start, start_ms + each.end) for each in rating_intervals(line.hour, timezone)]
    return next((span for span in spans if span[0] <= line.start_ms < span[1]), spans[0])


def _policies(terms: Terms, line: Line) -> PolicyBook:
    """What was recorded later, even for a time before, had no say in the line."""
    return PolicyBook([each for each in terms.policies.changes if each.version <= line.policy_version])


def _gone(line: Line, stood: Sequence[Line], is_known: bool) -> str:
    """Why there is no body. is_known: whether the ledger has the node-hour itself."""
    mine = [each for each in stood if each.node == line.node]
    by_agent = [each for each in mine if each.kind in ledger.HOLDERS and not each.evidence.startswith(API)]
    if by_agent or not is_known or any(each.kind in _OBSERVED for each in mine):
        return _NO_LONGER
    return "no agent pushed this hour: its cards are known from the hour before"
