"""Drafts that the server makes by itself: on its day, once, and never over what blocks."""

from __future__ import annotations

import pytest

from chargeback.core.hours import month_span_ms
from chargeback.months.close import SERVER, MonthBlocked, MonthRefused, approve, discard
from chargeback.store.database import Database
from chargeback.tasks.draft_months import draft_month, month_to_draft
from tests.chargeback.store.a_month import LIMITS, MONTH, NOW_MS, fill
from tests.chargeback.store.bodies import GRACE_MS
from tests.chargeback.store.conftest import database, ledger, postgres, url

__all__ = ["database", "ledger", "postgres", "url"]

DAY_MS = 24 * 3_600_000
NOVEMBER_MS = month_span_ms(MONTH, "UTC")[1]


def test_it_drafts_the_month_before_from_its_day_on(ledger: Database) -> None:
    """Not earlier, not twice, and not again what a person has discarded."""
    fill(ledger)
    assert month_to_draft(ledger, NOVEMBER_MS + 4 * DAY_MS - 1, 5) is None
    assert month_to_draft(ledger, NOVEMBER_MS + 4 * DAY_MS, 5) == MONTH
    assert month_to_draft(ledger, NOVEMBER_MS + 29 * DAY_MS, 5) == MONTH
    assert month_to_draft(ledger, NOVEMBER_MS + 34 * DAY_MS, 5) is None  # November has no lines
    draft = draft_month(ledger, NOW_MS, 5, GRACE_MS, LIMITS)
    assert draft is not None
    assert (draft.month, draft.prepared_by, draft.state) == (MONTH, SERVER, "draft")
    assert draft_month(ledger, NOW_MS, 5, GRACE_MS, LIMITS) is None
    discard(ledger, MONTH, "ann", NOW_MS, "wrong")
    assert draft_month(ledger, NOW_MS, 5, GRACE_MS, LIMITS) is None


def test_what_blocks_is_left_to_people(ledger: Database) -> None:
    """It waives nothing."""
    fill(ledger)
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE lines SET account = 'unowned' WHERE account = 'cc-a'")
    with pytest.raises(MonthBlocked, match="unowned:lab/alpha"):
        draft_month(ledger, NOW_MS, 5, GRACE_MS, LIMITS)
    with pytest.raises(MonthRefused, match="is open"):
        approve(ledger, MONTH, "bob", NOW_MS)
