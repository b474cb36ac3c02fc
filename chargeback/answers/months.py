"""Months, their drafts and what was found in them, as programs read them: the CLI and HTTP say the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

from chargeback.core.hours import HOUR_MS, format_instant
from chargeback.core.money import format_micros, round_six
from chargeback.core.months.chain import Link
from chargeback.core.months.closing import Finding
from chargeback.core.months.sums import Coverage
from chargeback.months.look import Look
from chargeback.store.drafts import Draft
from chargeback.store.months import MonthState

Json = Mapping[str, object]


def state_json(state: MonthState, waiting: int) -> Json:
    """waiting: node-hours and plan-hours that have changed since the draft."""
    return {"month": state.month, "state": state.state, "draft": state.draft or None, "waiting": waiting}


def look_json(look: Look) -> Json:
    return {
        "month": look.state.month,
        "state": look.state.state,
        "blocked": any(each.stops for each in look.findings),
        "findings": [finding_json(each) for each in look.findings],
        "coverage": coverage_json(look.coverage),
    }


def finding_json(finding: Finding) -> Json:
    return {
        "name": finding.name,
        "found": finding.found,
        "mend": finding.mend,
        "blocks": finding.blocks,
        "waivable": finding.waivable,
        "waived": finding.waived or None,
    }


def coverage_json(found: Sequence[Coverage]) -> list[Json]:
    """Hours of whole cards; of a cluster where the node is null."""
    return [
        {
            "cluster": each.cluster,
            "node": each.node or None,
            "observed_hours": _hours(each.observed_ms),
            "api_hours": _hours(each.api_ms),
            "gap_hours": _hours(each.gap_ms),
        }
        for each in found
    ]


def draft_json(draft: Draft) -> Json:
    return {
        "draft": draft.draft,
        "state": draft.state,
        "cutoff": format_instant(draft.cutoff_ms),
        "prepared": format_instant(draft.prepared_ms),
        "prepared_by": draft.prepared_by,
        "approved": _instant(draft.approved_ms),
        "approved_by": draft.approved_by,
        "closed": _instant(draft.closed_ms),
        "closed_by": draft.closed_by,
        "lines": draft.digest.lines,
        "list_amount": format_micros(draft.digest.list_micros),
        "amount": format_micros(draft.digest.amount_micros),
        "sha256": draft.digest.sha256,
        "waived": [{"name": each.name, "reason": each.waived} for each in draft.waived],
        "findings": [finding_json(each) for each in draft.findings],
        "coverage": coverage_json(draft.coverage),
    }


def statement_json(link: Link) -> Json:
    statement = link.statement
    return {
        "account": statement.account,
        "number": statement.number,
        "gpu_hours": _hours(statement.gpu_ms),
        "list_amount": format_micros(statement.list_micros),
        "amount": format_micros(statement.amount_micros),
        "previous_sha256": link.previous_sha256,
        "sha256": link.sha256,
    }


def _instant(at_ms: int | None) -> str | None:
    return None if at_ms is None else format_instant(at_ms)


def _hours(ms: Fraction) -> str:
    return round_six(ms / HOUR_MS)
