"""Explaining a line: what stands behind it, in sections. Nothing is stored, and what is no longer there is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from chargeback.core import lines as ledger
from chargeback.core.explaining.arithmetic import Around, piece_of, siblings_of
from chargeback.core.explaining.evidence import bodies_section, evidence_section
from chargeback.core.explaining.explaining import Explanation, Section
from chargeback.core.explaining.line import (
    amount_section,
    line_section,
    related_section,
    subtitle_of,
    time_section,
    title_of,
)
from chargeback.core.explaining.sums import adjustment_section, transfer_section
from chargeback.core.explaining.terms import Recording, owner_section, plan_section, policy_section, price_section
from chargeback.core.lines import Line
from chargeback.core.prices.asked import Asked
from chargeback.core.prices.book import Place, PriceBook, Reason
from chargeback.explaining.line_case import LineCase, read_case
from chargeback.rater import Terms, read_terms
from chargeback.reports import NoLedger
from chargeback.store.database import Database
from chargeback.store.explained import (
    AMBIGUOUS_MOST,
    book_of,
    find_lines,
    is_due,
    line_by_id,
    node_hour_state,
)
from chargeback.store.months import state_of
from chargeback.store.owners import owner_history
from chargeback.store.plans import plan_histories
from chargeback.store.policies import policy_book, policy_history

_ID = re.compile(r"[0-9a-f]{4,32}")
# Prices of a guarantee: of what fills it, and of what is left of it.
_GUARANTEED = frozenset({ledger.RESERVED, ledger.UNUSED})
_OF_PLANS = frozenset({ledger.UNUSED, ledger.BACKED, ledger.UNBACKED})
_OWNED = ledger.HOLDERS | {ledger.UNUSED}
_SUMS = frozenset({ledger.TRANSFER, ledger.CREDIT, ledger.DEBIT})


class NoSuchLine(LookupError):
    """No line has this id, or several begin with it: says which."""


class NotAnId(NoSuchLine):
    """What was asked for cannot be the id of a line, nor its beginning."""


def explain(database: Database, wanted: str) -> Explanation:
    """Explain a line by its id or the beginning of it, at least four digits. Raises NoSuchLine, NotAnId, NoLedger."""
    prefix = wanted.strip().lower()
    if not _ID.fullmatch(prefix):
        raise NotAnId(f"{wanted!r}: want the id of a line, or its first digits: 4 to 32 of 0-9 and a-f")
    with database.read() as connection:
        if policy_book(connection) is None:
            raise NoLedger("no ledger here yet: start `chargeback serve` first")
        found = find_lines(connection, prefix)
        if not found:
            raise NoSuchLine(
                f"{prefix}: no line has this id; `chargeback export --detail hour` lists a month's lines"
            )
        if len(found) > 1:
            ids = ", ".join(line.line_id for line, _ in found[:AMBIGUOUS_MOST])
            more = ", and more" if len(found) > AMBIGUOUS_MOST else ""
            raise NoSuchLine(f"{prefix}: several lines begin with it, want more digits of one: {ids}{more}")
        return _explain(read_terms(connection), *found[0])


def _explain(terms: Terms, line: Line, revision: int) -> Explanation:
    case = read_case(terms, line)
    corrects = None
    if case.original is not None:
        (original, of_original), *_ = find_lines(terms.connection, case.original.line_id)
        corrects = _explain(terms, original, of_original)
    return Explanation(
        line_id=line.line_id,
        title=title_of(line, terms.policies.first.currency),
        subtitle=subtitle_of(line),
        sections=tuple(each for each in _sections(case, revision) if each.facts),
        reproduced=case.answer.is_same,
        why=case.answer.why + _whereabouts(case),
        corrects=corrects,
    )


def _whereabouts(case: LineCase) -> str:
    """Of a line that is no longer what rating gives: where what is right is posted, or that it is still to be."""
    if case.answer.is_same is not False:
        return ""
    if is_due(case.terms.connection, case.line):
        return "; its hour is due to be rated again"
    restated = [each for each in case.about if each.part == ledger.RESTATED and each.month > case.line.month]
    if not restated:
        return ""
    last = max(restated, key=lambda each: each.month)
    return f"; what is right is posted in {last.month}, as line {last.line_id[:12]}"


def _sections(case: LineCase, revision: int) -> Iterator[Section]:
    line, connection = case.line, case.terms.connection
    book, recorded = _book(case)
    reason = _reason(case, book)
    yield line_section(line, state_of(connection, line.month))
    yield amount_section(case.charge, case.terms.policies.first.currency, _around(case, reason))
    if line.kind in (ledger.CREDIT, ledger.DEBIT):
        yield adjustment_section(line, case.sums.adjustment)
        return
    if line.kind == ledger.TRANSFER:
        yield transfer_section(line, case.sums.transfers, case.sums.weights)
    yield time_section(line)
    if case.sums.adjustment is not None:
        yield adjustment_section(line, case.sums.adjustment)
    if (line.of_kind or line.kind) in _OWNED:
        versions = owner_history(connection, line.cluster, line.namespace)
        yield owner_section(line, next((each for each in versions if each.version == line.owner_version), None))
    if line.plan_version is not None:
        plans = plan_histories(connection, line.cluster).get(line.namespace, [])
        yield plan_section(line, next((each for each in plans if each.version == line.plan_version), None))
    if reason is not None:
        yield price_section(line, case.terms.prices, recorded, reason)
    yield _policy(case)
    if line.node:
        state = node_hour_state(connection, case.key)
        due = state is not None and state.due
        yield bodies_section(line, case.received, revision, due, case.gone)
        if line.kind in ledger.HOLDERS:
            yield evidence_section(
                line, case.received, case.lives, [each for each in case.beside if _is_holders(each, line)]
            )
    yield related_section("beside", _related(case))


def _around(case: LineCase, reason: Reason | None) -> Around | None:
    """Of what is rated; a reversal is the opposite of a line that has an arithmetic of its own."""
    line = case.line
    if line.part == ledger.REVERSAL or line.kind in _SUMS:
        return None
    hourly = None
    if reason is not None and reason.rate is not None:
        hourly = reason.rate.hourly / reason.rate.units
    return Around(basis=case.policy.basis, beside=case.beside, since_ms=case.span[0], hourly=hourly)


def _book(case: LineCase) -> tuple[PriceBook, Recording | None]:
    """The version that the line names, and who recorded it."""
    timezone = case.terms.policies.first.timezone
    found = book_of(case.terms.connection, case.line.price_version, timezone)
    if found is None:
        return case.terms.prices, None
    book, row = found
    return book, Recording(recorded_ms=row.recorded_ms, who=row.who, why=row.why, source=row.source)


def _reason(case: LineCase, book: PriceBook) -> Reason | None:
    """Which entries of the price book matched; None of what has no price of its own."""
    line = case.line
    kind = line.of_kind or line.kind
    if kind in _SUMS or kind in (ledger.BACKED, ledger.UNBACKED):
        return None
    place, tier, cost_center = case.place, line.tier, line.cost_center
    if kind in _GUARANTEED:
        # Of the guarantee's owner, wherever in the cluster it is held.
        owner = case.terms.owners(line.cluster).at(line.namespace, line.start_ms)
        place = Place(cluster=line.cluster)
        tier, cost_center = (owner.tier, owner.cost_center) if owner else (None, None)
    answers = [
        book.why(
            Asked(
                model=line.model, start_ms=case.span[0], end_ms=case.span[1], place=place, card=line.parent,
                profile=line.profile, shared=shared, reserved=kind in _GUARANTEED, tier=tier, cost_center=cost_center,
            )
        )
        for shared in (False, True)
    ]  # fmt: skip
    # Whether the slot was a share is not in the line: the price tells, where it makes a difference.
    fitting = (each for each in answers if each.rate is not None and each.rate.unit_amount == line.unit_price)
    found = next(fitting, answers[0])
    if kind in ledger.HOLDERS or kind in _OF_PLANS:
        return found
    return replace(found, chosen=found.listed[:1], factors=(), discounts=(), rate=found.list_rate)


def _policy(case: LineCase) -> Section:
    line, terms = case.line, case.terms
    said = case.policies.said(case.span[0], line.cluster, case.place.pool)
    history = policy_history(terms.connection)
    found = next((each for each in history if each.change.version == line.policy_version), None)
    recording = None if found is None else Recording(recorded_ms=found.recorded_ms, who=found.who, why=found.why)
    return policy_section(line, case.policy, said, recording)


def _is_holders(each: Line, line: Line) -> bool:
    holder = (line.namespace, line.pod, line.container)
    return each.kind in ledger.HOLDERS and (each.namespace, each.pod, each.container) == holder


def _related(case: LineCase) -> list[tuple[str, Line]]:
    """Lines that this one is made with, or corrected by, as they lie in the ledger."""
    known = [(what, _as_posted(case, each)) for what, each in _made_with(case)]
    made_with = [(what, each) for what, each in known if each is not None]
    words = {ledger.CHARGE: "charge", ledger.REVERSAL: "taken back by", ledger.RESTATED: "restated by"}
    return [*made_with, *((words[each.part], each) for each in case.about)]


def _made_with(case: LineCase) -> list[tuple[str, Line]]:
    """As charges."""
    line = case.charge
    if line.part == ledger.REVERSAL:
        return []
    if line.kind == ledger.DISCOUNT_KIND:
        piece = piece_of(line, case.beside)
        return [] if piece is None else [("belongs to", piece)]
    if line.kind in _OF_PLANS:
        return [("stands against", each) for each in siblings_of(line, case.beside)]
    whole = line.base or line.line_id
    return [
        ("made with", each)
        for each in case.beside
        if line.kind in ledger.HOLDERS and each.base == whole and each.key != line.key
    ]


def _as_posted(case: LineCase, charge: Line) -> Line | None:
    """A line beside this one, as it lies in the ledger: restated with it, or a charge as it was."""
    with_it = replace(charge, part=case.line.part, month=case.line.month)
    ids = (with_it.line_id, charge.line_id)
    return next((found for each in ids if (found := line_by_id(case.terms.connection, each)) is not None), None)
